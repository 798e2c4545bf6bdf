"""What de-identification takes: time to the first answer, memory over many records, processes.

    python bench/deid_footprint.py [--records 100000] [--policy conversations] [RESULT.json]

Each figure is of a process of its own. Memory is resident, told after a tenth, a half and all of
the records; processes are told as KB of text a second of wall time through `recollect deid apply`,
start and writing included, beside one process in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
from rich.console import Console

from recollect.services.deid_files import apply_rows
from recollect.services.deid_rows import RowOptions
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import load_policy

RESULT = Path(__file__).parent / "results" / "deid_footprint.json"
FIRST = """
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import load_policy
engine = Deidentifier(load_policy({policy!r}), bytes(32))
assert "Rosalind" not in engine.preview("My name is Rosalind Achterberg.").text
"""
TOPICS = ("refund", "parcel", "invoice", "login", "delivery", "charger", "order", "address")


def record(number: int) -> str:
    """An invented message; no two are alike, and each holds a name of its own."""
    topic = TOPICS[number % len(TOPICS)]
    return (
        f"Hi, this is Rosalind Achter{number:x} about my {topic}, order {number:09d}. Please write "
        f"to rosa.acht{number}@mail.example.net or ring +1 202 555 {number % 10000:04d}; it has "
        f"been {2 + number % 40} days and nobody at your desk in Leeds knows where the {topic} is."
    )


def cold_start(policy: str) -> dict[str, float]:
    """Seconds from the start of a process to its first answer, best of three."""
    walls, processors = [], []
    for _ in range(3):
        before = os.times()
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", FIRST.format(policy=policy)], check=True)
        walls.append(time.perf_counter() - start)
        after = os.times()
        processors.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    return {"wall_s": round(min(walls), 2), "processor_s": round(min(processors), 2)}


def memory(policy: str, records: int) -> dict[str, float]:
    """Resident MB after the first answer, a tenth, a half, and all of the records."""
    engine = Deidentifier(load_policy(policy), bytes(32))
    process = psutil.Process()
    told = {}
    marks = {1: "first", records // 10: "tenth", records // 2: "half", records: "all"}
    for number in range(1, records + 1):
        engine.explain([record(number)])
        if number in marks:
            told[marks[number]] = round(process.memory_info().rss / 1e6, 1)
    return told


def processes(policy: str, records: int) -> dict[str, float]:
    """KB a second through files, with one process and with two."""
    lines = [json.dumps({"text": record(number)}) for number in range(records)]
    size = sum(len(line) for line in lines)
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for workers in (1, 2):
            options = RowOptions(policy=load_policy(policy), key=bytes(32))
            start = time.perf_counter()
            apply_rows(source, Path(folder) / f"out{workers}.jsonl", options, workers=workers)
            told[str(workers)] = round(size / (time.perf_counter() - start) / 1000, 1)
    told["ratio"] = round(told["2"] / told["1"], 2)
    return told


def main() -> int:
    """Measures, prints, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--policy", default="conversations")
    parser.add_argument("--part", choices=("memory", "processes"), help="one part, as JSON")
    parser.add_argument("result", type=Path, nargs="?", default=RESULT)
    options = parser.parse_args()
    if options.part:
        part = {"memory": memory, "processes": processes}[options.part]
        print(json.dumps(part(options.policy, options.records)))
        return 0
    told: dict[str, Any] = {"policy": options.policy, "records": options.records}
    told["cold_start"] = cold_start(options.policy)
    for part, records in (("memory", options.records), ("processes", options.records // 5)):
        command = [sys.executable, __file__, "--part", part, "--policy", options.policy]
        out = subprocess.run(
            [*command, "--records", str(records)], check=True, capture_output=True, text=True
        )
        told[part] = json.loads(out.stdout.splitlines()[-1])
        Console().print({part: told[part]})
    told["machine"] = {
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_at_end": round(os.getloadavg()[0], 2),
    }
    Console().print(told)
    options.result.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
