"""Faults through the whole chain: a full disk, a killed service, a killed reader."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recollect.services.client import connect
from recollect.services.demo.processes import service_process
from recollect.services.verification import verify_folder
from recollect.v1 import store_pb2

from .conftest import Service, run_command

pytestmark = [pytest.mark.slow, pytest.mark.faults]

COMMAND = (sys.executable, "-m", "recollect.services")
ROW = '{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":"Fine %d."}]}\n'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _rows(path: Path, num_rows: int, *, num_bytes: int = 40) -> Path:
    """Rows of incompressible text."""
    with path.open("w", encoding="utf-8") as file:
        for n in range(num_rows):
            noise = " ".join(os.urandom(3).hex() for _ in range(num_bytes // 7))
            file.write(ROW % (noise.translate(str.maketrans("0123456789", "ghijklmnop")), n))
    return path


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path, small_disk: Path) -> None:
    first = _rows(tmp_path / "first.jsonl", 5)
    second = _rows(tmp_path / "second.jsonl", 1500, num_bytes=6000)
    with service_process(small_disk, threads=1) as address:
        stored = run_command("ingest", first, "--source", "s", "--server", address)
        assert stored.returncode == 0, stored.stderr
        full = run_command("ingest", second, "--source", "s", "--server", address, "--json")
        assert json.loads(full.stderr)["error"]["reason"] == "STORAGE_FULL"
        assert full.returncode == 74
        again = run_command("ingest", first, "--source", "s", "--server", address, "--json")
        assert json.loads(again.stdout)["num_duplicates"] == 5
    assert verify_folder(small_disk / "data").num_segments == 1
    assert len(list((small_disk / "data" / "segments").rglob("*.parquet*"))) == 1


def test_a_service_that_can_write_no_more_says_so_and_goes_on_when_it_can(tmp_path: Path) -> None:
    data = tmp_path / "data"
    few = _rows(tmp_path / "few.jsonl", 5)
    many = _rows(tmp_path / "many.jsonl", 300, num_bytes=2000)
    # Alike, so that their segment is small, but not what a model reads of them.
    alike = tmp_path / "alike.jsonl"
    alike.write_text("".join(ROW % (f"{n} {'ab ' * 60}", n) for n in range(1000)), encoding="utf-8")
    mix = tmp_path / "mix.yaml"
    mix.write_text(
        "name: alike\nbatch_size: 8\nnum_steps: 2\nmax_length: 256\n"
        "sources:\n  - {source: alike, role: task, share: 1}\n",
        encoding="utf-8",
    )

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return run_command(*command, "--server", service.address, "--json")

    def held() -> dict[str, tuple[int, int]]:
        listed = json.loads(run("sources", "list").stdout)
        return {row["source"]: (row["num_examples"], row["num_segments"]) for row in listed}

    def files() -> list[Path]:
        kept = (data / "segments", data / "cache")
        return sorted(path for folder in kept for path in folder.rglob("*") if path.is_file())

    with Service(data, max_file_bytes=150_000) as service:
        assert run("ingest", few, "--source", "s").returncode == 0
        assert run("ingest", alike, "--source", "alike").returncode == 0
        before, present = files(), held()
        assert present == {"s": (5, 1), "alike": (1000, 1)}
        for command in (("ingest", many, "--source", "s"), ("mix", "seal", mix)):
            for _ in range(2):
                full = run(*command)
                assert full.returncode == 74, full.stderr
                assert json.loads(full.stderr)["error"]["reason"] == "STORAGE_FULL"
                assert full.stdout == ""
                assert (files(), held()) == (before, present)
        assert run("audit", "log", "--kind", "plan_sealed").stdout == ""
        # What fits is still taken, and what is there is still known.
        assert json.loads(run("ingest", few, "--source", "s").stdout)["num_duplicates"] == 5
    assert verify_folder(data).num_segments == 2
    with Service(data) as service:
        assert (files(), held()) == (before, present)
        told = json.loads(run("ingest", many, "--source", "s").stdout)
        assert (told["num_stored"], told["num_duplicates"]) == (300, 0)
        assert held()["s"][0] == 305
        assert run("mix", "seal", mix).returncode == 0
    verify_folder(data)


def test_a_service_killed_during_an_ingest_has_all_of_it_or_nothing(tmp_path: Path) -> None:
    rows = _rows(tmp_path / "rows.jsonl", 600, num_bytes=600)
    data = tmp_path / "data"
    serving = subprocess.Popen(
        [*COMMAND, "serve", "--json"],
        stdout=subprocess.PIPE,
        env=os.environ | {"RECOLLECT_DATA_FOLDER": str(data)},
    )
    assert serving.stdout is not None
    with serving.stdout as output:
        text = b""
        while not text.rstrip().endswith(b"}"):
            text += os.read(output.fileno(), 4096)
        address = json.loads(text)["address"]
        ingest = subprocess.Popen(
            [*COMMAND, "ingest", rows, "--source", "s", "--server", address, "--json"],
            stderr=subprocess.PIPE,
            text=True,
        )
        while not list(data.glob("ledger/*.jsonl")) or b"source_registered" not in b"".join(
            path.read_bytes() for path in data.glob("ledger/*.jsonl")
        ):
            time.sleep(0.02)
        serving.send_signal(signal.SIGKILL)
        serving.wait()
        errors = ingest.communicate(timeout=120)[1]
    assert ingest.returncode == 69
    assert json.loads(errors)["error"]["reason"] == "SERVER_UNAVAILABLE"
    with service_process(tmp_path, threads=1) as address:
        with connect(address) as client:
            (listed,) = client.store.ListSources(store_pb2.ListSourcesRequest()).sources
            assert listed.num_examples in (0, 600)
        again = run_command("ingest", rows, "--source", "s", "--server", address, "--json")
        report = json.loads(again.stdout)
        assert report["num_stored"] + report["num_duplicates"] == 600
    verify_folder(data)


def test_a_reader_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    pipe = tmp_path / "endless.jsonl"
    os.mkfifo(pipe)
    with service_process(tmp_path, threads=1) as address:
        reader = subprocess.Popen(
            [*COMMAND, "ingest", pipe, "--source", "s", "--server", address],
            stderr=subprocess.DEVNULL,
        )
        with pipe.open("w", encoding="utf-8") as file:
            for n in range(64):
                file.write(ROW % ("hello", n))
            file.flush()
            time.sleep(1.0)
            reader.send_signal(signal.SIGKILL)
            reader.wait()
        with connect(address) as client:
            (listed,) = client.store.ListSources(store_pb2.ListSourcesRequest()).sources
            assert listed.num_examples == 0
            # The service finishes the group that it was at, and then removes what it wrote.
            deadline = time.monotonic() + 30
            while list((tmp_path / "data" / "segments").rglob("*.parquet*")):
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_the_service_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from recollect.services.demo.processes import service_process\n"
        "with service_process(Path(sys.argv[1]), threads=1) as address:\n"
        "    print(address, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while True:
        # The lock is free again once the service is gone.
        try:
            with service_process(tmp_path, threads=1) as address:
                assert address
            return
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.5)
