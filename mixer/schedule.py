"""The schedule: which source serves a position, by Tijdeman's chairman assignment.

Read as a scheduling problem, the assignment is this. L(n) is what a source is owed by the first n
positions: the sum of its shares over them, which may change along the way. With k sources and
c = 1/(2k - 2), its example number j is *released* at the first n with L(n) - j >= c, and may wait
until the last n with L(n) - j <= 1 - c, when it is *due*. One example is served at each position:
of those released, the one due first, and of those due together, that of the earlier source.
Tijdeman (The chairman assignment problem, 1980) proves, for shares that change as they like, that
nothing ever has to wait longer and no position is idle, so that at every prefix
|served - L(n)| <= 1 - c, and that no schedule can promise less for all shares.

Seeking needs no history. At most one example of each source waits at a time, and how many wait in
all follows from n alone; only *which* ones is open. Serving the one due first keeps two sets of
equal size in order (if each element of one is due no later than its counterpart, it stays so), so
it is enough to start a little earlier from the two extreme sets: where they have become one set,
every set between them has, the true one too. The answer is exact at any position. How much earlier
depends on the rarest source, not on the position.

Where shares are constant for long, what waits repeats with their common denominator D, and so does
the order of sources: one table of D rows then answers for the whole stage.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .blocks import Block, Place, Stretch
from .errors import Reason, RecollectError
from .releases import SERVE, SOURCES, Line, serve
from .shares import check_shares
from .timeline import END, Timeline

Integers: TypeAlias = npt.NDArray[np.int64]

LONGEST_TABLE = 1 << 17
"""Positions up to which a whole period is one table."""
BLOCK_LENGTH = 1 << 14
"""Positions that are computed together where there is no such table."""
SHORTEST_TABLED = 2
"""Blocks from which a stage among others is looked at for a table."""
MOST_BLOCKS = 64
"""Blocks that are kept, of 0.25 MiB each, or 2 MiB for a table of the longest period."""
FIRST_LOOKBACK = 64
LONGEST_WALK = 1 << 17
"""Positions that are walked at once; bounds the memory of a seek."""
MOST_LAPS = 4
"""Periods of a stage in which its order must have begun to repeat for a table to be made."""
COMPILED_FROM = 1 << 16
"""Rows from which compiled code is faster, its loading included."""


class Schedule:
    """The pure function from position to (source, ordinal).

    Args:
        shares: exact shares of the sources, each above 0, summing to 1; or a timeline of shares,
            in which a source may rest for a while with a share of 0.
    """

    def __init__(self, shares: Sequence[Fraction] | Timeline) -> None:
        if not isinstance(shares, Timeline):
            check_shares(shares)
            shares = Timeline.constant(shares)
        self.timeline = shares
        self.num_sources = shares.num_sources
        slots = max(2 * self.num_sources - 2, 1)
        self._release_at = Fraction(1, slots)
        self._due_at = Fraction(max(slots - 1, 1), slots)
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._newest: Block | None = None
        self._lock = threading.RLock()

    @property
    def period(self) -> int:
        """Positions after which the order of sources repeats, in the last stage."""
        return self.timeline.periods[-1]

    def at(self, positions: Integers) -> tuple[Integers, Integers]:
        """The source of each position, and the number of earlier positions with that source."""
        positions = np.asarray(positions, dtype=np.int64)
        if not positions.size:
            return np.empty_like(positions), np.empty_like(positions)
        low, high = int(positions.min()), int(positions.max())
        if low < 0 or high >= END:
            raise _out_of_range(low if low < 0 else high)
        if (stretch := self._stretch(low)) is self._stretch(high):
            return self._within(stretch, positions)
        sources, ordinals = np.empty_like(positions), np.empty_like(positions)
        firsts = np.array([stretch.first for stretch in self._stretches])
        numbers = np.searchsorted(firsts, positions, side="right") - 1
        for number in np.unique(numbers).tolist():
            here = numbers == number
            found = self._within(self._stretches[number], positions[here])
            sources[here], ordinals[here] = found
        return sources, ordinals

    def served(self, num_positions: int) -> Integers:
        """Rows that each source serves in the first `num_positions` positions."""
        if not 0 <= num_positions < END:
            raise _out_of_range(num_positions)
        place = self._place(num_positions)
        rows = num_positions - place.moved - place.block.first
        inside = np.bincount(place.block.sources[:rows], minlength=self.num_sources)
        return place.served + inside.astype(np.int64)

    def position_of(self, source: int, ordinal: int) -> int:
        """The position at which `source` serves its example number `ordinal`.

        `END` if there is none, since the source rests for ever before or nobody counts so far.
        """
        if ordinal < 0:
            raise _out_of_range(ordinal)
        low = self.timeline.first_prefix_owing(source, ordinal + self._release_at) - 1
        high = min(self.timeline.last_prefix_owing(source, ordinal + self._due_at), END - 1)
        if low >= END - 1 or (high == END - 1 and self.served(high)[source] <= ordinal):
            return END
        while (here := self._place(low)).block.last + here.moved <= high:
            middle = self._place((low + high + 1) // 2)
            start = middle.block.first + middle.moved
            if start <= low:
                start = here.block.last + here.moved
                middle = self._place(start)
            if middle.served[source] <= ordinal:
                low = start
            else:
                high = start - 1
        order, starts = here.block.by_source
        row = order[starts[source] + ordinal - int(here.served[source])]
        return here.block.first + here.moved + int(row)

    # Looking up.

    @cached_property
    def _stretches(self) -> tuple[Stretch, ...]:
        """How the positions are cut, in their order."""
        found: list[Stretch] = []
        for stage in range(len(self.timeline.stages)):
            found += self._cut(stage)
        return tuple(found)

    def _stretch(self, position: int) -> Stretch:
        index = bisect.bisect_right(self._stretches, position, key=lambda item: item.first) - 1
        return self._stretches[index]

    def _place(self, position: int) -> Place:
        """The block in which a position lies."""
        stretch = self._stretch(position)
        index, _ = divmod(position - stretch.first, stretch.block_length)
        if not stretch.repeats:
            block = self._block(stretch.first + index * stretch.block_length)
            return Place(block=block, moved=0, served=block.served)
        block = self._block(stretch.first)
        return Place(
            block=block,
            moved=index * stretch.block_length,
            served=block.served + index * stretch.per_lap,
        )

    def _within(self, stretch: Stretch, positions: Integers) -> tuple[Integers, Integers]:
        """Looks up positions that all lie in one stretch."""
        offsets = positions - stretch.first if stretch.first else positions
        indexes = offsets // stretch.block_length
        if stretch.repeats:
            rows = offsets - indexes * stretch.block_length
            block = self._block(stretch.first)
            sources = block.sources[rows]
            ordinals = indexes * stretch.per_lap[sources]
            ordinals += block.ordinals[rows]
            return sources, ordinals
        sources, ordinals = np.empty_like(positions), np.empty_like(positions)
        for index in np.unique(indexes).tolist():
            here = indexes == index
            block = self._block(stretch.first + index * stretch.block_length)
            rows = positions[here] - block.first
            sources[here], ordinals[here] = block.sources[rows], block.ordinals[rows]
        return sources, ordinals

    # Cutting.

    def _cut(self, stage: int) -> list[Stretch]:
        """A stage as what leads to its repeating part, that part, and what follows it."""
        first, period = self.timeline.firsts[stage], self.timeline.periods[stage]
        repeating = self._repeating(stage)
        if repeating is None:
            return [self._plain(first)]
        begin, end = repeating
        per_lap = np.array(
            [int(share * period) for share in self.timeline.stages[stage].shares], dtype=np.int64
        )
        table = Stretch(first=begin, block_length=period, repeats=True, per_lap=per_lap)
        lead = [self._plain(first)] if begin > first else []
        tail = [self._plain(end)] if end < self.timeline.end(stage) else []
        return [*lead, table, *tail]

    def _plain(self, first: int) -> Stretch:
        nothing = np.zeros(self.num_sources, dtype=np.int64)
        return Stretch(first=first, block_length=BLOCK_LENGTH, repeats=False, per_lap=nothing)

    def _repeating(self, stage: int) -> tuple[int, int] | None:
        """From where to where the order of a stage repeats, if a table is worth while."""
        first, period = self.timeline.firsts[stage], self.timeline.periods[stage]
        if period > LONGEST_TABLE:
            return None
        if len(self.timeline.stages) == 1:
            return 0, END
        if self.timeline.end(stage) - first < SHORTEST_TABLED * BLOCK_LENGTH:
            return None
        # Who is due after the stage is due by its successor's shares, so its end is not periodic.
        end = min(self._first_due_after(source, stage) for source in range(self.num_sources))
        for lap in range(min(MOST_LAPS, (end - first) // period - 1)):
            begin = first + lap * period
            if self._same_after(begin, period, self.timeline.end(stage)):
                return begin, end - (end - begin) % period
        return None

    def _first_due_after(self, source: int, stage: int) -> int:
        """Where a source begins to offer the first example that is due when a stage has ended."""
        end = self.timeline.end(stage)
        if not self.timeline.stages[stage].shares[source]:
            return end
        ordinal = max(0, math.ceil(self.timeline.owed(source, end) - self._due_at))
        release = self.timeline.first_prefix_owing(source, ordinal + self._release_at)
        return min(max(release - 1, self.timeline.firsts[stage]), end)

    def _same_after(self, begin: int, period: int, end: int) -> bool:
        """Whether the same examples wait at a position and a period later."""
        before, after = (
            {(key // SOURCES, key % SOURCES) for key in self._waiting(prefix)}
            for prefix in (begin, begin + period)
        )
        return {(due + period if due < end else due, source) for due, source in before} == after

    # Walking.

    def _num_released(self, source: int, prefix: int) -> int:
        """How many examples of a source are released within a prefix."""
        owed = self.timeline.owed(source, prefix)
        return max(0, math.floor(owed - self._release_at) + 1)

    def _released(self, first: int, last: int) -> tuple[Integers, Integers]:
        """What is released in the prefixes first + 1 … last: at which of them, and its keys."""
        rows: list[Integers] = []
        keys: list[Integers] = []
        while first < last:
            stage = self.timeline.stage_at(first)
            end = min(self.timeline.end(stage), last)
            for source in range(self.num_sources):
                ordinal = self._num_released(source, first)
                count = self._num_released(source, end) - ordinal
                if count:
                    line = Line(self.timeline, stage, source, ordinal, count)
                    rows.append(line.first_prefixes(self._release_at))
                    keys.append(line.last_prefixes(self._due_at) * SOURCES + source)
            first = end
        if not rows:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        prefixes = np.concatenate(rows)
        order = np.argsort(prefixes, kind="stable")
        return prefixes[order], np.concatenate(keys)[order]

    def _served(
        self, first: int, last: int, *waiting: Sequence[int]
    ) -> list[tuple[Integers, Integers]]:
        """Serves the positions first … last - 1 from each of some sets that may wait before.

        For each, the sources of the positions, and the keys that wait then.
        """
        prefixes, keys = self._released(first, last)
        prefixes -= first + 1
        if last - first >= COMPILED_FROM:
            starts = [np.array(waits, dtype=np.int64) for waits in waiting]
            return [SERVE.compiled(prefixes, keys, start, last - first) for start in starts]
        columns = prefixes.tolist(), keys.tolist()
        return [serve(*columns, waits, last - first) for waits in waiting]

    def _waiting(self, prefix: int) -> list[int]:
        """What waits after a prefix, found without history (module docstring)."""
        lookback = FIRST_LOOKBACK
        while True:
            first = max(0, prefix - lookback)
            sets = self._extremes(first)
            for start in range(first, prefix, LONGEST_WALK):
                served = self._served(start, min(start + LONGEST_WALK, prefix), *sets)
                sets = [sorted(left.tolist()) for _, left in served]
                if sets[0] == sets[-1]:
                    sets = sets[:1]
            if sets[0] == sets[-1]:
                return sorted(sets[0])
            lookback *= 4

    def _extremes(self, prefix: int) -> list[list[int]]:
        """The sets that could wait after a prefix: the one due earliest, and the one due latest."""
        released = [self._num_released(source, prefix) for source in range(self.num_sources)]
        possible = []
        for source, count in enumerate(released):
            if count:
                due = self.timeline.last_prefix_owing(source, count - 1 + self._due_at)
                if due >= prefix:
                    possible.append(min(due, END) * SOURCES + source)
        possible.sort()
        num_waiting = sum(released) - prefix
        return [possible[:num_waiting], possible[len(possible) - num_waiting :]]

    # Blocks.

    def _block(self, first: int) -> Block:
        """The block that begins at a position, from the cache or computed."""
        with self._lock:
            if first not in self._blocks:
                self._blocks[first] = self._newest = self._walk(first)
                if len(self._blocks) > MOST_BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(first)
            return self._blocks[first]

    def _walk(self, first: int) -> Block:
        """Computes a block."""
        last = self._end_of_block(first)
        newest = self._newest
        goes_on = newest is not None and newest.last == first
        waiting = newest.waiting.tolist() if newest and goes_on else self._waiting(first)
        served = [self._num_released(source, first) for source in range(self.num_sources)]
        for key in waiting:
            served[key % SOURCES] -= 1
        ((sources, left),) = self._served(first, last, waiting)
        before = np.array(served, dtype=np.int64)
        return Block(
            first=first,
            sources=sources,
            ordinals=_ordinals(sources, before),
            served=before,
            waiting=left,
        )

    def _end_of_block(self, first: int) -> int:
        stretch = self._stretch(first)
        if stretch.repeats:
            return first + stretch.block_length
        following = self._stretches.index(stretch) + 1
        last = self._stretches[following].first if following < len(self._stretches) else END
        return min(first + stretch.block_length, last)


def _ordinals(sources: Integers, served: Integers) -> Integers:
    """Numbers the rows of each source, beginning after those served before."""
    order = np.argsort(sources, kind="stable")
    counts = np.bincount(sources, minlength=len(served))
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    ordinals = np.empty_like(sources)
    ordinals[order] = np.arange(len(sources)) - firsts + np.repeat(served, counts)
    return ordinals


def _out_of_range(value: int) -> RecollectError:
    return RecollectError(
        Reason.PLAN_OUT_OF_RANGE, f"positions are 0 … {END - 1:,}, ordinals 0 or more; not {value}"
    )
