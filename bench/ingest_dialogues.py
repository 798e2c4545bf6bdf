"""Ingests every support dialogue of the real input, then streams a mix over them.

    RECOLLECT_DATA=/path/to/data python bench/ingest_dialogues.py [--three-times] [RESULT.json]

Reports what came through, the speed with everything of ours counted, and the memory of service and
reader over idle, sampled while it happens.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from recollect.mixer.sealing import read_plan
from recollect.services.client import JOB_SECONDS, connect
from recollect.services.demo.processes import num_cores, service_process
from recollect.trainer.loader import ReplayLoader
from recollect.v1 import mix_pb2, store_pb2

MIX = """\
version: 1
name: dialogues
unit: examples
batch_size: 32
max_length: 192
seed: 0
sources:
  - {source: dialogues, role: task, share: 1, on_exhaustion: stop}
"""


def _resident(process_id: int) -> int:
    """Resident memory of a process in bytes."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Samples the memory of processes until it is left."""

    def __init__(self, **process_ids: int) -> None:
        self._process_ids = process_ids
        self.samples: dict[str, list[int]] = {name: [] for name in process_ids}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._stop.wait(0.25):
            for name, process_id in self._process_ids.items():
                self.samples[name].append(_resident(process_id))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _service_id(parent: int) -> int:
    """The process id of the service that this process started."""
    listed = subprocess.run(["ps", "--ppid", str(parent), "-o", "pid,args"], capture_output=True)
    lines = listed.stdout.decode().splitlines()
    return next(int(line.split()[0]) for line in lines if " serve " in line)


def _tripled(source: Path, target: Path) -> Path:
    """Three times the dialogues, each time with another end, so that none is a repeat."""
    with gzip.open(source, "rt", encoding="utf-8") as lines, target.open("w") as file:
        for line in lines:
            dialogue = json.loads(line)
            for mark in ("once", "twice", "thrice"):
                turns = [*dialogue["turns"][:-1], dict(dialogue["turns"][-1])]
                turns[-1]["content"] += f" ({mark})"
                file.write(json.dumps({"id": dialogue["id"], "turns": turns}) + "\n")
    return target


def _mebibytes(num_bytes: float) -> float:
    return round(num_bytes / 2**20, 1)


def _machine() -> str:
    """What the figures depend on, and nothing that names the machine."""
    return f"{num_cores()} cores, {platform.machine()}, Python {platform.python_version()}"


def main() -> None:
    """Measures, prints, and writes the result where asked."""
    source = Path(os.environ["RECOLLECT_DATA"]) / "task" / "support_dialogues.jsonl.gz"
    three_times = "--three-times" in sys.argv
    arguments_left = [a for a in sys.argv[1:] if not a.startswith("--")]
    result: dict[str, object] = {"machine": _machine()}
    with tempfile.TemporaryDirectory() as name, service_process(Path(name), threads=1) as address:
        service = _service_id(os.getpid())
        warm = Path(name) / "warm.jsonl"
        warm.write_text('{"prompt": "Hello 1 a@b.example.com", "completion": "Hi"}\n')
        arguments = [sys.executable, "-m", "recollect.services", "ingest"]
        subprocess.run(
            [*arguments, str(warm), "--source", "warm", "--server", address],
            check=True,
            capture_output=True,
        )
        idle = _resident(service)
        if three_times:
            source = _tripled(source, Path(name) / "tripled.jsonl")
        started = time.monotonic()
        reader = subprocess.Popen(
            [*arguments, str(source), "--source", "dialogues", "--server", address, "--json"],
            stdout=subprocess.PIPE,
        )
        with Watch(service=service, reader=reader.pid) as watch:
            output, _ = reader.communicate()
        seconds = time.monotonic() - started
        report = json.loads(output)
        result["ingest"] = report | {"seconds": round(seconds, 1)}
        samples = watch.samples["service"]
        tenth = max(1, len(samples) // 10)
        result["memory_MiB"] = {
            "service_idle": _mebibytes(idle),
            "service_peak_over_idle": _mebibytes(max(samples) - idle),
            "service_over_idle_first_tenth": _mebibytes(max(samples[:tenth]) - idle),
            "service_over_idle_last_tenth": _mebibytes(max(samples[-tenth:]) - idle),
            "reader_peak": _mebibytes(max(watch.samples["reader"])),
        }
        with connect(address) as client:
            listed = client.store.ListSources(store_pb2.ListSourcesRequest()).sources
            held = {item.source.name: item.num_examples for item in listed}
            started = time.monotonic()
            sealed = client.mix.SealPlan(
                mix_pb2.SealPlanRequest(mix_yaml=MIX, actor="bench"), timeout=JOB_SECONDS
            )
            seal_seconds = time.monotonic() - started
        plan = read_plan(sealed.plan_json)
        started = time.monotonic()
        num_rows = num_tokens = 0
        with Watch(service=service) as streaming, ReplayLoader(address, plan.plan_id) as loader:
            for batch in loader:
                num_rows += batch.num_rows
                num_tokens += int(batch.attention_mask.sum())
        stream_seconds = time.monotonic() - started
        result["stream"] = {
            "num_examples_held": held["dialogues"],
            "num_rows": num_rows,
            "num_tokens": num_tokens,
            "tokenize_and_seal_seconds": round(seal_seconds, 2),
            "stream_seconds": round(stream_seconds, 2),
            "service_peak_over_idle_MiB": _mebibytes(
                max(streaming.samples["service"] or [idle]) - idle
            ),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments_left:
        Path(arguments_left[0]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
