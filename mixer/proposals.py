"""Proposals: what a policy would change about the shares, and everything it was worked out from.

A proposer only ever proposes. Nothing changes until the shares it names are part of a plan, which
is data like any other; and they take effect at a step that is still to come, so no trainer sees a
change in its past. Each proposal carries its inputs, complete and exact: the proposer, the limits,
the shares in force, what the proposer remembered and what was measured. `proposers.replay` works
the same proposal out of them again, bit for bit, on any machine: whole numbers, fractions and
decimals of a fixed precision are used, and no floating-point number.

Whatever a proposer wishes passes one projection, which keeps floors, ceilings and the greatest
change of a share (`projection`).
"""

from __future__ import annotations

import decimal
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from .document import Name, canonical_json, read_model
from .errors import Reason, RecollectError
from .example import Role
from .limits import BASIS_POINTS, Limits
from .projection import Points, project, to_shares
from .timeline import Stage

VERSION = 1
"""Of the inputs of a proposal."""
DECIMAL_PLACES = Decimal("1e-9")
"""Measurements are kept to a thousandth of a millionth."""
EXACT = decimal.Context(
    prec=50,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-9999,
    Emax=9999,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
"""The one arithmetic of all proposers; its results are the same everywhere, exp and ln included."""

Step: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=10**12)]
PointsField: TypeAlias = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=0, le=BASIS_POINTS)], ...],
    Field(min_length=1, max_length=1000),
]

_NUMBER = re.compile(r"[+-]?[0-9]{1,10}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


def parse_measure(value: object) -> Decimal:
    """A measured number, kept to nine decimal places; a float is read as Python prints it.

    Raises:
        ValueError: it is not a finite number of ordinary size.
    """
    text = str(value) if isinstance(value, (int, float, Decimal)) else value
    if isinstance(value, bool) or not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError("it must be a finite number")
    number = Decimal(text)
    if abs(number) > 10**9:
        raise ValueError("it must be between -1e9 and 1e9")
    return number.quantize(DECIMAL_PLACES, context=EXACT)


Measure: TypeAlias = Annotated[
    Decimal, BeforeValidator(parse_measure), PlainSerializer(lambda value: f"{value:f}")
]


class Observation(BaseModel):
    """What was measured of a run by the end of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Step
    """Steps that the run had finished."""
    values: Annotated[dict[Name, Measure], Field(max_length=1000)]
    """Losses or rewards by the name of a source or a role, as the proposer asks for."""
    rows: dict[Name, Annotated[int, Field(strict=True, ge=0, le=10**12)]] = Field(
        default_factory=dict
    )
    """Rows of each source that the values were measured on."""

    @classmethod
    def of(
        cls, step: int, values: Mapping[str, object], rows: Mapping[str, int] | None = None
    ) -> Observation:
        """An observation from numbers.

        Raises:
            RecollectError: `MEASUREMENT_INVALID`, naming what is not a finite number.
        """
        data = {"step": step, "values": dict(values), "rows": dict(rows or {})}
        return read_model(cls, data, noun="observation", reason=Reason.MEASUREMENT_INVALID)


class Memory(BaseModel):
    """What a proposer remembers from one observation to the next."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: PointsField
    """Shares that the run began with, in basis points."""
    last_step: Annotated[int, Field(strict=True, ge=-1)] = -1
    """Step of the last observation."""
    quiet_until: Annotated[int, Field(strict=True, ge=0, le=10**13)] = 0
    """No proposal is made before this step, whether or not the last one was accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a proposer would like the shares to be, before the projection."""

    weights: tuple[Fraction, ...]
    reason: str
    totals: Mapping[Role, int] | None = None
    """Shares that roles are to have exactly, in basis points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Shares for the steps from `first_step` on."""

    first_step: int
    shares: tuple[Fraction, ...]
    """In whole basis points, in the order of the mix."""
    reason: str
    inputs: Mapping[str, Any]
    """All that it was worked out from, as plain JSON."""

    def stage(self, batch_size: int) -> Stage:
        """The stage of a timeline that it would begin."""
        return Stage(first_position=self.first_step * batch_size, shares=self.shares)

    def to_json(self) -> str:
        """Canonical JSON, for a ledger."""
        shares = [str(share) for share in self.shares]
        return canonical_json(
            {
                "first_step": self.first_step,
                "shares": shares,
                "reason": self.reason,
                "inputs": dict(self.inputs),
            }
        )


class Proposer(BaseModel):
    """A policy that proposes the next shares from what is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    memory: ClassVar[type[Memory]] = Memory

    kind: str
    step: Annotated[int, Field(strict=True, ge=1, le=BASIS_POINTS)] = 100
    """Greatest change of a source's share by one proposal, in basis points."""
    lead: Annotated[int, Field(strict=True, ge=1, le=10**9)] = 1
    """Steps from a measurement to the change that it causes; 1 is the very next step."""
    cooldown: Annotated[int, Field(strict=True, ge=0, le=10**9)] = 0
    """Steps for which changed shares are left to work before the next proposal."""

    def begin(self, limits: Limits, shares: Sequence[Fraction]) -> Memory:
        """What it remembers before the first observation.

        Raises:
            RecollectError: `LIMIT_VIOLATED`, if the shares are outside the limits.
        """
        limits.check(shares, where="shares")
        return self.memory(base=project(shares, limits))

    def propose(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> tuple[Memory, Proposal | None]:
        """What it remembers now, and the change that it would make, if any.

        Args:
            limits: floors and ceilings.
            current: shares in force, or decided for a later step, in basis points.
            memory: what it remembered.
            observation: what was measured since.

        Raises:
            RecollectError: `MEASUREMENT_INVALID`, if the observation is not later than the last
                one or lacks what the proposer needs; `LIMIT_VIOLATED`, if one step does not lead
                back within the limits.
        """
        for where, points in (("current", current), ("memory.base", memory.base)):
            if len(points) != len(limits.sources) or sum(points) != BASIS_POINTS:
                raise RecollectError(
                    Reason.POLICY_INVALID,
                    f"these are not {len(limits.sources)} shares of {BASIS_POINTS} basis points",
                    where=where,
                    fix="Give each source of the mix its share in whole basis points.",
                )
        if observation.step <= memory.last_step:
            raise unusable(
                f"step {observation.step} does not come after step {memory.last_step}",
                where="observation.step",
            )
        inputs = {
            **recorded(self, limits),
            "current": list(current),
            "memory": memory.model_dump(mode="json"),
            "observation": observation.model_dump(mode="json"),
        }
        with decimal.localcontext(EXACT):
            learnt = self.learn(limits, current, memory, observation)
            learnt = learnt.model_copy(update={"last_step": observation.step})
            quiet = observation.step < memory.quiet_until
            wish = None if quiet else self.wish(limits, current, learnt, observation)
        if wish is None:
            return learnt, None
        points = project(
            wish.weights,
            limits,
            current=current,
            step=self.step,
            totals=dict(wish.totals) if wish.totals else None,
        )
        if points == tuple(current):
            return learnt, None
        shares, first_step = to_shares(points), observation.step + self.lead
        limits.check(shares, where="shares")
        proposal = Proposal(first_step=first_step, shares=shares, reason=wish.reason, inputs=inputs)
        return learnt.model_copy(update={"quiet_until": first_step + self.cooldown}), proposal

    @abstractmethod
    def learn(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Memory:
        """What it remembers after an observation."""

    @abstractmethod
    def wish(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Wish | None:
        """What it would like the shares to be, or None if they may stay as they are."""


def recorded(proposer: BaseModel, limits: Limits) -> dict[str, Any]:
    """Proposer and limits as the inputs of a proposal have them."""
    return {
        "version": VERSION,
        "proposer": proposer.model_dump(mode="json"),
        "policy": limits.policy.model_dump(mode="json"),
        "sources": [[name, role.value] for name, role in limits.sources],
    }


def unusable(message: str, *, where: str) -> RecollectError:
    """The refusal of a measurement."""
    return RecollectError(Reason.MEASUREMENT_INVALID, message, where=where)


def values_of_sources(limits: Limits, observation: Observation) -> tuple[Decimal | None, ...]:
    """The values of all sources in their order; None for those that were not measured.

    Raises:
        RecollectError: `MEASUREMENT_INVALID`, for a value of something else.
    """
    names = [name for name, _ in limits.sources]
    check_names(observation.values, names)
    return tuple(observation.values.get(name) for name in names)


def check_names(values: Mapping[str, object], names: Sequence[str]) -> None:
    """Refuses a measurement of something that is not there."""
    known = set(names)
    for name in values:
        if name not in known:
            raise unusable(
                f"there is nothing of that name; there are {', '.join(names[:20])}",
                where=f"observation.values.{name}",
            )
