"""Ramps: shares that change by a timetable, in a straight line from one named point to the next."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .document import Name
from .errors import Reason, RecollectError
from .limits import BASIS_POINTS, BasisPoints, Limits
from .projection import project, to_shares
from .proposals import Proposal, Step, recorded
from .timeline import MOST_STAGES


class Point(BaseModel):
    """The shares that a ramp has reached at a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Step
    """The step."""
    shares: dict[Name, BasisPoints]
    """Of every source of the mix, in basis points."""


class Ramp(BaseModel):
    """A timetable of shares, linear between its points and constant after the last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ramp"] = "ramp"
    points: Annotated[tuple[Point, ...], Field(min_length=1, max_length=1000)]
    """Shares at some steps, by rising step."""
    every: Annotated[int, Field(strict=True, ge=1, le=10**12)]
    """Steps for which shares stay the same on the way."""

    @model_validator(mode="after")
    def _rises(self) -> Ramp:
        for index, (here, after) in enumerate(pairwise(self.points)):
            if after.step <= here.step:
                raise _invalid(
                    f"step {after.step} does not come after step {here.step}",
                    where=f"points[{index + 1}].step",
                    fix="List the points in the order of their steps.",
                )
        for index, point in enumerate(self.points):
            total = sum(point.shares.values())
            if total != BASIS_POINTS:
                raise _invalid(
                    f"the shares sum to {total} basis points, not {BASIS_POINTS}",
                    where=f"points[{index}].shares",
                    fix=f"Change them by {BASIS_POINTS - total} basis points in all.",
                )
        num_stages = 1 + sum(
            -(-(after.step - here.step) // self.every) for here, after in pairwise(self.points)
        )
        if num_stages >= MOST_STAGES:  # one stage may come before the first point
            raise _invalid(
                f"the ramp has {num_stages} stages; it may have {MOST_STAGES - 1}",
                where="every",
                fix="Let shares stay the same for more steps.",
            )
        return self

    def proposals(self, limits: Limits) -> tuple[Proposal, ...]:
        """The changes that it makes, the first at its first point.

        Raises:
            RecollectError: `POLICY_INVALID`, if a point does not give shares to exactly the sources
                of the mix; `LIMIT_VIOLATED`, if a point is outside the limits.
        """
        names = [name for name, _ in limits.sources]
        for index, point in enumerate(self.points):
            if set(point.shares) != set(names):
                raise _invalid(
                    "the shares are not those of the sources of the mix",
                    where=f"points[{index}].shares",
                    fix=f"Give one to each of {', '.join(names[:20])}; 0 is allowed.",
                )
            shares = to_shares([point.shares[name] for name in names])
            limits.check(shares, where=f"points[{index}].shares")
        inputs = recorded(self, limits)
        found: list[Proposal] = []
        for step, reason, wanted in self._stages(names):
            shares = to_shares(project(wanted, limits))
            if not found or shares != found[-1].shares:
                found.append(
                    Proposal(
                        first_step=step,
                        shares=shares,
                        reason=reason,
                        inputs={**inputs, "first_step": step},
                    )
                )
        return tuple(found)

    def _stages(self, names: list[str]) -> Iterator[tuple[int, str, list[Fraction]]]:
        """Step, reason and exact shares of each stage, on the straight line between two points."""
        for index, (here, after) in enumerate(pairwise(self.points)):
            for step in range(here.step, after.step, self.every):
                way = Fraction(step - here.step, after.step - here.step)
                wanted = [
                    here.shares[name] + way * (after.shares[name] - here.shares[name])
                    for name in names
                ]
                yield step, f"on the way from point {index} to point {index + 1}", wanted
        last = self.points[-1]
        reason = f"point {len(self.points) - 1} is reached"
        yield last.step, reason, [Fraction(last.shares[name]) for name in names]


def _invalid(message: str, *, where: str, fix: str) -> RecollectError:
    return RecollectError(Reason.POLICY_INVALID, message, where=where, fix=fix)
