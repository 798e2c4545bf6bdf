"""How long a preview of a plan over a thousand million examples takes, and how much memory.

    OMP_NUM_THREADS=1 python bench/preflight.py [RESULT.json]

Each case runs in a process of its own, twice: the first time includes loading compiled code where
it is needed, the second is what every further preview costs. Sealing is included in both. Figures
are seconds that pass, the best of several processes, and the most memory that the arrays take.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from recollect.mixer.contents import Contents, Totals
from recollect.mixer.example import Purpose, Role
from recollect.mixer.limits import RatioPolicy
from recollect.mixer.mix import Mix
from recollect.mixer.plan import SourceSnapshot
from recollect.mixer.preview import PlanPreview, preview
from recollect.mixer.sealing import seal

NUM_EXAMPLES = 10**9
NUM_PROCESSES = 3
ROLES = list(Role)
POLICY = {"name": "house", "roles": {"refusal": {"floor": 100}, "task": {"ceiling": 9000}}}
CASES: dict[str, dict[str, Any]] = {
    "4 sources": {"shares": ["70%", "15%", "10%", "5%"]},
    "4 sources, 1 and 8 ranks": {"shares": ["70%", "15%", "10%", "5%"], "worlds": [1, 8]},
    "4 sources, 1, 8, 64 and 512 ranks": {
        "shares": ["70%", "15%", "10%", "5%"],
        "worlds": [1, 8, 64, 512],
    },
    "64 sources, 8 ranks": {"shares": ["1/64"] * 64, "worlds": [8]},
    "1,000 sources, 8 ranks": {"shares": ["1/1000"] * 1000, "worlds": [8]},
    "4 sources, 100 changes of shares": {
        "shares": ["70%", "15%", "10%", "5%"],
        "num_changes": 100,
    },
    "4 sources, 1,000 changes of shares": {
        "shares": ["70%", "15%", "10%", "5%"],
        "num_changes": 1000,
    },
}


def previewed(
    shares: list[str], worlds: list[int] | None = None, num_changes: int = 0
) -> PlanPreview:
    """Seals a mix over what nobody holds, and previews it."""
    names = [f"source-{number:04}" for number in range(len(shares))]
    sources = [
        {"source": name, "role": ROLES[number % len(ROLES)].value, "share": share}
        for number, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    ramps = [
        {"first_step": 1000 * (number + 1), "shares": dict(zip(names, turned, strict=True))}
        for number in range(num_changes)
        for turned in [shares if number % 2 else ["65%", "15%", "10%", "10%"]]
    ]
    mix = Mix.from_mapping(
        {
            "name": "large",
            "batch_size": 1024,
            "num_steps": 2_000_000,
            "max_length": 2048,
            "sources": sources,
            "changes": ramps,
        }
    )
    each = NUM_EXAMPLES // len(shares)
    held = {
        item.source: SourceSnapshot(
            name=item.source,
            role=item.role,
            purpose=Purpose.TRAIN,
            num_examples=each,
            content_digest="0" * 64,
        )
        for item in mix.sources
    }
    policy = RatioPolicy.from_mapping(POLICY)
    plan = seal(mix, snapshot_id="0" * 64, sources=held, tokenizer_digest="0" * 64, policy=policy)
    contents: dict[str, Contents] = {
        name: Totals(num_tokens=300 * each, num_supervised_tokens=90 * each) for name in names
    }
    return preview(plan, contents, world_sizes=worlds or ())


def measure(case: str) -> dict[str, float]:
    """Both times, in seconds, and the memory in MiB."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        found = previewed(**CASES[case])
        taken.append(time.perf_counter() - start)
        assert found.num_rows == 1024 * 2_000_000
    tracemalloc.start()
    previewed(**CASES[case])
    peak = tracemalloc.get_traced_memory()[1]
    return {"first_s": taken[0], "again_s": taken[1], "peak_MiB": peak / 2**20}


def best_of_processes(case: str) -> dict[str, float]:
    """The least of each figure over several processes."""
    command = [sys.executable, __file__, "--case", case]
    found = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(NUM_PROCESSES)
    ]
    return {name: round(min(run[name] for run in found), 4) for name in found[0]}


def main() -> None:
    """Prints the figures as JSON, and keeps them where told."""
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, numpy {np.__version__}, one core used",
        "num_examples": NUM_EXAMPLES,
        "num_rows": 1024 * 2_000_000,
        "cases": {case: best_of_processes(case) for case in CASES},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
