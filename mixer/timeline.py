"""The timeline of a mix: from which position on which shares hold, and what is owed by then."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .shares import common_denominator

MOST_STAGES = 10_000
END = 1 << 52
"""No position lies here or beyond: 4.5e15 rows are more than anybody trains on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of positions with constant shares."""

    first_position: int
    shares: tuple[Fraction, ...]
    """Exact shares, summing to 1; 0 for a source that rests."""


class Timeline:
    """Piecewise constant shares, and their exact sums over any prefix.

    What a source is *owed* by a prefix of n positions is the sum of its shares over them. It is
    not rounded at a change of shares, so the error of a schedule that follows it is carried over.

    Args:
        stages: by rising position, the first at 0; all of the same number of sources.

    Raises:
        RecollectError: `MIX_SHARES`, if they are not that.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        _check(self.stages)
        self.num_sources = len(stages[0].shares)
        self.firsts = [stage.first_position for stage in stages]
        self.periods = [common_denominator(stage.shares) for stage in stages]
        """Positions of each stage after which what is owed has grown by whole rows only."""
        self.unit = math.lcm(*self.periods)
        """What is owed is counted in whole parts of a row, of which a row has so many."""
        self.weights = np.array([self._in_parts(stage) for stage in stages], dtype=object)
        """Per stage and source, the share in those parts."""
        _check_totals(self.stages, self.weights, self.unit)
        self.begun = np.zeros_like(self.weights)
        """Per stage and source, what is owed when the stage begins, in those parts."""
        for index, (stage, after) in enumerate(pairwise(self.stages)):
            length = after.first_position - stage.first_position
            self.begun[index + 1] = self.begun[index] + self.weights[index] * length

    @classmethod
    def constant(cls, shares: Sequence[Fraction]) -> Timeline:
        """The same shares for ever."""
        return cls([Stage(first_position=0, shares=tuple(shares))])

    def stage_at(self, prefix: int) -> int:
        """Number of the stage that holds the position `prefix`."""
        return bisect.bisect_right(self.firsts, prefix) - 1

    def end(self, stage: int) -> int:
        """First position after a stage."""
        return self.firsts[stage + 1] if stage + 1 < len(self.firsts) else END

    def owed(self, source: int, prefix: int) -> Fraction:
        """The sum of a source's shares over the first `prefix` positions."""
        stage = self.stage_at(prefix)
        grown = self.weights[stage, source] * (prefix - self.firsts[stage])
        return Fraction(self.begun[stage, source] + grown, self.unit)

    def first_prefix_owing(self, source: int, amount: Fraction) -> int:
        """The first prefix in which at least `amount` is owed; `END` if there is none."""
        parts = math.ceil(amount * self.unit)
        stage = bisect.bisect_left(self.begun[:, source], parts) - 1
        if stage < 0:
            return 0
        weight = self.weights[stage, source]
        if not weight:
            return END
        return int(self.firsts[stage] - (self.begun[stage, source] - parts) // weight)

    def last_prefix_owing(self, source: int, amount: Fraction) -> int:
        """The last prefix in which at most `amount`, 0 or more, is owed; `END` if all are."""
        parts = math.floor(amount * self.unit)
        stage = bisect.bisect_right(self.begun[:, source], parts) - 1
        weight = self.weights[stage, source]
        if not weight:
            return END
        return int(self.firsts[stage] + (parts - self.begun[stage, source]) // weight)

    def _in_parts(self, stage: Stage) -> list[int]:
        return [share.numerator * (self.unit // share.denominator) for share in stage.shares]


def _check(stages: tuple[Stage, ...]) -> None:
    firsts = [stage.first_position for stage in stages]
    if not firsts or firsts[0] != 0 or any(a >= b for a, b in pairwise(firsts)):
        raise _wrong("stages begin at position 0 and follow one another")
    if len(stages) > MOST_STAGES:
        raise _wrong(f"there are {len(stages):,} stages; at most {MOST_STAGES:,} are followed")
    if len({len(stage.shares) for stage in stages}) != 1:
        raise _wrong("every stage gives a share to every source")
    if not stages[0].shares:
        raise _wrong("there are no sources")


def _check_totals(stages: tuple[Stage, ...], weights: npt.NDArray[np.object_], unit: int) -> None:
    for stage, parts in zip(stages, weights, strict=True):
        if parts.min() < 0 or parts.sum() != unit:
            raise _wrong(f"the shares from position {stage.first_position} on do not sum to 1")


def _wrong(problem: str) -> RecollectError:
    return RecollectError(Reason.MIX_SHARES, problem, where="timeline")
