"""The standing of a run: how far what it acknowledged is off the shares of its plan."""

from __future__ import annotations

from collections.abc import Mapping

from ...mixer.mix import Unit
from ...mixer.plan import Plan

_COUNTED = {
    Unit.EXAMPLES: "counts",
    Unit.TOKENS: "tokens",
    Unit.SUPERVISED_TOKENS: "supervised_tokens",
}
"""What an acknowledgement calls the unit of a mix."""


def furthest_off(plan: Plan, acknowledged: Mapping[str, Mapping[str, int]]) -> float:
    """By how much the source that is furthest off its share is off it, in the unit of the mix.

    A source is owed the mean of its shares over as many rows as were acknowledged. Ranks that are
    a step ahead of others add a row or two, and a plan in tokens may owe or have advanced a row's.

    Args:
        plan: what the run trains on.
        acknowledged: rows of each source (`counts`), and its tokens and supervised tokens.
    """
    num_rows = sum(acknowledged["counts"].values())
    amounts = acknowledged[_COUNTED[plan.mix.unit]]
    whole = sum(amounts.values())
    if not num_rows:
        return 0.0
    timeline = plan.mix.timeline
    owed = [
        float(whole * timeline.owed(place, num_rows) / num_rows)
        for place in range(len(plan.sources))
    ]
    held = [amounts.get(source.name, 0) for source in plan.sources]
    return max(abs(has - wants) for has, wants in zip(held, owed, strict=True))
