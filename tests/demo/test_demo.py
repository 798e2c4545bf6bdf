"""The demo, as a user runs it: killed in the middle, run again, and honest in what it reports."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recollect.services.demo.outcome import forgetting, gain
from recollect.services.demo.record import MIX, TASK_ONLY, record_from_json

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "recollect.services", "demo", "--seeds", "1", "--json")


def _demo(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


def _wait_for_a_segment(temporary: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(temporary.glob("recollect-demo-*/data/segments/*/*.parquet")):
        assert time.monotonic() < deadline, "the demo never stored anything"
        time.sleep(0.1)


def test_a_terminated_demo_ends_quietly_and_leaves_nothing(tmp_path: Path) -> None:
    terminated = _demo(tmp_path)
    _wait_for_a_segment(tmp_path)
    terminated.send_signal(signal.SIGTERM)
    _, errors = terminated.communicate(timeout=60)
    assert terminated.returncode == 143
    assert "Traceback" not in errors
    assert list(tmp_path.glob("recollect-demo-*")) == []


def test_a_killed_demo_is_followed_by_one_that_works_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    killed = _demo(temporary)
    _wait_for_a_segment(temporary)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert list(temporary.iterdir())

    page = tmp_path / "report.html"
    second = _demo(temporary, "--report", str(page))
    output, errors = second.communicate(timeout=900)
    assert second.returncode == 0, errors
    assert [path.name for path in temporary.iterdir() if "recollect-demo" in path.name] == []

    record = record_from_json(output)
    runs = {run.arm: run for run in record.runs}
    assert set(runs) == {TASK_ONLY, MIX}
    gains = {arm: gain(run) for arm, run in runs.items()}
    assert all(value is not None and value > 0 for value in gains.values())
    assert forgetting(runs[MIX]) < forgetting(runs[TASK_ONLY])
    for share in record.shares:
        served = sum(step.counts.get(share.source, 0) for step in runs[MIX].steps)
        num_rows = sum(sum(step.counts.values()) for step in runs[MIX].steps)
        assert abs(served - share.fraction * num_rows) < 1
    assert record.ledger.verified
    assert record.ledger.audit_differences == ()
    assert record.ledger.holds
    assert record.ledger.entries_by_kind["batch_acknowledged"] == sum(
        len(run.steps) for run in record.runs
    )
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "http" not in text.replace("http://www.w3.org", "")
    assert json.loads(output)["version"] == 1
