"""Where to go on: the state of whatever hands out a plan, and what is refused as one."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan

STATE_VERSION = 1
State = Mapping[str, int | str]


def require_state(state: State, plan: Plan) -> None:
    """Refuses a state that was not taken of this plan.

    Raises:
        RecollectError: VERSION_UNKNOWN; CONFIG_INVALID.
    """
    if state.get("version") != STATE_VERSION:
        raise RecollectError(
            Reason.VERSION_UNKNOWN,
            f"The state has version {state.get('version')!r:.20}.",
            fix=f"This installation knows version {STATE_VERSION}.",
        )
    if state.get("plan_id") != plan.plan_id:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"The state was taken of the plan {state.get('plan_id')!r:.80}.",
            where="plan_id",
            fix=f"Resume with that plan, or start anew with {plan.plan_id}.",
        )


def number_in(state: State, name: str, default: int | None = None) -> int:
    """A number of a state.

    Args:
        state: as `state_dict` gave it, or a copy of it that was kept somewhere.
        name: of the number.
        default: what it is where the state has none.

    Raises:
        RecollectError: CONFIG_INVALID if it is missing, or no whole number.
    """
    value = state.get(name, default)
    try:
        if not isinstance(value, bool):
            return index(value)  # type: ignore[arg-type]  # what it is not made for, it refuses
    except TypeError:
        pass
    raise RecollectError(
        Reason.CONFIG_INVALID,
        f"The state has {value!r:.40} where a whole number belongs.",
        where=name,
        fix="Load what state_dict() gave, unchanged.",
    )


def next_step_in(state: State, plan: Plan) -> int:
    """The step that a state goes on with.

    Raises:
        RecollectError: CONFIG_INVALID; PLAN_OUT_OF_RANGE.
    """
    return require_step(number_in(state, "next_step"), plan, where="next_step")


def require_step(step: int, plan: Plan, *, where: str) -> int:
    """The step, if a plan has it or ends before it.

    Raises:
        RecollectError: PLAN_OUT_OF_RANGE: any other would look like the end of the data.
    """
    if not 0 <= step <= plan.num_steps:
        raise RecollectError(
            Reason.PLAN_OUT_OF_RANGE,
            f"Step {step} was to be the next; the plan has {plan.num_steps} steps.",
            where=where,
            fix="Go on with the state of a loader of this plan.",
        )
    return step
