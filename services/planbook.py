"""The sealed plans: a projection of the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from .ledger import Entry, Kind, Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealing:
    """A plan, and what the ledger says of how it came to be."""

    plan: Plan
    """As it was sealed."""
    time: str
    """When: RFC 3339 in UTC."""
    actor: str
    """Who sealed it."""


def _as_it_is(plan: Plan) -> Plan:
    return plan


class PlanBook:
    """Looks plans up by id; a plan exists once its entry is in the ledger."""

    def __init__(self, ledger: Ledger, *, ready: Callable[[Plan], Plan] = _as_it_is) -> None:
        """Reads the ledger.

        Args:
            ledger: holds the plans.
            ready: gives a plan the measures that its batches depend on, if they do. It is asked
                whenever such a plan is used, so it keeps what is worth keeping.
        """
        self._ledger = ledger
        self._ready = ready
        self._lock = threading.Lock()
        self._sealings: dict[str, Sealing] = {}
        for entry in ledger.entries():
            if entry.kind == Kind.PLAN_SEALED:
                self._add(read_plan(str(entry.body["plan"])), entry)

    def plan(self, plan_id: str) -> Plan:
        """The plan with this id, able to say its batches; this may take a while.

        Raises:
            RecollectError: PLAN_UNKNOWN, or what keeps its measures from being had.
        """
        return self._ready(self.sealed(plan_id))

    def sealed(self, plan_id: str) -> Plan:
        """The plan with this id as it was sealed, at once.

        Raises:
            RecollectError: PLAN_UNKNOWN.
        """
        sealing = self._sealings.get(plan_id)
        if sealing is None:
            raise RecollectError(
                Reason.PLAN_UNKNOWN,
                "no such plan has been sealed here.",
                where=plan_id[:64] or "(empty plan id)",
                fix="Seal one with `recollect mix seal`"
                + (
                    f", or give the whole id: `recollect mix show {plan_id}` prints it."
                    if plan_id and self.sealings(plan_id)
                    else "."
                ),
            )
        return sealing.plan

    def sealings(self, prefix: str = "") -> list[Sealing]:
        """The plans whose id begins so, in the order in which they were sealed."""
        with self._lock:
            found = list(self._sealings.values())
        return [item for item in found if item.plan.plan_id.startswith(prefix)]

    def seal(self, plan: Plan, *, actor: str) -> None:
        """Makes a plan exist; sealing an equal one again changes nothing."""
        with self._lock:
            if plan.plan_id in self._sealings:
                return
            entry = self._ledger.append(
                Kind.PLAN_SEALED,
                {"plan_id": plan.plan_id, "mix": plan.mix.name, "plan": plan.to_json()},
                actor=actor,
            )
            # Packs are kept by who makes plans ready, and not for ever by this book.
            self._add(replace(plan, rows=None) if plan.needs_measures else plan, entry)

    def _add(self, plan: Plan, entry: Entry) -> None:
        self._sealings[plan.plan_id] = Sealing(plan=plan, time=entry.time, actor=entry.actor)
