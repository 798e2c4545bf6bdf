"""Previews of limits: how a plan keeps the floors and ceilings of its policy.

Both the shares that it asks for, stage by stage, and the rows that it serves: in how many
consecutive batches do they keep a limit, wherever one begins to count?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .limits import ANY_SHARE, BASIS_POINTS, Limits, Range
from .mix import Unit
from .plan import Plan, weights_of
from .schedule import Schedule
from .windows import Window, smallest_window, smallest_window_below, window_of_amounts

Integers: TypeAlias = npt.NDArray[np.int64]

MOST_COUNTED = 1 << 20
"""Rows of a plan that are counted one by one; beyond that, the period of the schedule is, or its
bound is used. There is neither where rows are weighed."""
MOST_COMPARED = 1 << 24
"""The same over all limits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitPreview:
    """How a share keeps its limits."""

    path: str
    """Where the policy sets them, such as `roles.refusal`."""
    limit: Range
    least_share: Fraction
    """Least share that any stage gives it."""
    greatest_share: Fraction
    floor_window: Window | None
    """The windows in which the floor holds; None if there is no floor, or too much to count."""
    ceiling_window: Window | None

    @property
    def above_floor(self) -> Fraction:
        """Basis points between the floor and the least share."""
        return self.least_share * BASIS_POINTS - self.limit.floor

    @property
    def below_ceiling(self) -> Fraction:
        """Basis points between the greatest share and the ceiling."""
        return self.limit.ceiling - self.greatest_share * BASIS_POINTS


def preview_limits(plan: Plan) -> tuple[LimitPreview, ...]:
    """How a plan keeps each limit that its policy sets for its roles and sources."""
    if plan.policy is None:
        return ()
    roles = {source.name: source.role for source in plan.sources}
    limits = Limits.of(plan.policy, roles)
    members = {f"roles.{role}": limits.members(role) for role in limits.roles}
    members |= {f"sources.{name}": (index,) for index, name in enumerate(roles)}
    reached = [
        stage for stage in plan.mix.timeline.stages if stage.first_position < plan.num_positions
    ]
    by_limit = list(zip(*(limits.margins(stage.shares) for stage in reached), strict=True))
    chosen = [margins for margins in by_limit if margins[0].limit != ANY_SHARE]
    counting = _Counting(plan, len(chosen))
    return tuple(
        LimitPreview(
            path=margins[0].path,
            limit=margins[0].limit,
            least_share=min(margin.share for margin in margins),
            greatest_share=max(margin.share for margin in margins),
            floor_window=counting.above(members[margins[0].path], margins[0].limit.floor),
            ceiling_window=counting.below(members[margins[0].path], margins[0].limit.ceiling),
        )
        for margins in chosen
    )


class _Counting:
    """Finds windows in one plan, whose rows are looked up once for all its limits."""

    def __init__(self, plan: Plan, num_limits: int) -> None:
        self._plan = plan
        self._num_batches = plan.num_positions // plan.mix.batch_size
        num_rows = self._num_batches * plan.mix.batch_size
        self._is_counted = num_rows <= MOST_COUNTED and num_rows * num_limits <= MOST_COMPARED
        self._is_counted &= self._num_batches > 0

    def above(self, members: Sequence[int], floor: int) -> Window | None:
        """The windows in which some sources together keep a floor."""
        schedule, batch_size = self._plan.schedule, self._plan.mix.batch_size
        if not floor:
            return None
        if self._is_counted:
            return window_of_amounts(self._amounts(members), self._totals, floor)
        if isinstance(schedule, Schedule):
            return smallest_window(schedule, members, floor, batch_size)
        return None

    def below(self, members: Sequence[int], ceiling: int) -> Window | None:
        """The windows in which some sources together keep a ceiling."""
        schedule, batch_size = self._plan.schedule, self._plan.mix.batch_size
        if ceiling == BASIS_POINTS:
            return None
        if self._is_counted:
            others = self._totals - self._amounts(members)
            return window_of_amounts(others, self._totals, BASIS_POINTS - ceiling)
        if isinstance(schedule, Schedule):
            return smallest_window_below(schedule, members, ceiling, batch_size)
        return None

    def _amounts(self, members: Sequence[int]) -> Integers:
        """What each whole batch has of some sources, in the unit of the mix."""
        sources, weights = self._rows
        return self._per_batch(np.where(np.isin(sources, list(members)), weights, 0))

    @cached_property
    def _totals(self) -> Integers:
        return self._per_batch(self._rows[1])

    def _per_batch(self, values: Integers) -> Integers:
        sums: Integers = values.reshape(self._num_batches, -1).sum(axis=1)
        return sums

    @cached_property
    def _rows(self) -> tuple[Integers, Integers]:
        """Source and weight of each row, in the order of positions."""
        plan = self._plan
        positions = np.arange(self._num_batches * plan.mix.batch_size, dtype=np.int64)
        sources, _ = plan.schedule.at(positions)
        if plan.mix.unit is Unit.EXAMPLES:
            return sources, np.ones_like(sources)
        weights = np.empty_like(sources)
        for index, rows in enumerate(plan.source_rows):
            here = np.flatnonzero(sources == index)
            weights[here] = rows.in_order(weights_of(plan.mix.unit, rows), 0, here.size)
        return sources, weights
