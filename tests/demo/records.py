"""Records of demos that were never run, made so that every figure on the page is known."""

from dataclasses import replace

from recollect.services.demo.record import (
    MIX,
    NLL,
    REFUSAL_RATE,
    TASK_ONLY,
    Arm,
    DemoRecord,
    Ingested,
    LedgerRecord,
    Measured,
    PlannedShare,
    Previewed,
    Run,
    Shown,
    Step,
    TeacherRecord,
)

BEFORE = {"target": 4.0, "general": 3.0, "maths": 2.0, "refusal": 2.5}


def run(arm: Arm, seed: int, *, gained: float, forgot: tuple[float, float, float]) -> Run:
    change = {"target": -gained, **dict(zip(("general", "maths", "refusal"), forgot, strict=True))}
    counts = [{"support": 3, "general": 1}, {"support": 2, "general": 2}]
    return Run(
        arm=arm,
        seed=seed,
        plan_id=("a" if arm == MIX else "b") * 64,
        steps=tuple(
            Step(
                step=number,
                loss=3.0 - number,
                loss_by_source={"support": 3.0 - number, "general": 2.0},
                counts=count if arm == MIX else {"support": 4},
            )
            for number, count in enumerate(counts)
        ),
        measurements=(
            *(
                Measured(metric=NLL, subject=subject, before=before, after=before + change[subject])
                for subject, before in BEFORE.items()
            ),
            Measured(metric=REFUSAL_RATE, subject="refusals", before=0.9, after=0.25),
        ),
        seconds=12.5,
    )


def record(*runs: Run) -> DemoRecord:
    return DemoRecord(
        runs=runs,
        shares=(
            PlannedShare(source="support", role="task", share="2/3"),
            PlannedShare(source="general", role="general", share="1/3"),
        ),
        ingested=(
            Ingested(
                source="support",
                num_read=1234,
                num_stored=1200,
                num_duplicates=30,
                num_quarantined=4,
                findings={"PERSON": 77, "EMAIL_ADDRESS": 8},
                num_near_duplicate_groups=5,
            ),
        ),
        shown=Shown(before="I am Ada Example.", after="I am Eve Sample."),
        teacher=TeacherRecord(
            digest="c" * 64,
            num_parameters=1_500_001,
            num_written=250,
            num_kept=200,
            drops={"too_short": 50},
            mean_nll={"support": 3.21, "general": 2.5},
        ),
        preview=(
            Previewed(
                source="support",
                num_examples=1200,
                num_rows=5,
                epochs=0.5,
                max_repeats=1,
                num_tokens=4321,
                exhaustion_step=None,
            ),
        ),
        ledger=LedgerRecord(
            entries_by_kind={"plan_sealed": 2, "run_started": 4},
            head_digest="d" * 64,
            verified=True,
            audit_differences=(),
        ),
        seconds=200.0,
    )


GOOD = record(
    run(TASK_ONLY, 0, gained=1.0, forgot=(0.3, 0.5, 0.2)),
    run(TASK_ONLY, 1, gained=1.2, forgot=(0.4, 0.6, -0.1)),
    run(MIX, 0, gained=0.95, forgot=(0.1, -0.2, 0.1)),
    run(MIX, 1, gained=1.14, forgot=(0.1, 0.1, 0.0)),
)
BAD = replace(
    GOOD,
    runs=(*GOOD.runs[:2], run(MIX, 0, gained=0.5, forgot=(0.9, 0, 0)), GOOD.runs[3]),
)
DIFFERENT = replace(
    GOOD,
    ledger=replace(GOOD.ledger, audit_differences=("mix-0: step 3 <differs>", "mix-1: row 7")),
)
