"""`recollect demo`: what it refuses before it begins, and the exit code it ends with."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.commands.demo import demo
from recollect.services.demo import run
from recollect.services.demo.record import DemoRecord, LedgerRecord, Shown, TeacherRecord

INTACT = LedgerRecord(
    entries_by_kind={"run_started": 1}, head_digest="d" * 64, verified=True, audit_differences=()
)
RECORD = DemoRecord(
    runs=(),
    shares=(),
    ingested=(),
    shown=Shown(before="a", after="b"),
    teacher=TeacherRecord(
        digest="c" * 64, num_parameters=1, num_written=0, num_kept=0, drops={}, mean_nll={}
    ),
    preview=(),
    ledger=INTACT,
    seconds=1.0,
)


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "run_demo", lambda *_, **__: pytest.fail("the demo was begun"))
    for page in (tmp_path, tmp_path / ("x" * 300), tmp_path / "nowhere" / "report.html"):
        with pytest.raises(RecollectError) as caught:
            demo(report=page)
        assert caught.value.reason is Reason.CONFIG_INVALID
        assert caught.value.where == str(page)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "ledger",
    [replace(INTACT, verified=False), replace(INTACT, audit_differences=("mix-0: step 3",))],
)
def test_a_demo_that_does_not_hold_ends_with_exit_code_1_and_still_reports(
    ledger: LedgerRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run, "run_demo", lambda *_, **__: replace(RECORD, ledger=ledger))
    with pytest.raises(typer.Exit) as caught:
        demo(report=tmp_path / "report.html", as_json=True)
    assert caught.value.exit_code == 1
    assert (tmp_path / "report.html").exists()
    assert '"audit_differences"' in capsys.readouterr().out
    monkeypatch.setattr(run, "run_demo", lambda *_, **__: RECORD)
    demo(as_json=True)
