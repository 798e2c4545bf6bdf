"""Dealing: which rank trains on which row of a batch, so that every rank sees the agreed mix.

Taking every W-th row aliases with the schedule: with 5 % refusals and 4 ranks, one rank can get
all of them. Here the rows of a step are edges of a bipartite graph, from *hands* (W rows of the
step in turn; empty rows fill up the last hand and count as one more source) to *rounds* (W examples
of one source in turn). The W ranks colour the edges so that no colour repeats at a hand or a round,
which König's theorem allows. Then, at the end of any step, after n positions,

- the shards of the step differ in size by at most one row, and so do all rows of any two ranks
  (by at most two after a last, shorter batch);
- of every source, each rank has served less than one row more or less than its share of what the
  source is owed: |served - L(n)/W| < 1.

Proof of the second. A rank has one of each W examples of a source, so of S served by all it has
floor(S/W) or ceil(S/W). The schedule keeps |S - L(n)| < 1. Were S/W < floor(L(n)/W) =: q, then
S <= qW - 1 <= L(n) - 1, since S and qW are whole: a contradiction. So q <= floor(S/W), in the same
way ceil(S/W) <= ceil(L(n)/W), and both L(n)/W and what the rank has served lie between those two.
If they are equal so is it; else it is less than 1 away from anything strictly between.

Against its share of the rows that the rank itself has had, n_r instead of n/W, the distance is less
than 1 + share, since |n_r - n/W| < 1; the two are the same where W divides the batch.

The colouring is one table for the whole plan, or for a period of it after which every rank has had
its exact share. Where that is more rows than `LONGEST_TABLE`, a *lap* is coloured, after which the
schedule repeats though the rounds do not end with it, and the ranks change places from lap to lap,
so that each has taken every place after W laps. By how much the rounds that were broken off can add
up meanwhile is worked out from the table (`bound`), and kept low by the order of the places
(Steinitz, 1913, shows that some order keeps it below the number of sources).
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .colouring import Vertices, edge_colours
from .errors import Reason, RecollectError
from .lengthwise import LengthwiseSchedule
from .schedule import Schedule
from .subtotals import Subtotals
from .timeline import END

Integers: TypeAlias = npt.NDArray[np.int64]

LONGEST_TABLE = 1 << 22
"""Rows up to which everything is dealt as one: about a second, and 100 bytes a row meanwhile."""
SEGMENT_ROWS = 1 << 20
"""Rows of a lap where not even the schedule repeats soon enough."""
MOST_RANKS = 1 << 12
"""Ranks that rows are dealt to; the time that dealing takes grows with their number."""
MOST_LAPS = 2
"""Tables that are kept; there is more than one only where the schedule does not repeat."""
SUBTOTAL_BYTES = 1 << 24
"""What is kept of earlier laps where the schedule does not repeat."""


class Dealing:
    """The pure function from (step, row) to rank.

    Args:
        schedule: which source serves which position.
        batch_size: rows of a step.
        world_size: ranks, at least 1 and at most `batch_size`.
        num_positions: rows of the plan.

    Raises:
        RecollectError: `RANK_INVALID`.
    """

    def __init__(
        self,
        schedule: Schedule | LengthwiseSchedule,
        batch_size: int,
        world_size: int,
        num_positions: int = END,
    ) -> None:
        if not 1 <= world_size <= batch_size:
            raise RecollectError(
                Reason.RANK_INVALID,
                f"a batch of {batch_size} rows cannot be dealt to {world_size} ranks",
                where="world_size",
                fix="Use at least 1 rank, and at most as many as a batch has rows.",
            )
        if world_size > MOST_RANKS:
            raise RecollectError(
                Reason.RANK_INVALID,
                f"rows are dealt to at most {MOST_RANKS:,} ranks, not to {world_size:,}",
                where="world_size",
                fix="Let several processes share a rank's rows.",
            )
        self.schedule = schedule
        self.batch_size = batch_size
        self.world_size = world_size
        self._num_positions = num_positions
        self._num_hands = -(-batch_size // world_size)
        lap_steps, self.is_exact = _lap_steps(schedule, batch_size, world_size, num_positions)
        self.lap_steps = lap_steps
        """Steps that are dealt together."""
        period = _period(schedule)
        self._repeats = period > 0 and lap_steps * batch_size % period == 0
        self._num_laps = -(-num_positions // (lap_steps * batch_size))
        self._laps: OrderedDict[int, npt.NDArray[np.int32]] = OrderedDict()
        self._lock = threading.Lock()
        shape = world_size, schedule.num_sources
        num_subtotals = max(SUBTOTAL_BYTES // (8 * world_size * schedule.num_sources), 2)
        self._subtotals = Subtotals(self._ranks_in_lap, shape, num_subtotals)

    def ranks(self, step: int) -> Integers:
        """The rank of each row of a step, in the order of positions.

        A last, shorter batch takes the first of them; its shards, too, differ by at most one row.
        """
        if self.world_size == 1:
            return np.zeros(self.batch_size, dtype=np.int64)
        lap, within = divmod(step, self.lap_steps)
        places = self._lap(0 if self._repeats else lap)[within].astype(np.int64)
        return places if self.is_exact else self._seated(places, lap)

    def served(self, step: int, rank: int) -> Integers:
        """Rows of each source that a rank has had before a step.

        As quick at any step, but for a plan so long that nothing in it repeats: there the laps
        before have to be dealt, once for all ranks; `Subtotals` says what is kept of them.
        """
        if self.world_size == 1:
            return self.schedule.served(min(step * self.batch_size, self._num_positions))
        # The last lap may be cut short by the end of the plan; only whole ones are multiplied.
        lap_rows = self.lap_steps * self.batch_size
        lap = min(step * self.batch_size, self._num_positions) // lap_rows
        total = self._served_in_lap(lap, step - lap * self.lap_steps, rank)
        if not self._repeats:
            total += self._subtotals.before(lap)[rank]
        elif self.is_exact:
            total += lap * self._served_in_lap(0, self.lap_steps, rank)
        else:
            cycles, rest = divmod(lap, self.world_size)
            total += cycles * self._in_lap.sum(axis=0)
            for earlier in range(rest):
                total += self._in_lap[self._place_of(rank, earlier)]
        return total

    def _served_in_lap(self, lap: int, num_steps: int, rank: int) -> Integers:
        """Rows of each source that a rank has in the first steps of a lap."""
        counts = np.zeros(self.schedule.num_sources, dtype=np.int64)
        if not num_steps:
            return counts
        first = lap * self.lap_steps * self.batch_size
        place = rank if self.is_exact else self._place_of(rank, lap)
        table = self._lap(0 if self._repeats else lap)[:num_steps].ravel()
        rows = np.flatnonzero(table == place) + first
        sources, _ = self.schedule.at(rows[rows < self._num_positions])
        counts += np.bincount(sources, minlength=counts.size)
        return counts

    def _place_of(self, rank: int, lap: int) -> int:
        """Where a rank sits in a lap."""
        return int(np.flatnonzero(self._seated(np.arange(self.world_size), lap) == rank)[0])

    @cached_property
    def bound(self) -> Fraction:
        """At the end of any step, |served - L(n)/W| is less than this for every source and rank.

        By tokens, where rows are not what the shares are of, L(n) is the rows served by all.
        """
        if self.is_exact:
            return Fraction(1)
        if not self._repeats:
            return 1 + Fraction(self._num_laps)
        extra = np.cumsum(self._extras[self._places], axis=0)
        spread = (extra.max(axis=0, initial=0) - extra.min(axis=0, initial=0)).max()
        return 1 + Fraction(int(spread), self.world_size)

    # Places that ranks take in turn.

    def _seated(self, places: Integers, lap: int) -> Integers:
        """The ranks that sit at places in a lap: each moves on by one place with every lap."""
        seats = np.empty(self.world_size, dtype=np.int64)
        order = self._places if self._repeats else np.arange(self.world_size)
        seats[order] = (np.arange(self.world_size) + lap) % self.world_size
        return seats[places]

    @cached_property
    def _extras(self) -> Integers:
        """Per place and source: W times the rows by which a lap gives it more than its share."""
        extras: Integers = self._in_lap * self.world_size - self._in_lap.sum(axis=0)
        return extras

    @cached_property
    def _in_lap(self) -> Integers:
        """Per place and source: the rows of a lap, where laps repeat."""
        return self._counts(0)

    def _counts(self, lap: int) -> Integers:
        """Per place and source: the rows of a whole lap."""
        table = self._lap(lap)
        first = lap * table.size
        sources, _ = self.schedule.at(np.arange(first, first + table.size))
        cells = table.ravel().astype(np.int64) * self.schedule.num_sources + sources
        counts = np.bincount(cells, minlength=self.world_size * self.schedule.num_sources)
        return counts.reshape(self.world_size, -1).astype(np.int64)

    def _ranks_in_lap(self, lap: int) -> Integers:
        """Per rank and source: the rows of a whole lap."""
        counts = self._counts(lap)
        if self.is_exact:
            return counts
        by_rank = np.empty_like(counts)
        by_rank[self._seated(np.arange(self.world_size), lap)] = counts
        return by_rank

    @cached_property
    def _places(self) -> Integers:
        """The order in which ranks go through the places: greedily, what is ahead stays small."""
        left = list(range(self.world_size))
        ahead = np.zeros(self.schedule.num_sources, dtype=np.int64)
        order = []
        while left:
            worst = np.abs(ahead + self._extras[left]).max(axis=1)
            chosen = left.pop(int(worst.argmin()))
            ahead += self._extras[chosen]
            order.append(chosen)
        return np.array(order, dtype=np.int64)

    # Tables.

    def _lap(self, index: int) -> npt.NDArray[np.int32]:
        """A lap, steps by rows, from the cache or dealt now."""
        with self._lock:
            if index not in self._laps:
                self._laps[index] = self._deal(index)
            self._laps.move_to_end(index)
            if len(self._laps) > MOST_LAPS:
                self._laps.popitem(last=False)
            return self._laps[index]

    def _deal(self, index: int) -> npt.NDArray[np.int32]:
        """Colours the rows of a lap."""
        num_sources, num_rows = self.schedule.num_sources, self.lap_steps * self.batch_size
        first = index * num_rows
        last = first + num_rows
        if isinstance(self.schedule, LengthwiseSchedule):
            # It ends with the plan: a last, shorter batch is filled up with more of one source.
            last = min(last, self.schedule.num_positions)
        sources, ordinals = self.schedule.at(np.arange(first, last, dtype=np.int64))
        sources = np.concatenate((sources, np.full(num_rows - len(sources), sources[-1])))
        more = np.arange(num_rows - len(ordinals)) + ordinals[-1] + 1
        ordinals = np.concatenate((ordinals, more)) - self.schedule.served(first)[sources]
        width = self._num_hands * self.world_size
        num_empty = width - self.batch_size
        shape = self.lap_steps, width
        columns = np.full(shape, num_sources, dtype=np.int64), np.empty(shape, dtype=np.int64)
        columns[0][:, : self.batch_size] = sources.reshape(self.lap_steps, -1)
        columns[1][:, : self.batch_size] = ordinals.reshape(self.lap_steps, -1)
        columns[1][:, self.batch_size :] = np.arange(self.lap_steps * num_empty).reshape(
            self.lap_steps, -1
        )
        rounds = _numbered(columns[0].ravel(), columns[1].ravel() // self.world_size)
        colours = edge_colours(*_filled_up(rounds, self.world_size), self.world_size)
        dealt = colours[: self.lap_steps * width].reshape(shape)
        return np.ascontiguousarray(dealt[:, : self.batch_size])


def _lap_steps(
    schedule: Schedule | LengthwiseSchedule, batch_size: int, world_size: int, num_positions: int
) -> tuple[int, bool]:
    """Steps that are dealt together, and whether the next ones begin afresh."""
    plan_steps = -(-num_positions // batch_size)
    period = _period(schedule)
    even = math.lcm(period * world_size, batch_size) // batch_size
    steps = min(even, plan_steps) if period else plan_steps
    if steps * batch_size <= LONGEST_TABLE:
        return steps, True
    steps = math.lcm(period, batch_size) // batch_size
    if period and steps * batch_size <= LONGEST_TABLE:
        return steps, False
    return max(SEGMENT_ROWS // batch_size, 1), False


def _filled_up(rounds: Vertices, world_size: int) -> tuple[Vertices, Vertices]:
    """Hands and rounds of all rows, with hands of no step that complete the rounds broken off."""
    missing = world_size - np.bincount(rounds)
    rounds = np.concatenate((rounds, np.repeat(np.arange(len(missing)), missing))).astype(np.int32)
    hands = np.arange(len(rounds)) // world_size
    return hands.astype(np.int32), rounds


def _period(schedule: Schedule | LengthwiseSchedule) -> int:
    """Positions after which the order of sources repeats from the first on; 0 if it does not."""
    if isinstance(schedule, Schedule) and len(schedule.timeline.stages) == 1:
        return schedule.period
    return 0


def _numbered(sources: Integers, rounds: Integers) -> Vertices:
    """Numbers the rounds of all sources through, those of one source after the other."""
    counts = np.zeros(int(sources.max()) + 1, dtype=np.int64)
    np.maximum.at(counts, sources, rounds + 1)
    return (np.concatenate(([0], np.cumsum(counts)))[sources] + rounds).astype(np.int32)
