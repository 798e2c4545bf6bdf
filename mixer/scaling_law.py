"""ADO-like shares: more of those sources from which the model is still learning.

After Jiang, Zhou, Feng, Malladi and Kolter, Adaptive Data Optimization: Dynamic Sample Selection
with Scaling Laws (2024, arXiv 2410.11820). For every source a scaling law is fitted to its training
loss, L(n) = e + b·n^-a, of which the slope says how fast the loss still falls. With the prior m,

    speed = a·(L(n) - e) / n,
    preference ~ m · credit · speed,   credit = h^s,  h = moving average of the shares,
    shares = g·preference + (1 - g)·average of all preferences so far.

The paper's values are kept: s = 1/2, weight 1/10 for the moving average and for g, and no
preference below 1 %. What is simplified: n counts steps, the same for all sources, as the authors
do for training losses, so that 1/n cancels; the fit minimises squared relative residuals, not the
Huber loss of logarithms, and is found without descent: for each exponent of a grid from 0.05 to
0.80, the bounds of the paper, e and b follow from a linear problem. The history is thinned to
at most 64 points, by leaving out every second one, and it is not smoothed first.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .limits import BASIS_POINTS, Limits
from .projection import Points
from .proposals import (
    DECIMAL_PLACES,
    EXACT,
    Measure,
    Memory,
    Observation,
    Proposer,
    Step,
    Wish,
    unusable,
    values_of_sources,
)

EXPONENTS = tuple(Decimal(number) / 20 for number in range(1, 17))
"""0.05, 0.10 … 0.80."""
MOST_POINTS = 64
"""Points of a loss curve that are kept."""
FEWEST_POINTS = 3
"""Points that a law with three unknowns needs."""
CREDIT_WEIGHT = Decimal("0.1")
SHARE_WEIGHT = Decimal("0.1")
LEAST_PREFERENCE = Decimal("0.01")
LEAST_SPEED = Decimal("1e-15")
"""What is slower stands still: the last digits of a fit are not a preference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingLaw:
    """L(n) = irreducible + scale·n^-exponent."""

    irreducible: Decimal
    scale: Decimal
    exponent: Decimal

    def speed(self, num_steps: int) -> Decimal:
        """How fast the loss falls at n, times n: exponent·(L(n) - irreducible)."""
        falling = self.exponent * self.scale * (-self.exponent * Decimal(num_steps).ln()).exp()
        return falling.quantize(LEAST_SPEED)


def fit(steps: Sequence[int], curves: Sequence[Sequence[Decimal]]) -> list[ScalingLaw]:
    """For each loss curve the law with the least squared relative residuals.

    Args:
        steps: at which losses were measured, from 1.
        curves: losses at these steps, above 0.
    """
    with decimal.localcontext(EXACT):
        logs = [Decimal(step).ln() for step in steps]
        powers = [(exponent, [(-exponent * log).exp() for log in logs]) for exponent in EXPONENTS]
        return [_fit_one(powers, losses) for losses in curves]


def _fit_one(
    powers: Sequence[tuple[Decimal, Sequence[Decimal]]], losses: Sequence[Decimal]
) -> ScalingLaw:
    """The best law over all exponents; the smallest exponent among equals."""
    # With residuals relative to the loss, the columns of the linear problem are 1/L and n^-a/L.
    ones = [1 / loss for loss in losses]
    found = []
    for exponent, column in powers:
        falls = [power * one for power, one in zip(column, ones, strict=True)]
        irreducible, scale = _solve(ones, falls)
        residuals = [
            1 - irreducible * one - scale * fall for one, fall in zip(ones, falls, strict=True)
        ]
        law = ScalingLaw(irreducible=irreducible, scale=scale, exponent=exponent)
        found.append((_dot(residuals, residuals), law))
    return min(found, key=lambda pair: pair[0])[1]


def _solve(ones: Sequence[Decimal], falls: Sequence[Decimal]) -> tuple[Decimal, Decimal]:
    """The e >= 0 and b >= 0 for which e·ones + b·falls is nearest to 1."""
    a11, a12, a22 = _dot(ones, ones), _dot(ones, falls), _dot(falls, falls)
    b1, b2 = sum(ones, Decimal(0)), sum(falls, Decimal(0))
    determinant = a11 * a22 - a12 * a12
    irreducible = (b1 * a22 - b2 * a12) / determinant
    scale = (b2 * a11 - b1 * a12) / determinant
    if scale < 0:
        return b1 / a11, Decimal(0)
    if irreducible < 0:
        return Decimal(0), b2 / a22
    return irreducible, scale


class Curves(Memory):
    """The loss curves so far, and the averages of shares and preferences."""

    stride: Annotated[int, Field(strict=True, ge=1)] = 1
    """Of so many observations one is kept."""
    num_observations: Step = 0
    steps: tuple[Step, ...] = ()
    losses: tuple[tuple[Measure, ...], ...] = ()
    """For each kept step the loss of every source."""
    latest: tuple[Measure | None, ...] = ()
    """Last known loss of every source."""
    credit: tuple[Measure, ...] = ()
    """Moving average of the shares."""
    newest: tuple[Measure, ...] = ()
    """The newest preference."""
    average: tuple[Measure, ...] = ()
    """Average of the prior and all preferences so far."""
    num_preferences: Step = 0


class AdoLike(Proposer):
    """Shares that follow the speed of learning, by a scaling law for each source."""

    memory: ClassVar[type[Memory]] = Curves
    kind: Literal["ado_like"] = "ado_like"
    warmup: Annotated[int, Field(strict=True, ge=0, le=10**12)] = 0
    """Steps whose losses are left out, since the law does not hold at the beginning."""

    def learn(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Curves:
        """The loss curves with one more point, and the averages with the newest preference."""
        curves = Curves.model_validate(memory.model_dump())
        losses = values_of_sources(limits, observation)
        for (name, _), loss in zip(limits.sources, losses, strict=True):
            if loss is not None and loss <= 0:
                raise unusable("a loss must be above 0", where=f"observation.values.{name}")
        known = curves.latest or (None,) * len(losses)
        latest = tuple(
            new if new is not None else old for new, old in zip(losses, known, strict=True)
        )
        shares = [Decimal(points) / BASIS_POINTS for points in current]
        credit = curves.credit or [Decimal(points) / BASIS_POINTS for points in curves.base]
        credit = [
            CREDIT_WEIGHT * share + (1 - CREDIT_WEIGHT) * old
            for share, old in zip(shares, credit, strict=True)
        ]
        curves = curves.model_copy(update={"latest": latest, "credit": _kept(credit)})
        if observation.step < max(self.warmup, 1) or None in latest:
            return curves
        return _with_preference(_with_point(curves, observation.step, latest))

    def wish(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Wish | None:
        """The average of the preferences, moved a tenth towards the newest."""
        if not isinstance(memory, Curves) or not memory.num_preferences:
            return None
        weights = tuple(
            Fraction(SHARE_WEIGHT * new + (1 - SHARE_WEIGHT) * average)
            for new, average in zip(memory.newest, memory.average, strict=True)
        )
        return Wish(weights=weights, reason="shares follow the speed of learning")


def preference(curves: Curves) -> list[Decimal]:
    """The product of prior, credit and speed, as shares of which none is below 1 %."""
    laws = fit(curves.steps, list(zip(*curves.losses, strict=True)))
    wanted = [
        Decimal(prior) * credit.sqrt() * law.speed(curves.steps[-1])
        for prior, credit, law in zip(curves.base, curves.credit, laws, strict=True)
    ]
    total = sum(wanted, Decimal(0))
    if not total:  # nothing is learnt any more: as it was in the beginning
        wanted, total = [Decimal(prior) for prior in curves.base], Decimal(BASIS_POINTS)
    raised = [max(value / total, LEAST_PREFERENCE) for value in wanted]
    return [value / sum(raised, Decimal(0)) for value in raised]


def _with_preference(curves: Curves) -> Curves:
    """With the newest preference in the average, once there are points enough for a law."""
    if len(curves.steps) < FEWEST_POINTS:
        return curves
    newest = preference(curves)
    number = curves.num_preferences + 1  # the prior counts as the first
    before = curves.average or [Decimal(prior) / BASIS_POINTS for prior in curves.base]
    average = [(old * number + new) / (number + 1) for old, new in zip(before, newest, strict=True)]
    update = {"newest": _kept(newest), "average": _kept(average), "num_preferences": number}
    return curves.model_copy(update=update)


def _with_point(curves: Curves, step: int, losses: Sequence[Decimal | None]) -> Curves:
    """With one more point; every second one is left out when there are too many."""
    number = curves.num_observations
    if number % curves.stride:
        return curves.model_copy(update={"num_observations": number + 1})
    steps, rows = (*curves.steps, step), (*curves.losses, tuple(losses))
    stride = curves.stride
    if len(steps) > MOST_POINTS:
        steps, rows, stride = steps[::2], rows[::2], stride * 2
    return curves.model_copy(
        update={
            "num_observations": number + 1,
            "steps": steps,
            "losses": rows,
            "stride": stride,
        }
    )


def _kept(values: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Values as they are recorded."""
    return tuple(value.quantize(DECIMAL_PLACES) for value in values)


def _dot(left: Sequence[Decimal], right: Sequence[Decimal]) -> Decimal:
    return sum((a * b for a, b in zip(left, right, strict=True)), Decimal(0))
