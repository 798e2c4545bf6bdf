"""Walking: what waits after any prefix, and the positions served from there, one after another.

An example *waits* from its release until it is served. Walking needs to know what waits where it
begins, and seeking that needs no history. At most one example of each source waits at a time, and
how many wait in all follows from the prefix alone; only *which* ones is open. Serving the one due
first keeps two sets of equal size in order (if each element of one is due no later than its
counterpart, it stays so), so it is enough to start a little earlier from the two extreme sets:
where they have become one set, every set between them has, the true one too. The answer is exact
at any position. How much earlier depends on the rarest source, not on the position.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .blocks import Block
from .releases import SERVE, SOURCES, Lines, serve
from .timeline import Timeline

Integers: TypeAlias = npt.NDArray[np.int64]
Known: TypeAlias = Callable[[int, int], tuple[int, list[int]] | None]
"""Within a range of prefixes, one after which it is known what waits, and that; or none."""

MOST_LINES = 256
"""Stages of which is kept what they release."""
FIRST_LOOKBACK = 64
LONGEST_WALK = 1 << 17
"""Positions that are walked at once; bounds the memory of a seek."""
COMPILED_FROM = 1 << 16
"""Rows from which compiled code is faster, its loading included; all that were walked count."""


class Walking:
    """Serving positions of a timeline from any prefix on; what waits is given as keys.

    Args:
        timeline: the timeline.
        slots: an example is released with one over this, and due at this short of the next one.
    """

    def __init__(self, timeline: Timeline, slots: int) -> None:
        self._timeline, self._slots = timeline, slots
        self._lines: OrderedDict[int, Lines] = OrderedDict()
        self._lock = threading.Lock()
        self.lookback = FIRST_LOOKBACK
        """How much earlier the last seek had to start."""
        self.num_walked = 0
        """Positions that were served so far."""

    def lines_of(self, stage: int) -> Lines:
        """What a stage releases."""
        with self._lock:
            if stage not in self._lines:
                self._lines[stage] = Lines(self._timeline, stage, self._slots)
                if len(self._lines) > MOST_LINES:
                    self._lines.popitem(last=False)
            return self._lines[stage]

    def released(self, first: int, last: int) -> tuple[Integers, Integers]:
        """What is released in the prefixes first + 1 … last: at which of them, and its keys."""
        parts = []
        while first < last:
            lines = self._lines_at(first)
            end = min(lines.end, last)
            parts.append(lines.released(first, end))
            first = end
        if not parts:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        rows, keys = zip(*parts, strict=True)
        prefixes = np.concatenate(rows)
        order = np.argsort(prefixes, kind="stable")
        return prefixes[order], np.concatenate(keys)[order]

    def serve(
        self, first: int, last: int, *waiting: Sequence[int]
    ) -> list[tuple[Integers, Integers]]:
        """Serves the positions first … last - 1 from each of some sets that may wait before.

        For each, the sources of the positions, and the keys that wait then.
        """
        prefixes, keys = self.released(first, last)
        prefixes -= first + 1
        self.num_walked += (last - first) * len(waiting)
        if self.num_walked >= COMPILED_FROM:
            starts = [np.array(waits, dtype=np.int64) for waits in waiting]
            return [SERVE.compiled(prefixes, keys, start, last - first) for start in starts]
        columns = prefixes.tolist(), keys.tolist()
        return [serve(*columns, waits, last - first) for waits in waiting]

    def served_before(self, first: int, waiting: Sequence[int]) -> Integers:
        """Rows that each source has served before a position, given what waits there."""
        waits = np.array(waiting, dtype=np.int64) % SOURCES
        released = self._lines_at(first).num_released(first)
        return released - np.bincount(waits, minlength=self._timeline.num_sources)

    def block(self, first: int, last: int, waiting: Sequence[int]) -> Block:
        """The positions first … last - 1 as a block, given what waits before it."""
        before = self.served_before(first, waiting)
        ((sources, left),) = self.serve(first, last, waiting)
        return Block(
            first=first,
            sources=sources,
            ordinals=_ordinals(sources, before),
            served=before,
            waiting=left,
        )

    def waiting(self, prefix: int, known: Known) -> list[int]:
        """What waits after a prefix, found without history (module docstring).

        Args:
            prefix: the prefix.
            known: asked before each attempt to start earlier, which it may shorten.
        """
        lookback = max(self.lookback // 4, FIRST_LOOKBACK)
        while True:
            first = max(0, prefix - lookback)
            sets = self._extremes(first)
            if found := known(first, prefix):
                first, sets = found[0], [found[1]]
            for start in range(first, prefix, LONGEST_WALK):
                served = self.serve(start, min(start + LONGEST_WALK, prefix), *sets)
                sets = [sorted(left.tolist()) for _, left in served]
                if sets[0] == sets[-1]:
                    sets = sets[:1]
            if sets[0] == sets[-1]:
                self.lookback = lookback
                return sorted(sets[0])
            lookback *= 4

    def _extremes(self, prefix: int) -> list[list[int]]:
        """The sets that could wait after a prefix: the one due earliest, and the one due latest."""
        released, possible = self._lines_at(prefix).latest(prefix)
        num_waiting = int(released.sum()) - prefix
        return [possible[:num_waiting], possible[len(possible) - num_waiting :]]

    def _lines_at(self, prefix: int) -> Lines:
        return self.lines_of(self._timeline.stage_at(prefix))


def moved(waiting: Sequence[int], by: int, end: int) -> list[int]:
    """What waits, some laps later: as many positions further on, so long as it is due before `end`.

    What is due later is due by other shares, which no lap moves.
    """
    keys = ((key // SOURCES, key % SOURCES) for key in waiting)
    return sorted((due + by if due < end else due) * SOURCES + source for due, source in keys)


def _ordinals(sources: Integers, served: Integers) -> Integers:
    """Numbers the rows of each source, beginning after those served before."""
    order = np.argsort(sources, kind="stable")
    counts = np.bincount(sources, minlength=len(served))
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    ordinals = np.empty_like(sources)
    ordinals[order] = np.arange(len(sources)) - firsts + np.repeat(served, counts)
    return ordinals
