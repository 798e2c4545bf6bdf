"""Previews of the dealing: how far the ranks of a world of some size stray from the mix."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .dealing import Dealing
from .mix import Unit
from .plan import Plan
from .timeline import Timeline

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

MOST_ROWS = 1 << 18
"""Rows that are dealt to see how it goes."""
MOST_STEPS = 1 << 14
MOST_CELLS = 1 << 24
"""Steps times ranks times sources that are compared."""
CELLS_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RankPreview:
    """How evenly the rows are dealt to a number of ranks."""

    world_size: int
    bound: Fraction
    """At the end of any step, a rank is less than so many rows away from its part of what each
    source is owed; or from its part of what the source has served, where the unit is tokens."""
    worst_deviation: float
    """The most that any rank is away at the end of the steps that were examined."""
    num_steps: int
    """How many those are, from the first."""


def preview_ranks(plan: Plan, world_size: int) -> RankPreview:
    """Deals the first rows of a plan, and compares.

    Raises:
        RecollectError: `RANK_INVALID`, if a batch has fewer rows than there are ranks.
    """
    dealing = plan.dealing(world_size)
    num_cells = world_size * len(plan.sources)
    num_steps = max(
        1,
        min(
            plan.num_steps,
            MOST_STEPS,
            MOST_ROWS // plan.mix.batch_size,
            MOST_CELLS // num_cells,
        ),
    )
    at_once = max(1, CELLS_AT_ONCE // num_cells)
    counts = np.zeros((world_size, len(plan.sources)), dtype=np.int64)
    worst = 0.0
    for first in range(0, num_steps, at_once):
        last = min(first + at_once, num_steps)
        served = counts + np.cumsum(_dealt(plan, dealing, first, last), axis=0)
        counts = served[-1]
        due = _due(plan, served, first, last) / world_size
        worst = max(worst, float(np.abs(served - due[:, None, :]).max()))
    return RankPreview(
        world_size=world_size, bound=dealing.bound, worst_deviation=worst, num_steps=num_steps
    )


def _dealt(plan: Plan, dealing: Dealing, first: int, last: int) -> Integers:
    """int64[steps, ranks, sources], rows that each step deals."""
    batch_size, num_sources = plan.mix.batch_size, len(plan.sources)
    end = min(last * batch_size, plan.num_positions)
    positions = np.arange(first * batch_size, end, dtype=np.int64)
    sources, _ = plan.schedule.at(positions)
    ranks = np.concatenate([dealing.ranks(step) for step in range(first, last)])[: sources.size]
    steps = positions // batch_size - first
    cells = (steps * dealing.world_size + ranks) * num_sources + sources
    shape = last - first, dealing.world_size, num_sources
    return np.bincount(cells, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)


def _due(plan: Plan, served: Integers, first: int, last: int) -> Floats:
    """float64[steps, sources], rows that all ranks together should have at the end of each step."""
    if plan.mix.unit is not Unit.EXAMPLES:
        return np.asarray(served.sum(axis=1), dtype=np.float64)
    ends = np.arange(first + 1, last + 1, dtype=np.int64) * plan.mix.batch_size
    return _owed(plan.mix.timeline, np.minimum(ends, plan.num_positions))


def _owed(timeline: Timeline, prefixes: Integers) -> Floats:
    """float64[prefixes, sources], what is owed by each prefix."""
    stages = np.searchsorted(timeline.firsts, prefixes, side="right") - 1
    owed = np.empty((prefixes.size, timeline.num_sources))
    for stage in np.unique(stages).tolist():
        here = stages == stage
        shares = np.array([float(share) for share in timeline.stages[stage].shares])
        begun = np.array([parts / timeline.unit for parts in timeline.begun[stage].tolist()])
        owed[here] = begun + np.outer(prefixes[here] - timeline.firsts[stage], shares)
    return owed
