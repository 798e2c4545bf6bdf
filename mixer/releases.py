"""Releases: when examples may be served and are due, and serving them by due date."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .kernel import Kernel
from .timeline import END, Timeline

Integers: TypeAlias = npt.NDArray[np.int64]

SOURCES = 1 << 10
"""A waiting example is one number, its key: the prefix at which it is due times this, plus its
source."""


class Line:
    """Consecutive examples of a source within one stage, where what is owed is a straight line.

    Args:
        timeline: the timeline.
        stage: number of the stage.
        source: number of the source; its share is not 0.
        ordinal: the first of the examples.
        count: how many they are.
    """

    def __init__(
        self, timeline: Timeline, stage: int, source: int, ordinal: int, count: int
    ) -> None:
        self._timeline, self._stage, self._source = timeline, stage, source
        self._ordinal, self._count = ordinal, count
        self._rows_each = 1 / timeline.stages[stage].shares[source]
        owed = timeline.owed_at_start[stage][source]
        self._begin = timeline.firsts[stage] + (ordinal - owed) * self._rows_each

    def first_prefixes(self, amount: Fraction) -> Integers:
        """For each example, the first prefix in which `amount` more than its ordinal is owed."""
        return self._floors(-1, amount)

    def last_prefixes(self, amount: Fraction) -> Integers:
        """For each example, the last prefix in which at most that is owed."""
        found = self._floors(1, amount)
        late = np.flatnonzero(found >= self._timeline.end(self._stage))
        for index in late.tolist():  # few: later shares decide on them
            owing = self._ordinal + index + amount
            found[index] = self._timeline.last_prefix_owing(self._source, owing)
        return np.minimum(found, END)

    def _floors(self, sign: int, amount: Fraction) -> Integers:
        """Rounds the prefixes in which exactly that is owed down (1) or up (-1)."""
        start = self._begin + amount * self._rows_each
        parts = math.lcm(start.denominator, self._rows_each.denominator)
        whole, rest = divmod(int(sign * start * parts), parts)
        step = sign * int(self._rows_each * parts)
        if abs(step) * self._count + parts < 1 << 62:
            steps = np.arange(self._count, dtype=np.int64) * step
            return sign * (whole + (rest + steps) // parts)
        found = (sign * (whole + (rest + i * step) // parts) for i in range(self._count))
        return np.array([min(prefix, END) for prefix in found], dtype=np.int64)


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
