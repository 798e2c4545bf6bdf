"""The guardrail loop: a role gets more rows when what it guards gets worse, and gives them back.

Each guarded role has a loss that is measured on held-out examples, and a baseline, such as what the
teacher reaches. How much worse the loss is than the baseline, in basis points of the baseline, is
compared with two thresholds: above the upper one the role is *worsened* and its share is raised by
a step, at or below the lower one it is *recovered* and gives back what it has above its base share.
Between the two nothing happens, so noise that stays within this band changes nothing. One role is
changed at a time, the worst first, and raising goes before giving back; after a change the shares
are left to work for the cooldown. When all roles have recovered the shares return to exactly those
that the run began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import Reason, RecollectError
from .example import Role
from .limits import BASIS_POINTS, Limits
from .projection import Points
from .proposals import Measure, Memory, Observation, Proposer, Wish, check_names

Threshold = Annotated[int, Field(strict=True, ge=-BASIS_POINTS, le=10**6)]


class Guard(BaseModel):
    """When a role's share is raised, and when it is given back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: Measure
    """Loss that counts as unharmed, above 0."""
    raise_above: Threshold = 500
    """Worsening above which the share is raised, in basis points of the baseline."""
    give_back_at: Threshold = 200
    """Worsening at or below which the share is given back."""

    def worsening(self, loss: Fraction) -> Fraction:
        """How much worse a loss is than the baseline, in basis points of the baseline."""
        baseline = Fraction(self.baseline)
        return (loss - baseline) / baseline * BASIS_POINTS


class GuardrailLoop(Proposer):
    """Raises the shares of roles whose guardrail loss worsens, and gives back when it recovers."""

    kind: Literal["guardrail_loop"] = "guardrail_loop"
    guards: Annotated[dict[Role, Guard], Field(min_length=1)]
    """The guarded roles; losses are reported under their names."""
    taken_from: Role | None = None
    """The role that gives up what a guarded role gets; None for all roles that are not guarded."""

    @model_validator(mode="after")
    def _agree(self) -> GuardrailLoop:
        for role, guard in self.guards.items():
            where = f"guards.{role}"
            if guard.baseline <= 0:
                raise _invalid(
                    "a baseline must be above 0",
                    where=f"{where}.baseline",
                    fix="Measure the loss of the model as it is before the training.",
                )
            if guard.give_back_at >= guard.raise_above:
                raise _invalid(
                    f"it is not below raise_above, which is {guard.raise_above}",
                    where=f"{where}.give_back_at",
                    fix="Leave room between the two, wider than the noise of the loss.",
                )
        if self.taken_from in self.guards:
            raise _invalid(
                f"role {str(self.taken_from)!r} is guarded itself",
                where="taken_from",
                fix="Take from a role that is not guarded, such as task.",
            )
        return self

    def learn(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Memory:
        """Nothing: the shares in force and those of the beginning say it all."""
        check_names(observation.values, [role.value for role in self.guards])
        for role in [*self.guards, *([self.taken_from] if self.taken_from else [])]:
            if role not in limits.roles:
                raise _invalid(
                    f"no source of the mix has role {str(role)!r}",
                    where="guards" if role in self.guards else "taken_from",
                    fix="Add a source with that role to the mix.",
                )
        return memory

    def wish(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Wish | None:
        """One role more, or one role less, or the rest of the way back."""
        worsening = {
            role: guard.worsening(Fraction(observation.values[role.value]))
            for role, guard in self.guards.items()
            if role.value in observation.values
        }
        worst_first = sorted(worsening, key=lambda role: -self._excess(role, worsening[role]))
        totals = _totals(limits, current)
        for role in worst_first:
            if self._excess(role, worsening[role]) > 0:
                raised = self._raised(limits, current, totals, role, worsening)
                if raised:
                    reason = f"{role} is {_percent(worsening[role])} worse than its baseline"
                    return _wish(limits, memory.base, raised, reason)
        return self._given_back(limits, current, memory, worsening)

    def _excess(self, role: Role, worsening: Fraction) -> Fraction:
        return worsening - self.guards[role].raise_above

    def _recovered(self, worsening: Mapping[Role, Fraction]) -> list[Role]:
        return [role for role in worsening if worsening[role] <= self.guards[role].give_back_at]

    def _raised(
        self,
        limits: Limits,
        current: Points,
        totals: Mapping[Role, int],
        role: Role,
        worsening: Mapping[Role, Fraction],
    ) -> dict[Role, int] | None:
        """Shares of the roles with a step more for one; None if nothing can be had."""
        spare = {
            donor: _spare(limits, current, donor, totals[donor])
            for donor in totals
            if (donor == self.taken_from if self.taken_from else donor not in self.guards)
        }
        amount = min(self.step, limits.roles[role][1] - totals[role], sum(spare.values()))
        if amount <= 0:
            return None
        taken = _divide(amount, spare)
        return {other: totals[other] - taken.get(other, 0) for other in totals} | {
            role: totals[role] + amount
        }

    def _given_back(
        self,
        limits: Limits,
        current: Points,
        memory: Memory,
        worsening: Mapping[Role, Fraction],
    ) -> Wish | None:
        totals, base = _totals(limits, current), _totals(limits, memory.base)
        recovered = self._recovered(worsening)
        role = max(recovered, key=lambda role: totals[role] - base[role], default=None)
        if role is not None and totals[role] > base[role]:
            amount = min(self.step, totals[role] - base[role])
            given = _divide(amount, {key: max(base[key] - totals[key], 0) for key in totals})
            changed = {key: totals[key] + given.get(key, 0) for key in totals}
            changed[role] = totals[role] - amount
            return _wish(limits, memory.base, changed, f"{role} has recovered")
        if len(recovered) == len(self.guards) and current != memory.base:
            weights = tuple(Fraction(points) for points in memory.base)
            return Wish(weights=weights, reason="all guarded roles have recovered")
        return None


def _totals(limits: Limits, points: Points) -> dict[Role, int]:
    return {role: sum(points[index] for index in limits.members(role)) for role in limits.roles}


def _spare(limits: Limits, current: Points, role: Role, total: int) -> int:
    """Basis points that a role can give up."""
    of_sources = sum(max(current[i] - limits.floors[i], 0) for i in limits.members(role))
    return max(min(of_sources, total - limits.roles[role][0]), 0)


def _divide(amount: int, parts: Mapping[Role, int]) -> dict[Role, int]:
    """An amount in proportion to the parts, whole, and to none more than its part."""
    total = sum(parts.values())
    shares = {role: Fraction(amount * part, total) for role, part in parts.items()}
    whole = {role: int(share) for role, share in shares.items()}
    by_remainder = sorted(shares, key=lambda role: whole[role] - shares[role])
    for role in by_remainder[: amount - sum(whole.values())]:
        whole[role] += 1
    return whole


def _wish(limits: Limits, base: Points, totals: Mapping[Role, int], reason: str) -> Wish:
    """Each role's total, among its sources in the proportions of the beginning."""
    weights = [Fraction(0)] * len(base)
    for role, total in totals.items():
        members = limits.members(role)
        begun = sum(base[index] for index in members)
        for index in members:
            part = Fraction(base[index], begun) if begun else Fraction(1, len(members))
            weights[index] = total * part
    return Wish(weights=tuple(weights), totals=totals, reason=reason)


def _percent(basis_points: Fraction) -> str:
    """For human eyes, and the same text in every replay."""
    whole = round(basis_points)
    return f"{whole // 100}.{whole % 100:02d} %"


def _invalid(message: str, *, where: str, fix: str) -> RecollectError:
    return RecollectError(Reason.POLICY_INVALID, message, where=where, fix=fix)
