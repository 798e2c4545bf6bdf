"""Pages of the list of sealed plans."""

from __future__ import annotations

from collections.abc import Sequence

from ..mixer.errors import Reason, RecollectError
from ..v1 import mix_pb2 as wire
from .planbook import Sealing
from .roles import purpose_to_wire

MOST_ON_A_PAGE = 1000
"""Plans that one answer lists."""


def page_of(sealings: Sequence[Sealing], request: wire.ListPlansRequest) -> wire.ListPlansResponse:
    """The page that was asked for. Plans are only ever added, so a page begins at a number.

    Raises:
        RecollectError: `INPUT_MALFORMED` where the page size or the token is none.
    """
    if request.page_size < 0:
        raise _malformed("a page cannot have fewer than no plans", where="page_size")
    token = request.page_token or "0"
    if not (token.isascii() and token.isdecimal() and len(token) <= 18):
        raise _malformed("no page gave this token", where="page_token")
    first = int(token)
    last = first + min(request.page_size or MOST_ON_A_PAGE, MOST_ON_A_PAGE)
    return wire.ListPlansResponse(
        plans=[_summary(sealing) for sealing in sealings[first:last]],
        next_page_token=str(last) if last < len(sealings) else "",
    )


def _summary(sealing: Sealing) -> wire.PlanSummary:
    plan = sealing.plan
    return wire.PlanSummary(
        plan_id=plan.plan_id,
        mix=plan.mix.name,
        num_steps=plan.num_steps,
        unit=str(plan.mix.unit),
        purpose=purpose_to_wire(plan.mix.purpose),
        sealed_time=sealing.time,
        actor=sealing.actor,
    )


def _malformed(problem: str, *, where: str) -> RecollectError:
    return RecollectError(
        Reason.INPUT_MALFORMED, problem, where=where, fix="Ask with what the page before gave."
    )
