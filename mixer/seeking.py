"""Seeking: where many sources each serve an example of their own, such as the first of a new pass.

An example lies in a bracket that is known in closed form: not before it is released, and not after
it is due. Of a share s that is 1/s positions. Where exactly follows from a walk along the bracket,
and one walk finds all whose brackets lie close together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .blocks import Bracket
from .schedule import Schedule
from .timeline import END
from .walking import LONGEST_WALK

WALK_COST = 1 << 14
"""What it takes to begin a walk, in positions walked."""


def seek(
    schedule: Schedule, ordinals: Mapping[int, int], *, grain: int = 1, most_walked: int = END
) -> dict[int, Bracket]:
    """By source, between which positions each serves an example of its own.

    Sources that never serve so many are left out.

    Args:
        schedule: the order of sources.
        ordinals: by source, the number of its example.
        grain: it is enough to know in which stretch of so many positions.
        most_walked: positions that may be walked for it; what lies later is not narrowed down.
    """
    brackets = schedule.brackets(ordinals)
    found = {bracket.source: bracket for bracket in brackets}
    left = most_walked
    near: list[Bracket] = []
    for bracket in sorted(brackets, key=lambda bracket: bracket.low):
        if bracket.low // grain == bracket.high // grain and bracket.high < END - 1:
            continue
        if near and bracket.low > max(item.high for item in near) + schedule.lookback:
            left -= _narrow(schedule, near, found)
            near = []
        if left <= 0:
            break
        if bracket.high - bracket.low >= LONGEST_WALK or schedule.is_tabled(bracket.low):
            found[bracket.source] = bracket.at(
                schedule.position_of(bracket.source, bracket.ordinal)
            )
        else:
            near.append(bracket)
    _narrow(schedule, near, found)
    return {source: bracket for source, bracket in found.items() if bracket.low < END}


def _narrow(schedule: Schedule, near: Sequence[Bracket], found: dict[int, Bracket]) -> int:
    """Narrows brackets down to one position each; what that took, in positions walked."""
    before = schedule.num_walked
    found.update(_walk_along(schedule, near))
    return schedule.num_walked - before + WALK_COST


def _walk_along(schedule: Schedule, near: Sequence[Bracket]) -> Iterator[tuple[int, Bracket]]:
    if not near:
        return
    end = max(bracket.high for bracket in near) + 1
    for first, served, sources in schedule.walk(near[0].low, end):
        after = served + np.bincount(sources, minlength=schedule.num_sources)
        for bracket in near:
            source, ordinal = bracket.source, bracket.ordinal
            if served[source] <= ordinal < after[source]:
                row = np.flatnonzero(sources == source)[ordinal - served[source]]
                yield source, bracket.at(first + int(row))
