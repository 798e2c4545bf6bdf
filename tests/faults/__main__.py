"""The long form: `python -m tests.faults`, or `make faults`.

    python -m tests.faults [--seed 1] [--server-kills 500] [--trainer-kills 500] [--rotations 100]
                           [--requests 1000000] [--stalled 200] [--only kills,requests]

Prints the seed and the counts of every part, and writes what was measured to
bench/results/faults.json. A part that fails says with which seed it does so again.
`python -m tests.faults canaries` is the campaign of `canaries.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from . import canaries
from .campaign import Outcome, Scene, Wanted, campaign, on_sockets, with_tls
from .fleet import Server, make_place, wait_for
from .malformed import ask, requests
from .proxy import Odds
from .stalls import Healthy, measure

RESULT = Path(__file__).parents[2] / "bench" / "results" / "faults.json"
KILLS_AT_ONCE = 50
"""Kills of one campaign: each begins with a fresh ledger, as one that grows is slower to open."""
REQUESTS_AT_ONCE = 20_000
CALLERS = 8
CLEAR_UP = Odds(delay=0.01, cut=0.003)
CLEAR_DOWN = Odds(delay=0.01, cut=0.005, double=0.005, change=0.005)
"""In the clear, what a trainer asks for has no checksum of ours: only answers are changed."""
TLS = Odds(delay=0.01, cut=0.003, double=0.003, change=0.003)


class Place:
    """A data folder with a plan, of which every part gets a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._num_copies = 0
        self.plan_id = make_place(folder / "made")

    def copy(self) -> Path:
        """A folder with a copy of the data folder."""
        self._num_copies += 1
        copy = self.folder / str(self._num_copies)
        copy.mkdir()
        shutil.copytree(self.folder / "made" / "data", copy / "data")
        return copy


def campaigns(
    place: Place, scene: Callable[[Path, str], Scene], wanted: Wanted, seed: int
) -> list[Outcome]:
    """As many campaigns as it takes."""
    outcomes: list[Outcome] = []
    left = wanted
    while left.num_events:
        now = replace(
            left,
            server_kills=min(left.server_kills, KILLS_AT_ONCE),
            trainer_kills=min(left.trainer_kills, KILLS_AT_ONCE),
            rotations=min(left.rotations, KILLS_AT_ONCE),
        )
        left = replace(
            left,
            server_kills=left.server_kills - now.server_kills,
            trainer_kills=left.trainer_kills - now.trainer_kills,
            rotations=left.rotations - now.rotations,
        )
        own_seed = seed * 1000 + len(outcomes)
        print(f"   seed {own_seed}: {now}", flush=True)
        copy = place.copy()
        outcomes.append(campaign(scene(copy, place.plan_id), now, own_seed))
        shutil.rmtree(copy)
    return outcomes


def _seconds(found: Sequence[float]) -> Mapping[str, float]:
    if len(found) < 2:
        return {}
    cuts = statistics.quantiles(found, n=100, method="inclusive")
    return {name: round(cuts[n - 1], 3) for name, n in (("p50", 50), ("p95", 95))} | {
        "most": round(max(found), 3)
    }


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What happened in all campaigns together."""
    counts: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter())
    return {
        "seeds": [outcome.seed for outcome in outcomes],
        "counts": dict(sorted(counts.items())),
        "steps": sum(outcome.num_steps for outcome in outcomes),
        "seconds_until_back": {
            "server": _seconds([s for outcome in outcomes for s in outcome.server_back]),
            "trainer": _seconds([s for outcome in outcomes for s in outcome.trainer_back]),
        },
        "typed_errors": [error["reason"] for outcome in outcomes for error in outcome.errors],
    }


def kills(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """Servers and trainers killed, over a line in the clear that lies."""
    wanted = Wanted(
        server_kills=options.server_kills,
        trainer_kills=options.trainer_kills,
        up=CLEAR_UP,
        down=CLEAR_DOWN,
    )
    return summary(campaigns(place, on_sockets, wanted, options.seed))


def rotations(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """Certificates replaced, over a line with TLS that lies both ways."""
    kills = options.rotations // 10
    wanted = Wanted(
        rotations=options.rotations, server_kills=kills, trainer_kills=kills, up=TLS, down=TLS
    )
    return summary(campaigns(place, with_tls, wanted, options.seed))


def malformed(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """Malformed requests, each to be answered with a type."""
    reasons: Counter[str] = Counter()
    left = options.requests
    number = 0
    while left:
        copy = place.copy()
        server = Server(copy / "data", f"unix:{copy}/s", copy / "server")
        wait_for("serving", partial(getattr, server, "serves"))
        now = min(left, REQUESTS_AT_ONCE)
        # Several at once: what is written waits for the disk together.
        shares = [len(part) for part in np.array_split(range(now), CALLERS)]
        with ThreadPoolExecutor(len(shares)) as pool:
            seeds = [options.seed * 100_000 + CALLERS * number + n for n in range(len(shares))]
            known = (place.plan_id, "task", "general")
            asking = [
                pool.submit(_asked, server.address, seed, share, known)
                for seed, share in zip(seeds, shares, strict=True)
            ]
            for one in asking:
                reasons += one.result()
        assert server.serves, "the service ended"
        server.kill()
        shutil.rmtree(copy)
        left -= now
        number += 1
        print(f"   {options.requests - left:,} requests", flush=True)
    return {"requests": options.requests, "answers": dict(reasons.most_common())}


def _asked(address: str, seed: int, number: int, known: Sequence[str]) -> Counter[str]:
    with grpc.insecure_channel(address) as channel:
        return Counter(ask(channel, asked) for asked in requests(seed, number, known))


def stalled(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """Stalled streams beside healthy ones."""
    # Rows as they are trained on: of short ones a message holds thousands, and takes its time.
    copy = place.folder / "long"
    plan_id = make_place(copy, batch_size=32, max_length=512)
    server = Server(copy / "data", f"unix:{copy}/s", copy / "server")
    wait_for("serving", partial(getattr, server, "serves"))
    process_id = server.process.pid
    assert process_id is not None
    found = measure(
        server.address,
        plan_id,
        process_id,
        copy,
        num_stalled=options.stalled,
        rounds=3,
        healthy=Healthy(),
    )
    server.kill()
    return {
        "stalled_streams": options.stalled,
        "healthy_streams": Healthy().num_streams,
        "p99_ms_alone": [round(1e3 * s, 2) for s in found.p99_alone],
        "p99_ms_beside": [round(1e3 * s, 2) for s in found.p99_beside],
        "ratio": round(found.ratio, 3),
        "MB_per_stalled_stream": round(found.megabytes_per_stream, 3),
    }


PARTS: Mapping[str, Callable[[Place, argparse.Namespace], dict[str, Any]]] = {
    "stalled": stalled,
    "kills": kills,
    "rotations": rotations,
    "requests": malformed,
}


def main() -> None:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server-kills", type=int, default=500)
    parser.add_argument("--trainer-kills", type=int, default=500)
    parser.add_argument("--rotations", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--stalled", type=int, default=200)
    parser.add_argument("--only", help=f"parts, with commas: {', '.join(PARTS)}")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(PARTS)
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory(prefix="rf") as folder:
        place = Place(Path(folder))
        for name in names:
            print(f"== {name}, seed {options.seed}", flush=True)
            began = time.monotonic()
            found = PARTS[name](place, options)
            result[name] = {
                "seed": options.seed,
                **found,
                "minutes": round((time.monotonic() - began) / 60, 1),
                "cores": len(os.sched_getaffinity(0)),
                "python": platform.python_version(),
            }
            print(json.dumps(result[name], indent=1), flush=True)
            RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["canaries"]:
        sys.exit(canaries.main(sys.argv[2:]))
    main()
