from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import Ledger

pytestmark = pytest.mark.faults

APPENDING = """
import sys, pathlib
from concurrent.futures import ThreadPoolExecutor
from recollect.services.ledger import Ledger
ledger = Ledger.open(pathlib.Path(sys.argv[1]))
def work(thread):
    while True:
        entry = ledger.append("tested", {"text": "x" * 3000}, actor=str(thread))
        sys.stdout.write(entry.digest + "\\n")
        sys.stdout.flush()
with ThreadPoolExecutor(3) as pool:
    list(pool.map(work, range(3)))
"""

FILLING = """
import resource, sys, pathlib
from recollect.mixer.errors import RecollectError
from recollect.services.ledger import Ledger
ledger = Ledger.open(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
count = 0
try:
    while True:
        ledger.append("tested", {"text": "x" * 700}, actor="tester")
        count += 1
except RecollectError as error:
    reason = error.reason.name
assert ledger.path.read_bytes().endswith(b"\\n") and ledger.verify() == count
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert ledger.append("tested", {"again": True}, actor="tester").sequence == count
print(reason, count + 1)
"""


def test_a_killed_process_loses_no_acknowledged_entry(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    chance = random.Random(2)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        acknowledged.append(child.stdout.readline().strip())
        time.sleep(chance.uniform(0.0, 0.15))
        os.kill(child.pid, signal.SIGKILL)
        # The last line of the pipe may be half: its digest was not fully handed out.
        acknowledged += [line for line in child.stdout.read().split("\n") if len(line) == 64]
        child.wait()
        child.stdout.close()
        with Ledger.open(tmp_path) as ledger:
            present = {entry.digest for entry in ledger.entries()}
        assert present.issuperset(acknowledged)
    assert len(acknowledged) > 100


def test_a_locked_folder_names_the_other_process_and_its_death_frees_it(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(RecollectError, match=f"process {child.pid} ") as error:
        Ledger.open(tmp_path)
    assert error.value.reason is Reason.STORAGE_LOCKED
    assert next(Ledger.read(tmp_path)).sequence == 0
    child.kill()
    child.stdout.read()
    child.stdout.close()
    child.wait()
    Ledger.open(tmp_path).close()


def test_a_file_size_limit_is_a_full_disk_and_leaves_whole_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLING, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reason, count = done.stdout.split()
    assert reason == "STORAGE_FULL"
    assert len(list(Ledger.read(tmp_path))) == int(count) > 10


def test_a_full_disk_refuses_the_entry_and_keeps_the_ledger_usable(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 20_000)
    with Ledger.open(small_disk) as ledger:
        with pytest.raises(RecollectError) as error:
            while True:
                ledger.append("tested", {"text": "x" * 700}, actor="tester")
        assert error.value.reason is Reason.STORAGE_FULL
        count = ledger.num_entries
        assert count > 10
        assert ledger.path.read_bytes().endswith(b"\n")
        assert ledger.verify() == count
        ballast.unlink()
        assert ledger.append("tested", {}, actor="tester").sequence == count
    with Ledger.open(small_disk) as ledger:
        assert ledger.num_bytes_cut == 0
        assert ledger.num_entries == count + 1


def test_a_write_that_cannot_be_taken_back_stops_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with Ledger.open(tmp_path) as ledger:
        kept = ledger.append("tested", {}, actor="tester")
        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", failing)
            with pytest.raises(RecollectError) as error:
                ledger.append("tested", {}, actor="tester")
            assert error.value.reason is Reason.STORAGE_FAILED
        with pytest.raises(RecollectError, match="taken back"):
            ledger.append("tested", {}, actor="tester")
    assert list(Ledger.read(tmp_path)) == [kept]
