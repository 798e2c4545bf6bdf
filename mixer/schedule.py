"""The schedule: which source serves a position, by Tijdeman's chairman assignment.

Read as a scheduling problem, the assignment is this. L(n) is what a source is owed by the first n
positions: the sum of its shares over them, which may change along the way. With k sources and
c = 1/(2k - 2), its example number j is *released* at the first n with L(n) - j >= c, and may wait
until the last n with L(n) - j <= 1 - c, when it is *due*. One example is served at each position:
of those released, the one due first, and of those due together, that of the earlier source.
Tijdeman (The chairman assignment problem, 1980) proves, for shares that change as they like, that
nothing ever has to wait longer and no position is idle, so that at every prefix
|served - L(n)| <= 1 - c, and that no schedule can promise less for all shares.

Nothing has to be remembered: `walking.py` tells what waits at any position without history, and
serves from there. Positions near one another are computed as one block, and kept.

Where shares are constant for long, what waits repeats with their common denominator D, and so does
the order of sources: one table of D rows then answers for the whole stage.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .blocks import Block, Bracket, Place, Stretch
from .errors import Reason, RecollectError
from .shares import check_shares
from .timeline import END, Timeline
from .walking import Walking, moved

Integers: TypeAlias = npt.NDArray[np.int64]

LONGEST_TABLE = 1 << 17
"""Positions up to which a whole period is one table."""
BLOCK_LENGTH = 1 << 14
"""Positions that are computed together where there is no such table."""
SHORTEST_TABLED = 2
"""Blocks from which a stage among others is looked at for a table."""
MOST_BLOCKS = 64
"""Blocks that are kept, of 0.25 MiB each, or 2 MiB for a table of the longest period."""
LONGEST_LEAD = 1 << 12
"""Positions that are walked before a table is made to begin from."""
MOST_LAPS = 4
"""Periods of a stage in which its order must have begun to repeat for a table to be made."""


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
        self._walking = Walking(shares, slots)
        self._cuts: dict[int, tuple[Stretch, ...]] = {}
        self._cutting = -1
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._newest: Block | None = None
        self._lock = threading.RLock()

    @property
    def period(self) -> int:
        """Positions after which the order of sources repeats, in the last stage."""
        return self.timeline.periods[-1]

    @property
    def lookback(self) -> int:
        """How much earlier the last seek had to start."""
        return self._walking.lookback

    @property
    def num_walked(self) -> int:
        """Positions that were served to answer what has been asked so far."""
        return self._walking.num_walked

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
        order = np.argsort(positions, kind="stable")
        rising = positions[order]
        done = 0
        while done < rising.size:
            stretch = self._stretch(int(rising[done]))
            end = int(np.searchsorted(rising, stretch.last))
            here = order[done:end]
            sources[here], ordinals[here] = self._within(stretch, rising[done:end])
            done = end
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
        return self.first_serving({source: ordinal})

    def first_serving(self, ordinals: Mapping[int, int]) -> int:
        """The first position at which any of some sources serves an example of its own.

        Between its release and its due position lies each of them, and the first of all is before
        any is overdue: only the blocks in between are asked, and all sources in one search.

        Args:
            ordinals: by source, the number of its example.

        Returns:
            the position, or `END` if no such example is ever served.
        """
        brackets = self.brackets(ordinals)
        if not brackets:
            return END
        high = min(bracket.high for bracket in brackets)
        near = [bracket for bracket in brackets if bracket.low <= high]
        sources = np.array([bracket.source for bracket in near], dtype=np.int64)
        wanted = np.array([bracket.ordinal for bracket in near], dtype=np.int64)
        if high == END - 1 and not (self.served(high)[sources] > wanted).any():
            return END
        low = min(bracket.low for bracket in near)
        while (here := self._place(low)).block.last + here.moved <= high:
            middle = self._place((low + high + 1) // 2)
            start = middle.block.first + middle.moved
            if start <= low:
                start = here.block.last + here.moved
                middle = self._place(start)
            if (middle.served[sources] <= wanted).all():
                low = start
            else:
                high = start - 1
        order, starts = here.block.by_source
        rows = starts[sources] + wanted - here.served[sources]
        found = order[rows[rows < starts[sources + 1]]]
        return here.block.first + here.moved + int(found.min())

    def brackets(self, ordinals: Mapping[int, int]) -> list[Bracket]:
        """By source, between which positions an example is served; none where it never is."""
        brackets = []
        for source, ordinal in ordinals.items():
            if ordinal < 0:
                raise _out_of_range(ordinal)
            low = self.timeline.first_prefix_owing(source, ordinal + self._release_at) - 1
            high = self.timeline.last_prefix_owing(source, ordinal + self._due_at)
            if low < END - 1:
                high = min(high, END - 1)
                brackets.append(Bracket(source=source, ordinal=ordinal, low=low, high=high))
        return brackets

    def walk(self, first: int, last: int) -> Iterator[tuple[int, Integers, Integers]]:
        """Serves the positions first … last - 1, some at a time, and keeps none of it.

        Yields:
            a position, the rows that each source has served before it, and the sources of the
            positions from it on.
        """
        waiting: Sequence[int] = self._waiting(first)
        served = self._walking.served_before(first, waiting)
        while first < last:
            end = min(first + BLOCK_LENGTH, last)
            ((sources, left),) = self._walking.serve(first, end, waiting)
            yield first, served, sources
            served = served + np.bincount(sources, minlength=self.num_sources)
            first, waiting = end, left.tolist()

    def is_tabled(self, position: int) -> bool:
        """Whether a table answers for a position."""
        return self._stretch(position).repeats

    def unsettled(self, num_positions: int) -> tuple[int, int]:
        """The most positions through which one may have to walk since a source rests.

        Its last example may wait for as long as it rests, and whether it does only history says,
        or a table.

        Returns:
            how many they may be in the first `num_positions`, and the stage that they end in.
        """
        most = run = 0, 0
        for stage, first in enumerate(self.timeline.firsts):
            length = min(self.timeline.end(stage), num_positions) - first
            if length <= 0:
                break
            if self.timeline.periods[stage] <= LONGEST_TABLE:
                length = min(length, MOST_LAPS * self.timeline.periods[stage])
            rests = self._walking.lines_of(stage).unsettled
            run = (run[0] + length if rests else 0), stage
            most = max(most, run, key=lambda item: item[0])
        return most

    # Looking up.

    def _stretch(self, position: int) -> Stretch:
        """The stretch in which a position lies."""
        stretches = self._cut_of(self.timeline.stage_at(position))
        return stretches[bisect.bisect_right(stretches, position, key=lambda item: item.first) - 1]

    def _cut_of(self, stage: int) -> tuple[Stretch, ...]:
        """How a stage is cut."""
        with self._lock:
            if stage not in self._cuts:
                # What waits while a source rests is known from the tables of earlier stages.
                first, lines_of = stage, self._walking.lines_of
                while first and first - 1 not in self._cuts and lines_of(first).unsettled:
                    first -= 1
                outer = self._cutting
                for earlier in range(first, stage + 1):
                    self._cutting = earlier
                    self._cuts[earlier] = self._cut(earlier)
                self._cutting = outer
            return self._cuts[stage]

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

    def _cut(self, stage: int) -> tuple[Stretch, ...]:
        """A stage as what leads to its repeating part, that part, and what follows it."""
        first, period = self.timeline.firsts[stage], self.timeline.periods[stage]
        repeating = self._repeating(stage)
        if repeating is None:
            return (self._plain(first, self.timeline.end(stage)),)
        begin, end = repeating
        per_lap = np.array(
            [int(share * period) for share in self.timeline.stages[stage].shares], dtype=np.int64
        )
        table = Stretch(first=begin, last=end, block_length=period, repeats=True, per_lap=per_lap)
        lead = (self._plain(first, begin),) if begin > first else ()
        last = self.timeline.end(stage)
        tail = (self._plain(end, last),) if end < last else ()
        return *lead, table, *tail

    def _plain(self, first: int, last: int) -> Stretch:
        nothing = np.zeros(self.num_sources, dtype=np.int64)
        return Stretch(
            first=first, last=last, block_length=BLOCK_LENGTH, repeats=False, per_lap=nothing
        )

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
        before, after = self._waiting(begin), self._waiting(begin + period)
        return moved(before, period, end) == after

    # What waits.

    def _waiting(self, prefix: int) -> list[int]:
        return self._walking.waiting(prefix, self._known)

    def _known(self, first: int, prefix: int) -> tuple[int, list[int]] | None:
        """The latest lap of a table that begins in a range, and what waits there.

        While a source rests, no bound says how early one would have to start without it.
        """
        for stage in range(self.timeline.stage_at(prefix), self.timeline.stage_at(first) - 1, -1):
            if stage == self._cutting or prefix - first < LONGEST_LEAD:
                continue
            for table in self._cut_of(stage):
                laps = (min(table.last, prefix) - table.first) // table.block_length
                begin = table.first + laps * table.block_length
                if table.repeats and laps > 0 and begin >= first:
                    waiting = self._block(table.first).waiting.tolist()
                    further = begin - table.first - table.block_length
                    return begin, moved(waiting, further, self.timeline.end(stage))
        return None

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
        return self._walking.block(first, last, waiting)

    def _end_of_block(self, first: int) -> int:
        stretch = self._stretch(first)
        return min(first + stretch.block_length, stretch.last)


def _out_of_range(value: int) -> RecollectError:
    return RecollectError(
        Reason.PLAN_OUT_OF_RANGE, f"positions are 0 … {END - 1:,}, ordinals 0 or more; not {value}"
    )
