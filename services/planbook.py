"""The sealed plans: a projection of the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from .ledger import Kind, Ledger


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
        self._plans: dict[str, Plan] = {}
        for entry in ledger.entries():
            if entry.kind == Kind.PLAN_SEALED:
                plan = read_plan(str(entry.body["plan"]))
                self._plans[plan.plan_id] = plan

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
                Kind.PLAN_SEALED,
                {"plan_id": plan.plan_id, "mix": plan.mix.name, "plan": plan.to_json()},
                actor=actor,
            )
            # Packs are kept by who makes plans ready, and not for ever by this book.
            self._plans[plan.plan_id] = replace(plan, rows=None) if plan.needs_measures else plan
