"""Limits: floors and ceilings of shares, owned by a policy and held against every stage of a mix.

A limit is a whole number of basis points (hundredths of a per cent), since a rule that people sign
should not need rounding to be compared. The policy is an object of its own: who writes the mix is
not who sets its limits.

Sources have limits, and so have roles, the sums of their sources. Which shares such a family of
nested sums allows is decided exactly: a role can have any share between

    low = max(floor of the role, sum of its sources' floors)   and
    high = min(ceiling of the role, sum of its sources' ceilings),

and the limits can be met if and only if low <= high for every role and the lows sum to at most, the
highs to at least, 100 %.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .document import Name, canonical_json, read_model
from .errors import Reason, RecollectError
from .example import Role
from .shares import format_percent

BASIS_POINTS = 10_000
"""Basis points of the whole."""

BasisPoints: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=BASIS_POINTS)]


class Range(BaseModel):
    """What a share may be, both ends included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: BasisPoints = 0
    """Least share, in basis points."""
    ceiling: BasisPoints = BASIS_POINTS
    """Greatest share, in basis points."""


ANY_SHARE = Range()


class RatioPolicy(BaseModel):
    """A versioned, named set of floors and ceilings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    name: Name
    description: Annotated[str, Field(max_length=10_000)] = ""
    roles: dict[Role, Range] = Field(default_factory=dict)
    """Limits of a role: of the sum of the shares of its sources."""
    sources: Annotated[dict[Name, Range], Field(max_length=1000)] = Field(default_factory=dict)
    """Limits of single sources, by name."""

    @model_validator(mode="after")
    def _can_be_met(self) -> RatioPolicy:
        """Refuses limits that no mix at all could keep."""
        for path, limit in self._paths():
            if limit.floor > limit.ceiling:
                raise _invalid(
                    f"the floor of {_points(limit.floor)} is above the ceiling of "
                    f"{_points(limit.ceiling)}",
                    where=f"{path}.floor",
                    fix="Lower the floor, or raise the ceiling.",
                )
        for group, limits in (("roles", self.roles), ("sources", self.sources)):
            total = sum(limit.floor for limit in limits.values())
            if total > BASIS_POINTS:
                raise _invalid(
                    f"the floors cannot be met: they sum to {_points(total)}",
                    where=group,
                    fix=f"Lower them by {total - BASIS_POINTS} basis points in all.",
                )
        total = sum(self.roles.get(role, ANY_SHARE).ceiling for role in Role)
        if total < BASIS_POINTS:
            raise _invalid(
                f"the ceilings cannot be met: those of all roles sum to {_points(total)}",
                where="roles",
                fix=f"Raise them by {BASIS_POINTS - total} basis points in all.",
            )
        return self

    def _paths(self) -> Iterator[tuple[str, Range]]:
        yield from ((f"roles.{role}", limit) for role, limit in self.roles.items())
        yield from ((f"sources.{name}", limit) for name, limit in self.sources.items())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON: equal fingerprint, equal policy."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_mapping(cls, data: object) -> RatioPolicy:
        """The policy that parsed YAML or JSON describes.

        Raises:
            RecollectError: `POLICY_INVALID` with the path of the first field that is wrong.
        """
        return read_model(cls, data, noun="policy", reason=Reason.POLICY_INVALID)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of the YAML, for editors."""
        return cls.model_json_schema()


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """How far one share is from its limits."""

    path: str
    """Where the policy sets the limit, such as `roles.refusal`."""
    share: Fraction
    limit: Range

    @property
    def above_floor(self) -> Fraction:
        """Basis points between floor and share; below 0 where the floor is violated."""
        return self.share * BASIS_POINTS - self.limit.floor

    @property
    def below_ceiling(self) -> Fraction:
        """Basis points between share and ceiling; below 0 where the ceiling is violated."""
        return self.limit.ceiling - self.share * BASIS_POINTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a policy means for the sources of one mix, known to be possible.

    Raises:
        RecollectError: `LIMIT_VIOLATED`, where no shares of these sources could keep the policy.
    """

    policy: RatioPolicy
    sources: tuple[tuple[str, Role], ...]
    """Name and role of each source, in the order of the mix."""
    floors: tuple[int, ...] = field(init=False)
    """Of each source, in basis points."""
    ceilings: tuple[int, ...] = field(init=False)
    roles: Mapping[Role, tuple[int, int]] = field(init=False)
    """Of each role that has a source: the least and greatest share that it can have."""

    def __post_init__(self) -> None:
        ranges = [self.policy.sources.get(name, ANY_SHARE) for name, _ in self.sources]
        object.__setattr__(self, "floors", tuple(limit.floor for limit in ranges))
        object.__setattr__(self, "ceilings", tuple(limit.ceiling for limit in ranges))
        self._check_presence()
        order = dict.fromkeys(role for _, role in self.sources)
        object.__setattr__(self, "roles", {role: self._range_of(role) for role in order})
        self._check_totals()

    @classmethod
    def of(cls, policy: RatioPolicy, sources: Mapping[str, Role]) -> Limits:
        """The limits of a policy for sources, given by name in the order of the mix."""
        return cls(policy=policy, sources=tuple(sources.items()))

    def members(self, role: Role) -> tuple[int, ...]:
        """Numbers of the sources that have a role."""
        return tuple(index for index, (_, other) in enumerate(self.sources) if other is role)

    def margins(self, shares: Sequence[Fraction]) -> tuple[Margin, ...]:
        """How far each role, then each source, is from its limits."""
        of_roles = (
            Margin(
                path=f"roles.{role}",
                share=sum((shares[index] for index in self.members(role)), Fraction(0)),
                limit=self.policy.roles.get(role, ANY_SHARE),
            )
            for role in self.roles
        )
        of_sources = (
            Margin(
                path=f"sources.{name}",
                share=share,
                limit=self.policy.sources.get(name, ANY_SHARE),
            )
            for (name, _), share in zip(self.sources, shares, strict=True)
        )
        return *of_roles, *of_sources

    def check(self, shares: Sequence[Fraction], *, where: str = "sources") -> None:
        """Refuses shares of which one is outside its limits, naming the one that is furthest out.

        Raises:
            RecollectError: `LIMIT_VIOLATED`.
        """
        out = [m for m in self.margins(shares) if min(m.above_floor, m.below_ceiling) < 0]
        if out:
            worst = min(out, key=lambda margin: min(margin.above_floor, margin.below_ceiling))
            raise self._violated(worst, num_others=len(out) - 1, where=where)

    def _check_presence(self) -> None:
        """Refuses a floor for what the mix does not have."""
        names = {name for name, _ in self.sources}
        present = {role for _, role in self.sources}
        for role, limit in self.policy.roles.items():
            if limit.floor and role not in present:
                raise self._absent(f"roles.{role}", limit, f"source with role {role.value!r}")
        for name, limit in self.policy.sources.items():
            if limit.floor and name not in names:
                raise self._absent(f"sources.{name}", limit, f"source {name!r}")

    def _range_of(self, role: Role) -> tuple[int, int]:
        limit, members = self.policy.roles.get(role, ANY_SHARE), self.members(role)
        low = max(limit.floor, sum(self.floors[index] for index in members))
        high = min(limit.ceiling, sum(self.ceilings[index] for index in members))
        if low > high:
            raise self._impossible(
                f"role {role.value!r} must have at least {_points(low)}, and with its sources "
                f"cannot have more than {_points(high)}",
                where=f"roles.{role}",
            )
        return low, high

    def _check_totals(self) -> None:
        lows, highs = zip(*self.roles.values(), strict=True) if self.roles else ((0,), (0,))
        if sum(lows) > BASIS_POINTS:
            raise self._impossible(f"the floors sum to {_points(sum(lows))}", where="roles")
        if sum(highs) < BASIS_POINTS:
            raise self._impossible(
                f"the ceilings of the sources in the mix sum to {_points(sum(highs))}",
                where="roles",
            )

    def _absent(self, path: str, limit: Range, what: str) -> RecollectError:
        return RecollectError(
            Reason.LIMIT_VIOLATED,
            f"policy {self.policy.name!r} requires at least {_points(limit.floor)}, and the mix "
            f"has no {what}",
            where=f"{path}.floor",
            fix=f"Add a {what} to the mix.",
        )

    def _impossible(self, message: str, *, where: str) -> RecollectError:
        return RecollectError(
            Reason.LIMIT_VIOLATED,
            f"policy {self.policy.name!r} cannot be met by the sources of this mix: {message}",
            where=where,
            fix="Add sources to the mix, or change the limits of the policy.",
        )

    def _violated(self, margin: Margin, *, num_others: int, where: str) -> RecollectError:
        low = margin.above_floor < 0
        limit = margin.limit.floor if low else margin.limit.ceiling
        gap = -(margin.above_floor if low else margin.below_ceiling)
        more = f" (and {num_others} more)" if num_others else ""
        return RecollectError(
            Reason.LIMIT_VIOLATED,
            f"{margin.path} has {format_percent(margin.share)}; policy {self.policy.name!r} "
            f"{'requires at least' if low else 'allows at most'} {_points(limit)}{more}",
            where=where,
            fix=f"{'Raise' if low else 'Lower'} the share of {margin.path} by "
            f"{format_percent(gap / BASIS_POINTS)}.",
        )


def check_limits(
    policy: RatioPolicy, sources: Mapping[str, Role], *stages: Sequence[Fraction]
) -> Limits:
    """Refuses a mix of which a stage leaves the limits of a policy; the compiler's check.

    Args:
        policy: floors and ceilings.
        sources: role of each source by name, in the order of the mix.
        stages: shares of the sources in each stage of the mix, in the same order.

    Raises:
        RecollectError: `LIMIT_VIOLATED`, naming the stage, the limit and the remedy.
    """
    limits = Limits.of(policy, sources)
    for index, shares in enumerate(stages):
        limits.check(shares, where=f"stages[{index}]" if len(stages) > 1 else "sources")
    return limits


def _points(basis_points: int) -> str:
    """Basis points for human eyes."""
    return format_percent(Fraction(basis_points, BASIS_POINTS))


def _invalid(message: str, *, where: str, fix: str) -> RecollectError:
    return RecollectError(Reason.POLICY_INVALID, message, where=where, fix=fix)
