"""Batches to tensors: ours over gRPC beside the peers in process, and the ceiling of gRPC itself.

    python bench/stream.py [--environments FOLDER] [--data FOLDER] [--only grain,datasets]
                           [--rows 512] [--rounds 5] [--seconds 3] [--no-resume]

Every peer runs in an environment of its own, on the same rows (1 GB in all formats together).
First each variant of a peer (workers 0 and 2, and what else its guide shows) is tried; the fastest
then runs in rounds, one peer after another, so that whatever else the machine does hits all alike.
What is measured is merged into bench/results/stream.json, whose tables `stream_tables.py` writes:
`--only` runs parts again, by name or by the beginning of names; `--only ''` runs nothing and writes
the tables. `ceiling` names gRPC's own speed, `recollect` ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stream_tables
from rich.console import Console
from stream_data import NUM_ROWS, make

BENCH = Path(__file__).parent
RESULT = BENCH / "results" / "stream.json"
INSTALL_SECONDS, MAKE_SECONDS, RUN_SECONDS, RESUME_SECONDS = 1_200, 600, 120, 400
TORCH = "torch==2.13.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """One line of the table."""

    script: str = "stream_peers.py"
    environment: str | None = None
    """Where it runs; our own environment if not said."""
    requirements: tuple[str, ...] = ()
    format: str = "raw"
    variants: int = 1
    resumes: bool = True
    resumed_variant: int | None = None
    """Which variant resumes, where the fastest one has no state of its own."""


def _peer(package: str, *more: str, **values: Any) -> Entrant:
    name = package.partition("==")[0]
    return Entrant(environment=f"stream-{name}", requirements=(package, TORCH, *more), **values)


ENTRANTS = {
    # Ours: the same arguments, the same line of JSON; its variants are ways to connect.
    "recollect": Entrant(script="stream_ours.py", variants=2),
    "grain": _peer("grain==0.2.18", "numpy", variants=3),
    "datasets_map": _peer("datasets==5.2.0", format="arrow", variants=4),
    "datasets_iterable": _peer("datasets==5.2.0", format="arrow", variants=4, resumed_variant=1),
    "mosaicml_streaming": _peer("mosaicml-streaming==0.13.0", format="mds", variants=2),
    "webdataset": _peer("webdataset==1.0.2", "numpy", format="tar", variants=2, resumes=False),
    "torchdata_loader": _peer("torchdata==0.11.0", "numpy", variants=2),
    "torchdata_nodes": _peer("torchdata==0.11.0", "numpy", variants=3),
    "litdata": _peer("litdata==0.2.76", format="litdata", variants=2),
    "megatron_energon": _peer("megatron-energon==7.4.1", format="energon", variants=2),
    "dm_reverb": _peer("dm-reverb==0.14.0", "tensorflow==2.14.0", "numpy<2", resumes=False),
    "own_gather": _peer("torchdata==0.11.0", "numpy", variants=2, resumes=False),
}
CEILING, OURS = "ceiling", "recollect"
MEMORY_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What was asked for."""

    environments: Path
    data: Path
    names: tuple[str, ...]
    lengths: tuple[int, ...]
    rounds: int
    seconds: float
    trials: int
    """Tries of every variant before one is chosen, as a busy machine may slow any one of them."""
    failures: dict[str, str] = field(default_factory=dict)


def interpreter(entrant: Entrant, folder: Path) -> str:
    """The Python of an entrant, its environment made where it is not there yet."""
    if entrant.environment is None:
        return sys.executable
    place = folder / entrant.environment
    stamp = place / "installed"
    wanted = " ".join(entrant.requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"-- installing {wanted}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        command = [str(place / "bin" / "pip"), "install", "--quiet", *entrant.requirements]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        stamp.write_text(wanted)
    return str(place / "bin" / "python")


def called(command: list[str], seconds: float) -> str:
    """The output of a command; its workers end with it, whatever becomes of it."""
    # Not through pipes: workers that outlive their parent would keep them open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(command, stdout=out, stderr=error, start_new_session=True)
        try:
            code = process.wait(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        for file in (out, error):
            file.seek(0)
        if code:
            lines = error.read().strip().splitlines() or ["no reason given"]
            raise RuntimeError(f"exit {code}: {lines[-1][:200]}")
        return out.read()


def _prepare(run: Run, name: str) -> None:
    entrant = ENTRANTS[name]
    python = interpreter(entrant, run.environments)
    for length in run.lengths:
        make("raw", run.data, length)
        # The index of Energon stands beside the tars of webdataset.
        for needed in {"energon": ("tar", "energon")}.get(entrant.format, (entrant.format,)):
            where = ["--data", str(run.data), "--rows", str(length)]
            called([python, str(BENCH / "stream_data.py"), needed, *where], MAKE_SECONDS)


def once(run: Run, name: str, length: int, *more: str, limit: float = RUN_SECONDS) -> Any:
    """One process of an entrant: its line of JSON, and the load that it met."""
    entrant = ENTRANTS[name]
    command = [interpreter(entrant, run.environments), str(BENCH / entrant.script), name]
    where = ["--data", str(run.data), "--rows", str(length)]
    load = round(os.getloadavg()[0], 2)
    printed = called([*command, *where, *more], limit)
    return {**json.loads(printed.splitlines()[-1]), "load": load}


def _attempt(run: Run, name: str, length: int, *more: str, limit: float = RUN_SECONDS) -> Any:
    try:
        figures = once(run, name, length, *more, limit=limit)
    except (RuntimeError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        run.failures[f"{name} {length} {' '.join(more)}".strip()] = str(error)[-300:]
        print(f"!! {name} {length}: {str(error)[-200:]}", flush=True)
        return None
    speed = figures.get("tokens_per_s", 0) / 1e6
    told = f"{speed:9.2f} M tokens/s" if speed else " ".join(more)
    print(f"{name:20} {length:5} {figures['variant']:24} {told}", flush=True)
    return figures


def trials(run: Run, name: str, length: int) -> list[dict[str, Any]]:
    """The best of every variant's tries: number, name and speed, the fastest variant first."""
    best: dict[int, dict[str, Any]] = {}
    for _ in range(run.trials):
        for number in range(ENTRANTS[name].variants):
            more = ("--variant", str(number), "--seconds", str(run.seconds / 2))
            figures = _attempt(run, name, length, *more)
            if figures is None:
                continue
            speed = round(figures["tokens_per_s"])
            if speed > best.get(number, {"tokens_per_s": 0})["tokens_per_s"]:
                found = {"number": number, "name": figures["variant"], "tokens_per_s": speed}
                best[number] = found
    return sorted(best.values(), key=lambda trial: -trial["tokens_per_s"])


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most of every figure."""
    numbers = [key for key, value in runs[0].items() if isinstance(value, int | float)]
    return {
        key: [f([one[key] for one in runs]) for f in (statistics.median, min, max)]
        for key in numbers
    }


def _round(run: Run, number: int, chosen: dict[Any, Any], runs: dict[Any, list[Any]]) -> None:
    """One run of everyone, each round beginning with another."""
    order = list(chosen)
    shift = number % max(1, len(order))
    for name, length in order[shift:] + order[:shift]:
        variant = str(chosen[name, length][0]["number"])
        more = ("--variant", variant, "--seconds", str(run.seconds))
        figures = _attempt(run, name, length, *more)
        if figures is not None:
            runs.setdefault((name, length), []).append(figures)


def entrants(run: Run, names: list[str], *, resume: bool) -> dict[str, Any]:
    """What the entrants did, by length and name."""
    tried = {(n, length): trials(run, n, length) for length in run.lengths for n in names}
    chosen = {key: trial for key, trial in tried.items() if trial}
    runs: dict[tuple[str, int], list[Any]] = {}
    ceilings: list[Any] = []
    for number in range(run.rounds):
        _round(run, number, chosen, runs)
        if CEILING in run.names:
            command = [sys.executable, str(BENCH / "stream_ceiling.py")]
            printed = called([*command, "--seconds", str(run.seconds)], RUN_SECONDS)
            ceilings.append(json.loads(printed.splitlines()[-1]))
    result: dict[str, Any] = {}
    for (name, length), found in runs.items():
        result.setdefault(str(length), {})[name] = {
            "versions": found[0]["versions"],
            "variant": chosen[name, length][0]["name"],
            "trials": {trial["name"]: trial["tokens_per_s"] for trial in tried[name, length]},
            "num_runs": len(found),
            "figures": summary(found),
            "shares": found[0]["shares"],
        }
        if not ENTRANTS[name].resumes:
            result[str(length)][name]["resume"] = {"resume": "none"}
        elif resume and length == min(NUM_ROWS):
            own = ENTRANTS[name].resumed_variant
            variant = str(chosen[name, length][0]["number"] if own is None else own)
            more = ("--variant", variant, "--resume")
            back = _attempt(run, name, length, *more, limit=RESUME_SECONDS)
            result[str(length)][name]["resume"] = back
    if resume and OURS in names:
        figures = _attempt(run, OURS, min(NUM_ROWS), "--steps", str(MEMORY_STEPS), limit=900)
        result["memory"] = {OURS: figures}
    if ceilings:
        result[CEILING] = {k: summary([one[k] for one in ceilings]) for k in ceilings[0]}
    return result


def machine(run: Run) -> dict[str, Any]:
    """What the figures depend on, and nothing that names the machine."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
        "rounds": run.rounds,
        "seconds": run.seconds,
        "trials": run.trials,
    }


def asked(only: str | None) -> tuple[str, ...]:
    """The entrants that were named, by the beginning of their names; all if nothing was said."""
    names = [*ENTRANTS, CEILING]
    if not (BENCH / ENTRANTS["recollect"].script).exists():
        names.remove("recollect")
    if only is None:
        return tuple(names)
    words = [word.replace("-", "_") for word in only.split(",") if word]
    return tuple(name for name in names if any(name.startswith(word) for word in words))


def merged(old: dict[str, Any], new: dict[str, Any], run: Run) -> dict[str, Any]:
    """What was measured now over what was measured before."""
    for key, values in new.items():
        before = {} if key == CEILING else old.get(key, {})
        for name, row in values.items():
            if "resume" in before.get(name, {}):
                row.setdefault("resume", before[name]["resume"])
            # Of a variant that was tried before, the best try of all.
            for variant, speed in before.get(name, {}).get("trials", {}).items():
                row["trials"][variant] = max(speed, row["trials"].get(variant, 0))
        old[key] = {**before, **values}
    kept = {k: v for k, v in old.get("failures", {}).items() if k.split()[0] not in run.names}
    old["failures"] = kept | run.failures
    described = machine(run)
    old["machine"] = {**old.get("machine", {}), **dict.fromkeys(run.names, described)}
    return old


def main() -> int:
    """Runs what was asked for; fails where an entrant could not be run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, help="keep the environments in this folder")
    parser.add_argument("--data", type=Path, help="keep the rows in this folder")
    parser.add_argument("--only", help="entrants to run, separated by commas; '' for none")
    parser.add_argument("--rows", type=int, action="append", choices=NUM_ROWS, help="row length")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--no-resume", action="store_true")
    parser.add_argument("--page", type=Path, default=stream_tables.PAGE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run = Run(
            environments=(options.environments or Path(temporary) / "environments").resolve(),
            data=(options.data or Path(temporary) / "data").resolve(),
            names=asked(options.only),
            lengths=tuple(options.rows or NUM_ROWS),
            rounds=options.rounds,
            seconds=options.seconds,
            trials=options.trials,
        )
        ready = []
        for name in run.names:
            if name != CEILING:
                try:
                    _prepare(run, name)
                    ready.append(name)
                except (RuntimeError, subprocess.SubprocessError) as error:
                    run.failures[name] = str(getattr(error, "stderr", None) or error)[-300:]
        measured = entrants(run, ready, resume=not options.no_resume) if run.names else {}
        old = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        result = merged(old, measured, run)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    stream_tables.write(options.page, result)
    stream_tables.show(Console(), result)
    return len(run.failures)


if __name__ == "__main__":
    sys.exit(main())
