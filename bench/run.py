"""Runs every benchmark whose input is there; results go to bench/results/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent
WITHOUT_DATA = {
    "permutation": ["permutation.py", "{results}/permutation.json"],
    "preflight": ["preflight.py", "{results}/preflight.json"],
    "deid_service": ["deid_service.py", "{results}/deid_service.json"],
    "peers": ["peers.py"],
}
"""They make their own input; `peers` installs each peer, which takes gigabytes and minutes."""
WITH_DATA = {
    "deid": ["deid.py", "--split", "test", "--data", "{data}", "{results}/deid.json"],
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
    """Runs the jobs named on the command line, or all whose input is there."""
    data = os.environ.get("RECOLLECT_DATA")
    jobs = {**WITHOUT_DATA, **WITH_DATA}
    failed = 0
    for name in sys.argv[1:] or jobs:
        if name in WITH_DATA and data is None:
            print(f"== {name}: skipped, as RECOLLECT_DATA names no folder with the real input")
            continue
        print(f"== {name}", flush=True)
        script, *arguments = jobs[name]
        filled = [a.format(results=BENCH / "results", data=data) for a in arguments]
        failed += bool(subprocess.run([sys.executable, BENCH / script, *filled]).returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
