"""The self-test of de-identification, through the commands that depend on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import own_environment

pytestmark = pytest.mark.slow

SILENT = """
from presidio_analyzer.predefined_recognizers import EmailRecognizer
EmailRecognizer.analyze = lambda self, *_, **__: []
"""
FAILING = """
from recollect.services.privacy.names import PersonRecognizer
def fail(self, text, *_, **__):
    raise ValueError(text)
PersonRecognizer.analyze = fail
"""
DEAF = """
from recollect.services.privacy.engine import ContextRule
ContextRule._extract_surrounding_words = lambda self, *_, **__: []
"""
CALLING = """
import socket
from presidio_analyzer.predefined_recognizers import EmailRecognizer
_analyze = EmailRecognizer.analyze
def call(self, *arguments, **named):
    socket.socket(socket.AF_UNIX).close()
    return _analyze(self, *arguments, **named)
EmailRecognizer.analyze = call
"""
UNLOADABLE = """
from recollect.services.privacy.tagger import Tagger
def load(path=None):
    raise OSError("tagger.npz")
Tagger.load = load
"""
SABOTAGES = [
    pytest.param(SILENT, "miss the plainest EMAIL_ADDRESS", id="silent"),
    pytest.param(FAILING, "failed with ValueError", id="failing"),
    pytest.param(DEAF, "context words do not raise scores", id="deaf"),
    pytest.param(CALLING, "analysis opens a socket (socket.__new__)", id="calling"),
    pytest.param(
        UNLOADABLE, "a recognizer cannot be loaded: it failed with OSError", id="unloadable"
    ),
]


def _sabotaged(sabotage: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line of an installation that has something broken in it."""
    code = sabotage + "from recollect.services.cli import main\nmain()\n"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=own_environment(),
    )


@pytest.mark.parametrize(("sabotage", "told"), SABOTAGES)
def test_doctor_fails_where_a_recognizer_is_sabotaged(
    tmp_path: Path, sabotage: str, told: str
) -> None:
    result = _sabotaged(sabotage, "doctor", "--json", "--set", f"data_folder={tmp_path}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    report = json.loads(result.stdout)
    assert report["ready"] is False
    (broken,) = [f for f in report["findings"] if f["state"] == "broken"]
    assert broken["subject"] == "de-identification"
    assert told in broken["detail"]
    assert "Rosalind" not in result.stdout + result.stderr


def test_a_service_does_not_start_where_a_recognizer_is_sabotaged(tmp_path: Path) -> None:
    overrides = ("--set", f"data_folder={tmp_path / 'data'}")
    result = _sabotaged(SILENT, "serve", "--json", *overrides)
    assert result.returncode == 70
    assert result.stdout == ""
    assert json.loads(result.stderr)["error"]["reason"] == "DEIDENTIFICATION_FAILED"


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_not_read_where_a_recognizer_is_sabotaged(tmp_path: Path, workers: int) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "fine"}\n', encoding="utf-8")
    # Processes that are started run this file again, and are broken as well.
    program = tmp_path / "broken.py"
    program.write_text(
        SILENT
        + 'if __name__ == "__main__":\n    from recollect.services.cli import main\n    main()\n'
    )
    command = ("deid", "apply", "in.jsonl", "out.jsonl", "--workers", str(workers), "--json")
    result = subprocess.run(
        [sys.executable, str(program), *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=own_environment(),
    )
    assert result.returncode == 70, result.stderr
    assert json.loads(result.stderr)["error"]["reason"] == "DEIDENTIFICATION_FAILED"
    assert not (tmp_path / "out.jsonl").exists()
