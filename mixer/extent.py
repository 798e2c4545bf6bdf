"""The extent of a plan: how many rows it has, and where its sources run out.

Nothing may take minutes to find out, so what would is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from .errors import Reason, RecollectError
from .lengthwise import LengthwiseSchedule
from .mix import Mix, OnExhaustion, Unit
from .plan import AnySchedule, schedule_for, weights_of
from .rows import SourceRows
from .schedule import LONGEST_TABLE, Schedule
from .source import SealedSource
from .timeline import END

MOST_WEIGHED = 1 << 27
"""Rows of a plan by tokens: they are weighed one by one, some ten million a second."""
MOST_UNSETTLED = 1 << 23
"""Rows during which a source rests and nothing repeats: a seek may walk them all, in seconds."""


def num_positions_of(
    mix: Mix, sources: tuple[SealedSource, ...], rows: tuple[SourceRows, ...]
) -> int:
    """Rows until the steps are done or a source stops the plan; refuses what runs out before."""
    most = mix.num_steps * mix.batch_size if mix.num_steps else _most_positions(mix, sources, rows)
    if mix.unit is not Unit.EXAMPLES and most > MOST_WEIGHED:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"the plan may have {most:,} rows; by tokens at most {MOST_WEIGHED:,} are served, "
            "since each has to be weighed",
            where="num_steps",
            fix="Take fewer steps or longer rows, or count examples.",
        )
    if most >= END:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"the plan would have {most:,} rows; at most {END - 1:,} are counted",
            where="num_steps",
            fix="Take fewer steps, or smaller batches.",
        )
    schedule = schedule_for(mix, rows, most)
    stopping = {
        index: source.limit
        for index, source in enumerate(sources)
        if source.on_exhaustion is OnExhaustion.STOP and source.limit is not None
    }
    if not isinstance(schedule, LengthwiseSchedule):
        ends = [bracket.high + 1 for bracket in schedule.brackets(stopping)]
        _check_rests(schedule, min([most, *ends]))
    num_positions = min(most, _first_serving(schedule, stopping))
    if num_positions >= END or (num_positions == most and not mix.num_steps):
        raise RecollectError(
            Reason.MIX_INVALID,
            "no source that stops the plan is ever used up",
            where="num_steps",
            fix="Set num_steps.",
        )
    served = schedule.served(num_positions).tolist()
    for index, source in enumerate(sources):
        if source.limit is not None and served[index] > source.limit:
            step = _first_serving(schedule, {index: source.limit}) // mix.batch_size
            raise RecollectError(
                Reason.MIX_EXHAUSTED,
                f"source {source.name!r} may serve {source.limit} rows and would have to serve "
                f"{served[index]}; it runs out in step {step}",
                where=f"sources[{index}].on_exhaustion",
                fix="Take fewer steps, a smaller share, more examples or more epochs.",
            )
    return num_positions


def first_position(schedule: AnySchedule, source: int, ordinal: int) -> int:
    """Where a source serves its row of this number; `END` if it never does."""
    if isinstance(schedule, LengthwiseSchedule):
        if schedule.served(schedule.num_positions)[source] <= ordinal:
            return END
        return schedule.position_of(source, ordinal)
    return schedule.position_of(source, ordinal)


def _first_serving(schedule: AnySchedule, ordinals: Mapping[int, int]) -> int:
    """The first position at which any of some sources serves its row of this number, or `END`."""
    if isinstance(schedule, LengthwiseSchedule):
        found = (first_position(schedule, *item) for item in ordinals.items())
        return min(found, default=END)
    return schedule.first_serving(ordinals)


def _check_rests(schedule: Schedule, num_positions: int) -> None:
    """Refuses a plan in which seeking may take minutes, since sources rest."""
    most, stage = schedule.unsettled(num_positions)
    if most > MOST_UNSETTLED:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"a source rests for {most:,} rows whose shares have a common denominator of "
            f"{schedule.timeline.periods[stage]:,}; over one above {LONGEST_TABLE:,} at most "
            f"{MOST_UNSETTLED:,} are followed",
            where=f"changes[{stage - 1}].shares",
            fix="Write the shares while it rests in hundredths of a per cent, or leave it a small "
            "share.",
        )


def _most_positions(
    mix: Mix, sources: tuple[SealedSource, ...], rows: tuple[SourceRows, ...]
) -> int:
    """More rows than a plan without a number of steps can have."""
    if mix.unit is Unit.EXAMPLES:
        return END - 1
    weights = [weights_of(mix.unit, item) for item in rows]
    totals = [int(weight.sum()) for weight in weights]
    largest = max(int(weight.max()) for weight in weights)
    ends = []
    for index, source in enumerate(sources):
        shares = [stage.shares[index] for stage in mix.timeline.stages]
        if source.on_exhaustion is OnExhaustion.STOP and min(shares) > 0:
            passes = source.max_epochs or 1
            ends.append(Fraction(passes * totals[index] + largest) / min(shares))
    if not ends:
        raise RecollectError(
            Reason.MIX_INVALID,
            "the mix ends only with a source that rests for a while",
            where="num_steps",
            fix="Set num_steps.",
        )
    served = min(ends) + len(sources) * largest
    return sum(
        (int(served / max(total, 1)) + 2) * item.num_rows
        for total, item in zip(totals, rows, strict=True)
    )
