"""Weighing: what every source was served, in tokens, and what it was owed by then.

The check of a plan whose shares are of tokens. A source is *owed* its share of all that was served,
stage by stage. `queueing` proves how far from it a source may be: at first by the largest row; in a
stage that began with others in arrears, by what they were owed then, if that is more.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .lengthwise import FINE, LengthwiseSchedule
from .plan import Plan, weights_of

Integers: TypeAlias = npt.NDArray[np.int64]


class Weighing:
    """Weight of each source, from the first step of a plan on.

    Args:
        plan: one whose unit is not examples, with its measures.
    """

    def __init__(self, plan: Plan) -> None:
        if not isinstance(plan.schedule, LengthwiseSchedule):
            raise ValueError("the shares of the plan are of rows")
        self._plan = plan
        self._schedule = plan.schedule
        self.largest = max(int(weights_of(plan.mix.unit, rows).max()) for rows in plan.source_rows)
        """Weight of the heaviest row."""
        self._served = [0] * len(plan.sources)
        self._owed = [Fraction(0)] * len(plan.sources)
        self._stage = 0

    def add(self, step: int, weights: Integers) -> None:
        """Counts what a step served of each source; steps come in their order."""
        timeline = self._plan.mix.timeline
        self._stage = timeline.stage_at(step * self._plan.mix.batch_size)
        whole = int(weights.sum())
        shares = timeline.stages[self._stage].shares
        self._owed = [was + share * whole for was, share in zip(self._owed, shares, strict=True)]
        self._served = [
            was + weight for was, weight in zip(self._served, weights.tolist(), strict=True)
        ]

    @property
    def deviation(self) -> list[Fraction]:
        """By how much each source is ahead (above 0) or behind (below 0) of what it is owed."""
        return [served - owed for served, owed in zip(self._served, self._owed, strict=True)]

    @property
    def beyond(self) -> list[int]:
        """The sources that are further from what they are owed than the schedule lets them be.

        What resting sources are owed is owed by the others, in proportion to their shares.
        """
        shares = self._plan.mix.timeline.stages[self._stage].shares
        resting, behind = self._schedule.debt(self._stage)
        bound = max(Fraction(self.largest), behind) + Fraction(2 * self._stage, FINE)
        return [
            index
            for index, (share, ahead) in enumerate(zip(shares, self.deviation, strict=True))
            if share and abs(share * resting - ahead) > bound
        ]
