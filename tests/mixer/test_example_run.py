from __future__ import annotations

import doctest
import subprocess
import sys

import recollect.mixer


def test_the_worked_example_runs() -> None:
    result = doctest.testmod(recollect.mixer)
    assert result.attempted >= 9
    assert result.failed == 0


def test_the_mixer_imports_nothing_heavy() -> None:
    code = "import sys, recollect.mixer.preview, recollect.mixer.ratio; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "recollect.mixer.plan" in loaded
    assert not loaded & {"torch", "pyarrow", "grpc", "duckdb", "faiss", "transformers", "datasets"}
