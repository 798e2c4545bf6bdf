"""What the runs of a demo show: gain, forgetting, the finding and the verdict, each defined once.

- *Gain* of a run: NLL on the target before less after (nats per supervised token).
- *Forgetting* of a run on a guardrail: NLL after less before; negative where the run improved.
- *Forgetting* of a run: the sum over its guardrails of the positive part of that. What a run
  improves on one guardrail does not pay for what it forgets on another.
- *Forgetting ratio*: mean forgetting of the mix runs over mean forgetting of the task-only runs,
  both means over seeds. *Gain ratio*: likewise for the gain. Either is undefined (None) where the
  task-only mean is not positive, since there is then nothing to compare with.
- *The bar*: forgetting ratio below 1/2 and gain ratio at least 9/10.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .record import (
    GUARDRAILS,
    MIX,
    NLL,
    TARGET,
    TASK_ONLY,
    Arm,
    DemoRecord,
    PlannedShare,
    Run,
    Step,
)

FORGETTING_BAR = 0.5
"""The mix must forget less than this share of what task-only training forgets."""
GAIN_BAR = 0.9
"""The mix must gain at least this share of what task-only training gains."""


def gain(run: Run) -> float | None:
    """How much better the run became at the target; None if that was not measured."""
    measured = run.measured(NLL, TARGET)
    return None if measured is None else measured.before - measured.after


def forgetting_on(run: Run, guardrail: str) -> float | None:
    """How much worse the run became on a guardrail; negative where it improved."""
    measured = run.measured(NLL, guardrail)
    return None if measured is None else measured.after - measured.before


def forgetting(run: Run) -> float:
    """Sum over the guardrails of what was forgotten on each."""
    changes = (forgetting_on(run, guardrail) for guardrail in GUARDRAILS)
    return sum(max(0.0, change) for change in changes if change is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Values of one quantity over the seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def means(self) -> tuple[float, ...]:
        """The mean alone, or nothing where there are no values."""
        return (self.mean,) if self.values else ()

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample; None for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The comparison that the demo was made for."""

    num_seeds: int
    gain: dict[Arm, Spread]
    forgetting: dict[Arm, Spread]
    gain_ratio: float | None
    forgetting_ratio: float | None

    @property
    def gains_enough(self) -> bool:
        """Whether the gain ratio is at the bar."""
        return self.gain_ratio is not None and self.gain_ratio >= GAIN_BAR

    @property
    def forgets_little(self) -> bool:
        """Whether the forgetting ratio is below the bar."""
        return self.forgetting_ratio is not None and self.forgetting_ratio < FORGETTING_BAR

    @property
    def passes(self) -> bool:
        """Whether both are met."""
        return self.gains_enough and self.forgets_little

    @property
    def finding(self) -> str:
        """The outcome in one sentence."""
        seeds = f"{self.num_seeds} seed{'' if self.num_seeds == 1 else 's'}"
        if self.forgetting_ratio is None:
            return f"Task-only training forgot nothing that was measured ({seeds})."
        if self.gain_ratio is None:
            return f"Task-only training gained nothing on the target ({seeds})."
        return (
            f"The mix forgot {percent(self.forgetting_ratio)} of what task-only training forgot, "
            f"at {percent(self.gain_ratio)} of its gain ({seeds})."
        )


def percent(value: float) -> str:
    """A share in percent; never rounded onto the bar from the wrong side."""
    for digits in (0, 1, 2, 3):
        shown = round(100 * value, digits) / 100
        sides = all(
            (shown < bar) == (value < bar) for bar in (FORGETTING_BAR, GAIN_BAR) if value != bar
        )
        if sides:
            break
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def runs_of(record: DemoRecord, arm: Arm) -> list[Run]:
    """The runs of an arm by seed."""
    return sorted((run for run in record.runs if run.arm == arm), key=lambda run: run.seed)


def outcome(record: DemoRecord) -> Outcome:
    """The outcome over the seeds; both arms must have been run and measured on the target."""
    gains = {arm: _gains(runs_of(record, arm)) for arm in (TASK_ONLY, MIX)}
    forgot = {
        arm: Spread(values=tuple(map(forgetting, runs_of(record, arm)))) for arm in (TASK_ONLY, MIX)
    }
    return Outcome(
        num_seeds=len({run.seed for run in record.runs}),
        gain=gains,
        forgetting=forgot,
        gain_ratio=_ratio(gains),
        forgetting_ratio=_ratio(forgot),
    )


def _gains(runs: Sequence[Run]) -> Spread:
    return Spread(values=tuple(value for run in runs if (value := gain(run)) is not None))


def _ratio(spreads: dict[Arm, Spread]) -> float | None:
    task_only, mix = spreads[TASK_ONLY], spreads[MIX]
    if not task_only.values or not mix.values or task_only.mean <= 0:
        return None
    return mix.mean / task_only.mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Realised:
    """What a source was planned to give and gave, over all mix runs."""

    source: str
    role: str
    planned: Fraction
    num_rows: int
    num_all_rows: int
    max_deviation: float
    """Largest |served - share * n| after any step of any mix run, in rows."""

    @property
    def share(self) -> float:
        """Realised share."""
        return self.num_rows / self.num_all_rows if self.num_all_rows else 0.0


def realised(record: DemoRecord) -> list[Realised]:
    """Planned and realised shares, in the order of the mix."""
    runs = runs_of(record, MIX)
    return [_realised(share, runs) for share in record.shares]


def _realised(share: PlannedShare, runs: Sequence[Run]) -> Realised:
    paths = [deviations(run.steps, share) for run in runs]
    return Realised(
        source=share.source,
        role=share.role,
        planned=share.fraction,
        num_rows=sum(step.counts.get(share.source, 0) for run in runs for step in run.steps),
        num_all_rows=sum(sum(step.counts.values()) for run in runs for step in run.steps),
        max_deviation=float(max((abs(d) for path in paths for d in path), default=Fraction(0))),
    )


def deviations(steps: Sequence[Step], share: PlannedShare) -> list[Fraction]:
    """Rows served less rows planned, after each step; exact."""
    served, rows, path = 0, 0, []
    for step in steps:
        served += step.counts.get(share.source, 0)
        rows += sum(step.counts.values())
        path.append(served - share.fraction * rows)
    return path


def shares_over_steps(steps: Sequence[Step], source: str) -> list[float]:
    """Realised share of a source after each step."""
    served, rows, path = 0, 0, []
    for step in steps:
        served += step.counts.get(source, 0)
        rows += sum(step.counts.values())
        path.append(served / rows if rows else 0.0)
    return path
