"""The record of a demo: read back as it was written, and refused where it is none."""

import json
from dataclasses import replace

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.demo.record import (
    MIX,
    DemoRecord,
    LedgerRecord,
    record_from_json,
    record_to_json,
    run_from_json,
)

from .records import DIFFERENT, GOOD


@pytest.mark.parametrize("told", [GOOD, DIFFERENT])
def test_a_record_is_read_back_as_it_was(told: DemoRecord) -> None:
    assert record_from_json(record_to_json(told)) == told


def test_a_record_that_is_not_one_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        record_from_json('{"version": 2}')
    assert caught.value.reason is Reason.INPUT_MALFORMED


def test_a_run_is_read_from_what_the_trainer_wrote() -> None:
    wanted = GOOD.runs[2]
    told = {
        "settings": {"learning_rate": 0.001},
        "steps": [
            {
                "step": s.step,
                "loss": s.loss,
                "loss_by_source": s.loss_by_source,
                "counts": s.counts,
                "seconds": 0.1,
            }
            for s in wanted.steps
        ],
        "measurements": [
            {"metric": m.metric, "subject": m.subject, "before": m.before, "after": m.after}
            for m in wanted.measurements
        ],
        "seconds": wanted.seconds,
    }
    read = run_from_json(json.dumps(told), arm=MIX, seed=0, plan_id=wanted.plan_id)
    assert read == wanted


@pytest.mark.parametrize(
    ("ledger", "holds"),
    [
        (GOOD.ledger, True),
        (DIFFERENT.ledger, False),
        (replace(GOOD.ledger, verified=False), False),
    ],
)
def test_a_demo_holds_only_if_all_is_intact_and_as_planned(
    ledger: LedgerRecord, holds: bool
) -> None:
    assert ledger.holds is holds
