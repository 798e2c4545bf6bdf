"""The schedule: which source serves a position, by Tijdeman's chairman assignment.

Read as a scheduling problem, the assignment is this: with k sources and c = 1/(2k - 2), example
number j of a source with share a/D is *released* at the first prefix n with n·a/D - j >= c, and may
wait until the last prefix with n·a/D - j <= 1 - c, when it is *due*. One example is served at each
position: of those released, the one due first. Tijdeman (The chairman assignment problem, 1980)
proves that nothing ever waits longer and no position is idle, so at every prefix
|served - share·n| <= 1 - c, and that no schedule can promise less for all shares.

Seeking needs no history. At most one example of each source waits at a time, and how many wait in
all follows from n alone; only *which* ones is open. Serving the one due first keeps two sets of
equal size in order (if each element of one is due no later than its counterpart, it stays so), so
it is enough to start a little earlier from the two extreme sets: where they have become one set,
every set between them has, the true one too. The answer is exact at any position. How much earlier
depends on the rarest source, not on the position: with a share of 1/100000 it takes half a second
at worst, with one of 1/1000 a few milliseconds.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .shares import check_shares, common_denominator

Integers: TypeAlias = npt.NDArray[np.int64]
Waiting: TypeAlias = list[tuple[int, int]]
"""Examples that are released and not served: a heap of (due, source)."""

LONGEST_TABLE = 1 << 17
"""Positions up to which a whole period is kept."""
BLOCK_LENGTH = 1 << 12
"""Positions that are computed together where the period is longer."""
MOST_BLOCKS = 256
"""Blocks that are kept; 40 KiB each."""
FIRST_LOOKBACK = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A stretch of one period."""

    first: int
    """Position of its first row in the period."""
    sources: Integers
    ordinals: Integers
    """Ordinals within the period."""
    served: Integers
    """Rows that each source has served before it."""
    waiting: tuple[tuple[int, int], ...]
    """What waits after its last row, so that the next block can go on from there."""


class Schedule:
    """The pure function from position to (source, ordinal).

    Args:
        shares: exact shares of the sources, each above 0, summing to 1.
    """

    def __init__(self, shares: Sequence[Fraction]) -> None:
        check_shares(shares)
        self.shares = tuple(shares)
        self.period = common_denominator(shares)
        """After this many positions the order of sources repeats."""
        self.num_sources = len(self.shares)
        self._rows = [int(share * self.period) for share in self.shares]
        self._slots = max(2 * self.num_sources - 2, 1)
        multiple = math.lcm(*self._rows)
        # Due dates of all sources, multiplied by one number that makes them whole.
        self._due_step = [multiple // rows for rows in self._rows]
        self._block_length = self.period if self.period <= LONGEST_TABLE else BLOCK_LENGTH
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, positions: Integers) -> tuple[Integers, Integers]:
        """The source of each position, and the number of earlier positions with that source."""
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and int(positions.min()) < 0:
            raise _out_of_range(int(positions.min()))
        laps, within = self._split(positions)
        if self._block_length == self.period:
            block = self._block(0)
            sources, ordinals = block.sources[within], block.ordinals[within]
        else:
            sources, ordinals = self._gather(within)
        return sources, ordinals + laps * self._per_lap()[sources]

    def served(self, num_positions: int) -> Integers:
        """Rows that each source serves in the first `num_positions` positions."""
        if num_positions < 0:
            raise _out_of_range(num_positions)
        lap, within = divmod(int(num_positions), self.period)
        block = self._block(within // self._block_length)
        inside = np.bincount(block.sources[: within - block.first], minlength=self.num_sources)
        return block.served + inside + lap * self._per_lap()

    def position_of(self, source: int, ordinal: int) -> int:
        """The position at which `source` serves its example number `ordinal`."""
        if ordinal < 0:
            raise _out_of_range(ordinal)
        lap, within = divmod(int(ordinal), self._rows[source])
        # The released and due prefixes bracket it; the blocks between them are searched by halves.
        low = (self._release(source, within) - 1) // self._block_length
        high = self._due(source, within) // self._block_length
        while low < high:
            middle = (low + high + 1) // 2
            if self._block(middle).served[source] <= within:
                low = middle
            else:
                high = middle - 1
        block = self._block(low)
        hits = np.flatnonzero(block.sources == source)
        return lap * self.period + block.first + int(hits[within - int(block.served[source])])

    # Whole-number forms of "released" and "due"; a prefix is a number of first rows.

    def _release(self, source: int, ordinal: int) -> int:
        """First prefix in which this example may be served."""
        top = self.period * (ordinal * self._slots + 1)
        return -(-top // (self._rows[source] * self._slots))

    def _due(self, source: int, ordinal: int) -> int:
        """Last prefix after which it may still wait."""
        top = self.period * (ordinal * self._slots + max(self._slots - 1, 1))
        return top // (self._rows[source] * self._slots)

    def _due_key(self, source: int, ordinal: int) -> tuple[int, int]:
        """Sorts examples by due date, exactly; ties go to the earlier source."""
        return (ordinal * self._slots + self._slots - 1) * self._due_step[source], source

    def _num_released(self, source: int, prefix: int) -> int:
        """How many examples of a source are released within a prefix."""
        top = self._rows[source] * prefix * self._slots - self.period
        return top // (self.period * self._slots) + 1

    # Walking.

    def _released(self, first: int, last: int) -> list[Waiting]:
        """For each prefix first + 1 … last, the examples released in it."""
        calendar: list[Waiting] = [[] for _ in range(last - first)]
        for source in range(self.num_sources):
            ordinals = range(self._num_released(source, first), self._num_released(source, last))
            for ordinal in ordinals:
                prefix = self._release(source, ordinal)
                calendar[prefix - first - 1].append(self._due_key(source, ordinal))
        return calendar

    @staticmethod
    def _serve(waiting: Waiting, calendar: Sequence[Waiting]) -> Iterator[int]:
        """Serves one example per prefix of the calendar; `waiting` is a heap and is updated."""
        for released in calendar:
            for example in released:
                heapq.heappush(waiting, example)
            yield heapq.heappop(waiting)[1]

    def _waiting(self, prefix: int) -> Waiting:
        """What waits after `prefix` rows of a period, found without history (module docstring)."""
        lookback = FIRST_LOOKBACK
        while True:
            first = max(0, prefix - lookback)
            earliest, latest = self._extremes(first)
            calendar = self._released(first, prefix)
            for waiting in (earliest, latest):
                for _ in self._serve(waiting, calendar):
                    pass
            if sorted(earliest) == sorted(latest):
                return earliest
            lookback *= 4

    def _extremes(self, prefix: int) -> tuple[Waiting, Waiting]:
        """The sets that could wait after a prefix: the one due earliest, and the one due latest."""
        released = [self._num_released(source, prefix) for source in range(self.num_sources)]
        possible = sorted(
            self._due_key(source, count - 1)
            for source, count in enumerate(released)
            if count and self._due(source, count - 1) >= prefix
        )
        num_waiting = sum(released) - prefix
        return possible[:num_waiting], possible[len(possible) - num_waiting :]

    # Blocks.

    def _block(self, index: int) -> Block:
        """A block, from the cache or computed."""
        with self._lock:
            if index in self._blocks:
                self._blocks.move_to_end(index)
                return self._blocks[index]
            block = self._walk(index)
            self._blocks[index] = block
            if len(self._blocks) > MOST_BLOCKS:
                self._blocks.popitem(last=False)
            return block

    def _walk(self, index: int) -> Block:
        """Computes a block."""
        first = index * self._block_length
        last = min(first + self._block_length, self.period)
        before = self._blocks.get(index - 1)
        waiting = list(before.waiting) if before else self._waiting(first)
        served = [self._num_released(source, first) for source in range(self.num_sources)]
        for _, source in waiting:
            served[source] -= 1
        order = self._serve(waiting, self._released(first, last))
        sources = np.fromiter(order, dtype=np.int64, count=last - first)
        ordinals = np.empty_like(sources)
        for source, count in enumerate(served):
            hits = np.flatnonzero(sources == source)
            ordinals[hits] = np.arange(count, count + hits.size)
        return Block(
            first=first,
            sources=sources,
            ordinals=ordinals,
            served=np.array(served, dtype=np.int64),
            waiting=tuple(waiting),
        )

    def _gather(self, within: Integers) -> tuple[Integers, Integers]:
        """Looks up positions of a long period, block by block."""
        sources, ordinals = np.empty_like(within), np.empty_like(within)
        indexes = within // self._block_length
        for index in np.unique(indexes).tolist():
            here = indexes == index
            block = self._block(index)
            sources[here] = block.sources[within[here] - block.first]
            ordinals[here] = block.ordinals[within[here] - block.first]
        return sources, ordinals

    def _split(self, positions: Integers) -> tuple[Integers, Integers]:
        """Positions as (lap, position within the period)."""
        if self.period >= 1 << 62:
            return np.zeros_like(positions), positions
        laps = positions // self.period
        return laps, positions - laps * self.period

    def _per_lap(self) -> Integers:
        """Rows of each source in one period; zeros where no position reaches a second one."""
        rows = self._rows if self.period < 1 << 62 else [0] * self.num_sources
        return np.array(rows, dtype=np.int64)


def _out_of_range(value: int) -> RecollectError:
    return RecollectError(
        Reason.PLAN_OUT_OF_RANGE, f"positions and ordinals start at 0; {value} is none"
    )
