"""Compares the mixing rules of other loaders with ours: on the real packages, and how fast.

    python bench/peers.py [--environments FOLDER] [--only CASE,CASE] [--no-speed]

Each package is installed into an environment of its own under a temporary folder (12 GB in all,
or 30 GB where the index has torch for CUDA only), or under FOLDER, where it stays for the next
time. Writes bench/results/peers.json, docs/images/peers.svg and the tables in
docs/explanation/peers.md. A package that cannot be installed is reported, and its rule still
stands in the table, as published.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import peers_speed
import peers_tables
from peers_packages import BATCH_SIZE, CASES, NUM_BATCHES, WORLD_SIZE

from recollect.mixer.peer_rules import RULES
from recollect.mixer.peers import DEFAULT_SHARES, compare, measure, serve
from recollect.services.demo.peer_picture import peer_picture

BENCH = Path(__file__).parent
RESULT = BENCH / "results" / "peers.json"
DOCS = BENCH.parent / "docs"
INSTALL_SECONDS, RUN_SECONDS = 900, 600
# Beside each package what it needs and does not name, and the torch that Recollect is tested with.
REQUIREMENTS = {
    "datasets": ["datasets==5.2.0"],
    "webdataset": ["webdataset==1.0.2"],
    "lhotse": ["lhotse==1.33.0", "torch==2.13.0", "urllib3"],
    "torchdata": ["torchdata==0.11.0", "torch==2.13.0", "numpy"],
    "litdata": ["litdata==0.2.76", "torch==2.13.0"],
    "mosaicml-streaming": ["mosaicml-streaming==0.13.0"],
    "ray": ["ray[data]==2.60.0"],
    "grain": ["grain==0.2.18"],
    "megatron-core": ["megatron-core==0.16.1", "torch==2.13.0"],
}
RULE_OF = {
    "datasets": "Independent draws",
    "webdataset": "Independent draws",
    "lhotse": "Independent draws",
    "torchdata": "Independent draws",
    "litdata": "Independent draws",
    "streaming_random": "Global shuffle",
    "streaming_stratified": "Stratified batches",
    "ray": "Blocks",
    "grain": "Grain",
    "grain_each": "Grain, mixed on each rank",
    "megatron": "Megatron",
}


def installed(package: str, folder: Path) -> Path:
    """The environment of a package, made where it is not there yet."""
    place = folder / package
    stamp = place / "installed"
    wanted = " ".join(REQUIREMENTS[package])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"-- installing {wanted}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        subprocess.run(
            [place / "bin" / "pip", "install", "--quiet", *REQUIREMENTS[package]],
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        stamp.write_text(wanted)
    return place


def site_packages(environment: Path) -> Path:
    """Where an environment keeps its packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return environment / "lib" / version / "site-packages"


def run_case(case: str, folder: Path) -> dict[str, Any]:
    """What the package of a case really served, measured."""
    package = CASES[case][0]
    result: dict[str, Any] = {"case": case, "rule": RULE_OF[case], "package": package}
    print(f"== {case}", flush=True)
    try:
        python = installed(package, folder) / "bin" / "python"
        out = folder / f"{case}.npz"
        done = subprocess.run(
            [python, BENCH / "peers_packages.py", case, out],
            check=True,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or "no reason given").splitlines()[-1]
        return result | {"failed": f"exit {error.returncode}: {reason[:200]}"}
    except subprocess.TimeoutExpired as error:
        return result | {"failed": f"not done after {error.timeout:.0f} s"}
    with np.load(out) as served:
        sources = served["sources"].astype(np.int64)
        ranks = served["ranks"].astype(np.int64)
    rule = next(rule for rule in RULES if rule.name == RULE_OF[case])
    expected = serve(rule, DEFAULT_SHARES, BATCH_SIZE, WORLD_SIZE, NUM_BATCHES)
    figures = measure(DEFAULT_SHARES, sources, ranks, batch_size=BATCH_SIZE, world_size=WORLD_SIZE)
    return result | {
        "version": json.loads(done.stdout.splitlines()[-1])["version"],
        "same_rows_as_rule": bool(
            np.array_equal(sources, expected[0]) and np.array_equal(ranks, expected[1])
        ),
        "figures": dataclasses.asdict(figures),
    }


def rules() -> list[dict[str, Any]]:
    """The table by rule."""
    rows = compare(batch_size=BATCH_SIZE, world_size=WORLD_SIZE, num_batches=NUM_BATCHES)
    return [
        {
            "rule": row.rule.name,
            "packages": row.rule.packages,
            "summary": row.rule.summary,
            "published": row.rule.published,
            "figures": dataclasses.asdict(row.figures) if row.figures else None,
            "refusal": row.refusal,
        }
        for row in rows
    ]


def speed(folder: Path) -> dict[str, Any]:
    """Speeds beside Grain and, where it is there, Megatron's compiled helper."""
    helpers = site_packages(folder / "megatron-core") / "megatron" / "core" / "datasets"
    found = sorted(helpers.glob("helpers_cpp.*.so"))
    grain = site_packages(installed("grain", folder))
    return peers_speed.measure(grain, found[0] if found else None)


def machine() -> str:
    """What the figures depend on, and nothing that names the machine."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, one core used"
    )


def run(folder: Path, cases: list[str], *, with_speed: bool) -> dict[str, Any]:
    """Everything, merged into what was measured before."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {"packages": []}
    fresh = [run_case(case, folder) for case in cases]
    kept = [old for old in result["packages"] if old["case"] not in cases]
    order = list(CASES)
    result["mix"] = {
        "shares": [str(share) for share in DEFAULT_SHARES],
        "batch_size": BATCH_SIZE,
        "world_size": WORLD_SIZE,
        "num_batches": NUM_BATCHES,
    }
    result["rules"] = rules()
    result["packages"] = sorted(kept + fresh, key=lambda row: order.index(row["case"]))
    if with_speed:
        print("== speed", flush=True)
        result["speed"] = {"machine": machine(), **speed(folder)}
    return result


def main() -> int:
    """Runs what was asked for; fails where a package could not be run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, help="keep the environments in this folder")
    parser.add_argument("--only", help="cases to run, separated by commas; '' for none")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args()
    cases = list(CASES) if options.only is None else [c for c in options.only.split(",") if c]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.environments or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        result = run(folder, cases, with_speed=not options.no_speed)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (DOCS / "images" / "peers.svg").write_text(peer_picture(), encoding="utf-8")
    peers_tables.write(DOCS / "explanation" / "peers.md", result)
    failed = [row for row in result["packages"] if "failed" in row]
    for row in failed:
        print(f"!! {row['case']}: {row['failed']}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
