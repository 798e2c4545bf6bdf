"""Runs every benchmark whose input is there; results go to bench/results/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent
JOBS = {
    "ingest_dialogues": ["ingest_dialogues.py", "{results}/ingest_dialogues.json"],
    "ingest_dialogues_three_times": [
        "ingest_dialogues.py",
        "--three-times",
        "{results}/ingest_dialogues_three_times.json",
    ],
    "forgetting_recipe": [
        "forgetting_recipe.py",
        "--data",
        "{data}",
        "--out",
        "{results}/forgetting_recipe.json",
    ],
}


def main() -> int:
    """Runs the jobs named on the command line, or all of them."""
    data = os.environ.get("RECOLLECT_DATA")
    if data is None:
        print("skipped: every benchmark reads the real input, and RECOLLECT_DATA names no folder")
        return 0
    failed = 0
    for name in sys.argv[1:] or JOBS:
        print(f"== {name}", flush=True)
        script, *arguments = JOBS[name]
        filled = [a.format(results=BENCH / "results", data=data) for a in arguments]
        failed += bool(subprocess.run([sys.executable, BENCH / script, *filled]).returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
