"""The sealed plans: a projection of the ledger."""

from __future__ import annotations

import threading

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan
from .ledger import Ledger

PLAN_SEALED = "plan_sealed"
"""Kind of the ledger entry that makes a plan exist."""


class PlanBook:
    """Looks plans up by id; a plan exists once its entry is in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._plans: dict[str, Plan] = {}
        for entry in ledger.entries():
            if entry.kind == PLAN_SEALED:
                plan = Plan.from_json(str(entry.body["plan"]))
                self._plans[plan.plan_id] = plan

    def plan(self, plan_id: str) -> Plan:
        """The plan with this id.

        Raises:
            RecollectError: PLAN_UNKNOWN.
        """
        plan = self._plans.get(plan_id)
        if plan is None:
            raise RecollectError(
                Reason.PLAN_UNKNOWN,
                "no such plan has been sealed here.",
                where=plan_id[:64] or "(empty plan id)",
                fix="Seal one with `recollect mix seal`.",
            )
        return plan

    def seal(self, plan: Plan, *, actor: str) -> None:
        """Makes a plan exist; sealing an equal one again changes nothing."""
        with self._lock:
            if plan.plan_id in self._plans:
                return
            self._ledger.append(
                PLAN_SEALED,
                {"plan_id": plan.plan_id, "mix": plan.mix.name, "plan": plan.to_json()},
                actor=actor,
            )
            self._plans[plan.plan_id] = plan
