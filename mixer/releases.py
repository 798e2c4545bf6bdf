"""Releases: when examples may be served and are due, and serving them by due date."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .kernel import Kernel
from .timeline import END, Timeline

Integers: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.object_]
"""Whole numbers of any size."""

SOURCES = 1 << 10
"""A waiting example is one number, its key: the prefix at which it is due times this, plus its
source."""


class Lines:
    """The examples that sources release within one stage, where what is owed are straight lines.

    A share p/q releases one example in q/p positions. Whatever the lines began with, the prefix of
    an example is floor((i·q + start)/p) with a whole `start`, since i·q and p are whole: large
    numbers are met once per source, and never per example.

    Args:
        timeline: the timeline.
        stage: number of the stage.
        slots: an example is released with one over this, and due at this short of the next one.
    """

    def __init__(self, timeline: Timeline, stage: int, slots: int) -> None:
        self._timeline, self._slots = timeline, slots
        self.first, self.end = timeline.firsts[stage], timeline.end(stage)
        self._is_last = stage == len(timeline.stages) - 1
        self._weights = timeline.weights[stage] * slots
        self._begun = timeline.begun[stage] * slots
        self._row = timeline.unit * slots
        self._release, self._due = timeline.unit, timeline.unit * max(slots - 1, 1)
        self.active = np.flatnonzero(self._weights > 0)
        shares = [timeline.stages[stage].shares[index] for index in self.active.tolist()]
        self._p = np.array([share.numerator for share in shares], dtype=object)
        self._q = np.array([share.denominator for share in shares], dtype=object)
        self._is_small = max(self._p) < 1 << 61

    @property
    def unsettled(self) -> bool:
        """Whether an example of a source that rests may wait, for nobody knows how long."""
        _, keys = self.latest(self.first)
        return any(not self._weights[key % SOURCES] for key in keys)

    def num_released(self, prefix: int) -> Integers:
        """How many examples of each source are released within a prefix that ends in the stage."""
        owed = self._begun + self._weights * (prefix - self.first) - self._release
        released: Integers = np.maximum(owed // self._row + 1, 0).astype(np.int64)
        return released

    def released(self, first: int, last: int) -> tuple[Integers, Integers]:
        """What is released in the prefixes first + 1 … last: at which of them, and its keys."""
        ordinals = self.num_released(first)[self.active]
        counts = self.num_released(last)[self.active] - ordinals
        which = np.flatnonzero(counts)
        ordinals, counts = ordinals[which], counts[which]
        up = self._p[which] - 1  # a floor of so much more is a ceiling
        prefixes = self._floors(
            which, self._starts(which, ordinals, self._release, up=True) + up, counts
        )
        dues = self._floors(which, self._starts(which, ordinals, self._due), counts)
        sources = np.repeat(self.active[which], counts)
        numbers = np.repeat(ordinals, counts) + _counted(counts)
        return prefixes, self._settled(sources, numbers, dues) * SOURCES + sources

    def latest(self, prefix: int) -> tuple[Integers, list[int]]:
        """What may wait after a prefix that ends in the stage.

        Returns:
            how many examples each source has released, and the keys of the last of each that is
            not due yet, in rising order.
        """
        released = self.num_released(prefix)
        which = np.flatnonzero(released[self.active])
        sources = self.active[which]
        ordinals = released[sources] - 1
        ones = np.ones_like(which)
        dues = self._floors(which, self._starts(which, ordinals, self._due), ones)
        open_ = dues >= prefix
        sources, ordinals, dues = sources[open_], ordinals[open_], dues[open_]
        keys = (self._settled(sources, ordinals, dues) * SOURCES + sources).tolist()
        for source in np.flatnonzero((self._weights == 0) & (released > 0)).tolist():
            due = min(self._last_prefix(source, int(released[source]) - 1), END)
            if due >= prefix:
                keys.append(due * SOURCES + source)
        return released, sorted(keys)

    def _starts(
        self, which: Integers, ordinals: Integers, amount: int, *, up: bool = False
    ) -> Numbers:
        """What some active sources are to be owed beyond the beginning, in rows, times q."""
        missing = ordinals.astype(object) * self._row + amount - self._begun[self.active[which]]
        scaled = missing * self._q[which]
        starts: Numbers = -(-scaled // self._row) if up else scaled // self._row
        return starts

    def _floors(self, which: Integers, starts: Numbers, counts: Integers) -> Integers:
        """Prefixes first + floor((i·q + start)/p), i = 0 … count - 1, of some active sources."""
        p, q, steps = self._p[which], self._q[which], _counted(counts)
        if not self._is_small:
            every = [np.repeat(column, counts) for column in (p, q, starts)]
            large = (steps.astype(object) * every[1] + every[2]) // every[0]
            return np.asarray(np.minimum(self.first + large, END), dtype=np.int64)
        columns = (starts // p, q // p, starts % p, q % p, p)
        whole, each, rest, more, parts = (
            np.repeat(np.minimum(column, 1 << 61).astype(np.int64), counts) for column in columns
        )
        # Estimated in floats and put right exactly: what is left over is small, so that it does
        # not matter that what it is the difference of may be too large and wrap around.
        extra = ((steps * more.astype(np.float64) + rest) / parts).astype(np.int64)
        left = steps * more + rest - extra * parts
        extra += (left >= parts).astype(np.int64) - (left < 0)
        found: Integers = np.minimum(self.first + whole + steps * each + extra, END)
        return found

    def _settled(self, sources: Integers, ordinals: Integers, dues: Integers) -> Integers:
        """Due prefixes, where later shares decide on those beyond the stage."""
        if not self._is_last:
            for index in np.flatnonzero(dues >= self.end).tolist():
                due = self._last_prefix(int(sources[index]), int(ordinals[index]))
                dues[index] = min(due, END)
        return dues

    def _last_prefix(self, source: int, ordinal: int) -> int:
        due_at = Fraction(max(self._slots - 1, 1), self._slots)
        return self._timeline.last_prefix_owing(source, ordinal + due_at)


def _counted(counts: Integers) -> Integers:
    """0 … count - 1 for each count, one after the other."""
    return np.arange(counts.sum(), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)


def serve(
    prefixes: Sequence[int] | Integers,
    keys: Sequence[int] | Integers,
    waiting: Sequence[int] | Integers,
    num_rows: int,
) -> tuple[Integers, Integers]:
    """Serves, row by row, the example that is due first of those released so far."""
    heap = [key for key in waiting]
    heapq.heapify(heap)
    sources = np.empty(num_rows, dtype=np.int64)
    index = 0
    for row in range(num_rows):
        while index < len(prefixes) and prefixes[index] <= row:
            heapq.heappush(heap, keys[index])
            index += 1
        sources[row] = heapq.heappop(heap) % SOURCES
    return sources, np.array(heap, dtype=np.int64)


SERVE = Kernel(serve)
