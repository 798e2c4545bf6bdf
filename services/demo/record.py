"""The record of a demo: everything that the report says, as plain values that go to JSON and back.

The report holds no number that is not here or computed from here, so the page can be checked
against `record.json` beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from ...mixer.errors import Reason, RecollectError

Arm = Literal["task only", "mix"]
TASK_ONLY: Arm = "task only"
MIX: Arm = "mix"
NLL = "nll"
REFUSAL_RATE = "refusal_rate"
TARGET = "target"
GUARDRAILS = ("general", "maths", "refusal")
"""Subjects of `nll` that a run is not trained for and must not forget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One optimizer step."""

    step: int
    loss: float
    loss_by_source: dict[str, float]
    """Mean nats per supervised token of the rows of each source in this step."""
    counts: dict[str, int]
    """Rows of each source in this step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A metric on a subject, before and after a run."""

    metric: str
    """`nll` (nats per supervised token) or `refusal_rate` (share of prompts)."""
    subject: str
    """For `nll`: target, general, maths, refusal; for `refusal_rate`: refusals, counterexamples."""
    before: float
    after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training."""

    arm: Arm
    seed: int
    plan_id: str
    steps: tuple[Step, ...]
    measurements: tuple[Measured, ...]
    seconds: float

    def measured(self, metric: str, subject: str) -> Measured | None:
        """The measurement of a metric on a subject, if the run has it."""
        for found in self.measurements:
            if (found.metric, found.subject) == (metric, subject):
                return found
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedShare:
    """What the mix gives a source."""

    source: str
    role: str
    share: str
    """An exact fraction such as `7/10`."""

    @property
    def fraction(self) -> Fraction:
        """The share as a number."""
        return Fraction(self.share)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What intake did with one source."""

    source: str
    num_read: int
    num_stored: int
    num_duplicates: int
    num_quarantined: int
    findings: dict[str, int]
    """Identifiers that were replaced, by type."""
    num_near_duplicate_groups: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """De-identification of an invented text."""

    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherRecord:
    """The frozen teacher and what it did."""

    digest: str
    num_parameters: int
    num_written: int
    num_kept: int
    drops: dict[str, int]
    mean_nll: dict[str, float]
    """Nats per supervised token of each source, as the teacher annotated it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Previewed:
    """What the plan of the mix takes from one source."""

    source: str
    num_examples: int
    num_rows: int
    epochs: float
    max_repeats: int
    num_tokens: int
    exhaustion_step: int | None
    """Step at which every example has been used once; None if the plan ends before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRecord:
    """What the ledger says of the demo."""

    entries_by_kind: dict[str, int]
    head_digest: str
    verified: bool
    """Whether every entry and every segment was read again and found intact."""
    audit_differences: tuple[str, ...]
    """What a run was trained on and its plan does not say, as `RUN: DIFFERENCE`."""

    @property
    def holds(self) -> bool:
        """Whether everything is intact and every run followed its plan."""
        return self.verified and not self.audit_differences


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoRecord:
    """A whole demo."""

    version: Literal[1] = 1
    runs: tuple[Run, ...]
    shares: tuple[PlannedShare, ...]
    """Of the mix."""
    ingested: tuple[Ingested, ...]
    shown: Shown
    teacher: TeacherRecord
    preview: tuple[Previewed, ...]
    ledger: LedgerRecord
    seconds: float
    """The whole demo, on the clock."""


_ADAPTER: TypeAdapter[DemoRecord] = TypeAdapter(DemoRecord)


def record_to_json(record: DemoRecord) -> str:
    """The record as JSON, keys in the order of the fields."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False, indent=1)


def record_from_json(text: str) -> DemoRecord:
    """The record that `record_to_json` wrote."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            f"The demo record cannot be read: {first['msg']}.",
            where=".".join(map(str, first["loc"])),
        ) from None


def run_from_json(text: str, *, arm: Arm, seed: int, plan_id: str) -> Run:
    """The run that the trainer's `run.json` tells of; keys it has beyond ours are passed over."""
    told: dict[str, Any] = json.loads(text)
    return Run(
        arm=arm,
        seed=seed,
        plan_id=plan_id,
        steps=tuple(
            Step(
                step=step["step"],
                loss=step["loss"],
                loss_by_source=dict(step["loss_by_source"]),
                counts=dict(step["counts"]),
            )
            for step in told["steps"]
        ),
        measurements=tuple(
            Measured(metric=m["metric"], subject=m["subject"], before=m["before"], after=m["after"])
            for m in told["measurements"]
        ),
        seconds=told["seconds"],
    )
