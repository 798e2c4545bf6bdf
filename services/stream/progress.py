"""How far a run has come: which steps every rank has acknowledged, in bounded memory."""

from __future__ import annotations

from bisect import bisect_right


class Intervals:
    """A set of steps kept as disjoint intervals; steps that come in order are one interval."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, step: int) -> bool:
        return self.end_after(step) > step

    def end_after(self, step: int) -> int:
        """The first step from `step` on that is not in the set."""
        index = bisect_right(self._firsts, step) - 1
        return max(step, self._ends[index]) if index >= 0 else step

    def add(self, step: int) -> None:
        """Adds a step."""
        if step in self:
            return
        index = bisect_right(self._firsts, step)
        joins_before = index > 0 and self._ends[index - 1] == step
        joins_after = index < len(self._firsts) and self._firsts[index] == step + 1
        if joins_before and joins_after:
            self._ends[index - 1] = self._ends.pop(index)
            del self._firsts[index]
        elif joins_before:
            self._ends[index - 1] = step + 1
        elif joins_after:
            self._firsts[index] = step
        else:
            self._firsts.insert(index, step)
            self._ends.insert(index, step + 1)


class Progress:
    """The acknowledged (step, rank, world size) of one run.

    A run may go on with another number of ranks, so a step counts as done when all ranks of one
    and the same world size have acknowledged it.
    """

    def __init__(self) -> None:
        self._worlds: dict[int, dict[int, Intervals]] = {}

    def has(self, step: int, rank: int, world_size: int) -> bool:
        """Whether the acknowledgement is recorded."""
        ranks = self._worlds.get(world_size, {})
        return rank in ranks and step in ranks[rank]

    def add(self, step: int, rank: int, world_size: int) -> None:
        """Records an acknowledgement."""
        self._worlds.setdefault(world_size, {}).setdefault(rank, Intervals()).add(step)

    @property
    def first_step(self) -> int:
        """First step that has no acknowledgement of every rank."""
        step = 0
        while (end := self._end_after(step)) > step:
            step = end
        return step

    def _end_after(self, step: int) -> int:
        ends = [
            min(steps.end_after(step) for steps in ranks.values())
            for world_size, ranks in self._worlds.items()
            if len(ranks) == world_size
        ]
        return max(ends, default=step)
