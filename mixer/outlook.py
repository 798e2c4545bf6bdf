"""The outlook: how many rows each source serves, and when it has served all that it has.

With shares of rows this follows from the schedule at once, at any length; only where hundreds of
rare sources are used up far from one another, the steps of some are estimated. With shares of
tokens it follows from the rows one after the other, which sealing has walked anyway; where their
lengths are not at hand, every row is taken to hold the mean, and the answer is an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from .contents import Totals
from .errors import Reason, RecollectError
from .extent import first_position
from .mix import OnExhaustion, Unit
from .plan import AnySchedule, Plan, staged_schedule
from .schedule import Schedule
from .seeking import seek
from .timeline import END

MOST_WALKED = 1 << 22
"""Positions that are walked to find when sources are used up: two seconds or so. A source that
would take more is said to be used up in the middle of where it may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What the sources of a plan serve."""

    num_rows: tuple[int, ...]
    exhaustion_steps: tuple[int, ...]
    """First step in which a source starts anew or ends the plan, or -1 if it does neither."""
    is_estimate: bool
    """Whether all of it is taken from means."""
    rough_steps: frozenset[int] = frozenset()
    """Sources whose step is known only to within the rows of one share of theirs."""


def outlook(plan: Plan, totals: Sequence[Totals]) -> Outlook:
    """Looks ahead to the end of a plan.

    Args:
        plan: a plan; if its shares count tokens and it has no measures, the means are used.
        totals: what a pass over each source holds.
    """
    if plan.mix.unit is not Unit.EXAMPLES and plan.rows is None:
        return _estimated(plan, totals)
    # Shares of rows need no measures, even where the rows are packs.
    is_by_rows = plan.mix.unit is Unit.EXAMPLES
    schedule = staged_schedule(plan.mix.timeline.stages) if is_by_rows else plan.schedule
    num_rows = tuple(schedule.served(plan.num_positions).tolist())
    beyond = {
        index: source.num_rows
        for index, (source, served) in enumerate(zip(plan.sources, num_rows, strict=True))
        if served > source.num_rows
    }
    ranges = _sought(schedule, beyond, plan.mix.batch_size)
    used_up = [END] * len(num_rows)
    for index, (low, high) in ranges.items():
        used_up[index] = min((low + high) // 2, plan.num_positions - 1)
    batch_size = plan.mix.batch_size
    return Outlook(
        num_rows=num_rows,
        exhaustion_steps=_steps(plan, used_up, num_rows),
        is_estimate=False,
        rough_steps=frozenset(
            index
            for index, (low, high) in ranges.items()
            if low // batch_size != high // batch_size
        ),
    )


def _sought(
    schedule: AnySchedule, ordinals: Mapping[int, int], batch_size: int
) -> dict[int, tuple[int, int]]:
    """By source, the first and last position at which it may serve its row of a number."""
    if isinstance(schedule, Schedule):
        found = seek(schedule, ordinals, grain=batch_size, most_walked=MOST_WALKED)
        return {index: (bracket.low, bracket.high) for index, bracket in found.items()}
    places = {index: first_position(schedule, index, ordinals[index]) for index in ordinals}
    return {index: (place, place) for index, place in places.items()}


def _steps(plan: Plan, used_up: Sequence[int], num_rows: Sequence[int]) -> tuple[int, ...]:
    """Steps of the positions at which sources would serve their first row again."""
    stopping = _stopping(plan, num_rows)
    steps = []
    for index, position in enumerate(used_up):
        if position < plan.num_positions:
            steps.append(position // plan.mix.batch_size)
        else:
            steps.append(plan.num_steps - 1 if index in stopping else -1)
    return tuple(steps)


def _stopping(plan: Plan, num_rows: Sequence[int]) -> set[int]:
    """The sources that end the plan."""
    mix = plan.mix
    if mix.num_steps is not None and plan.num_positions == mix.num_steps * mix.batch_size:
        return set()
    parts = {
        index: Fraction(num_rows[index], source.limit)
        for index, source in enumerate(plan.sources)
        if source.on_exhaustion is OnExhaustion.STOP and source.limit
    }
    return {index for index, part in parts.items() if part == max(parts.values())}


def _estimated(plan: Plan, totals: Sequence[Totals]) -> Outlook:
    """As if every row of a source held the mean of its rows."""
    means = []
    for index, (source, total) in enumerate(zip(plan.sources, totals, strict=True)):
        in_all = total.num_tokens
        if plan.mix.unit is Unit.SUPERVISED_TOKENS:
            in_all = total.num_supervised_tokens
        if not in_all:
            raise RecollectError(
                Reason.MIX_INVALID,
                f"source {source.name!r} has none of what the shares count",
                where=f"sources[{index}]",
                fix="Leave it out, or use a unit in which it has something.",
            )
        means.append(Fraction(in_all, source.num_rows))
    served = [Fraction(0)] * len(means)
    used_up = [END] * len(means)
    for number, stage in enumerate(plan.mix.timeline.stages):
        first = stage.first_position
        last = min(plan.mix.timeline.end(number), plan.num_positions)
        if first >= last:
            break
        rates = [share / mean for share, mean in zip(stage.shares, means, strict=True)]
        for index, rate in enumerate(rates):
            each = rate / sum(rates)
            after = served[index] + each * (last - first)
            whole = plan.sources[index].num_rows
            if served[index] <= whole < after:
                used_up[index] = first + int((whole - served[index]) / each)
            served[index] = after
    num_rows = _rounded(served)
    return Outlook(
        num_rows=num_rows, exhaustion_steps=_steps(plan, used_up, num_rows), is_estimate=True
    )


def _rounded(amounts: Sequence[Fraction]) -> tuple[int, ...]:
    """Whole numbers with the same sum, each within 1 of its amount."""
    ends = [0]
    total = Fraction(0)
    for amount in amounts:
        total += amount
        ends.append(round(total))
    return tuple(after - before for before, after in pairwise(ends))
