"""The canary campaign: invented identifiers go through a service that is killed over and over.

What has to hold afterwards: what the detector finds of them is in no byte of what the service and
its clients wrote, and what it does not find is counted, by class and form.

    python -m tests.faults canaries [--canaries 10000] [--kills 100] [--seed 1]
                                     [--folder DIR] [--list FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .canary import FORMS, MAKERS, Canary, canaries
from .carriers import row
from .sandbox import Sandbox, Service
from .verdict import Status, Verdicts, judge

RESULT = Path(__file__).parents[2] / "bench" / "results" / "canaries.json"
ROWS_PER_FILE = 100
FIRST_GUESS_SECONDS = 2.0
"""How long an ingestion takes, before one was measured."""
REFUSED = 65
"""Exit code of the command line for a file that it cannot read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to happen."""

    canaries: int
    kills: int
    """The service gets SIGKILL while it ingests."""
    starts: int = 0
    """It gets SIGKILL while it starts."""
    crashes: int = 0
    """It gets SIGSEGV while it ingests: the kernel would write a core file."""
    client_kills: int = 0
    """The client gets SIGKILL while it sends."""

    def events(self) -> list[str]:
        """All of them, by name."""
        return (
            ["kill"] * self.kills
            + ["start"] * self.starts
            + ["crash"] * self.crashes
            + ["client"] * self.client_kills
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A file with canaries in it."""

    path: Path
    source: str
    mapping: Path | None
    canaries: tuple[Canary, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The command that ingests it."""
        mapping = ("--mapping", str(self.mapping)) if self.mapping else ()
        return ("ingest", str(self.path), "--source", self.source, *mapping)


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What did happen."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    in_the_midst: Counter[str] = field(default_factory=Counter)
    """Those after which the client had not ended yet."""
    refused: set[str] = field(default_factory=set)
    """Sources whose file was refused."""
    num_files: int = 0
    """Files that are in."""
    seconds: float = 0.0
    """How long that took, over all runs of a campaign that was broken off."""
    token_rows: int = 0
    """Rows of token caches that were read again as text."""

    def save(self, folder: Path) -> None:
        """Writes it down, for a campaign that is broken off."""
        told = {name: getattr(self, name) for name in self.__slots__}
        told["refused"] = sorted(self.refused)
        (folder / "outcome.json").write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, seed: int) -> Outcome:
        """What was written down, if anything was."""
        path = folder / "outcome.json"
        if not path.exists():
            return cls(seed=seed)
        told = json.loads(path.read_text(encoding="utf-8"))
        counts = {name: Counter(told.pop(name)) for name in ("counts", "in_the_midst")}
        return cls(**told | counts | {"refused": set(told["refused"])})


def write_inputs(
    folder: Path, wanted: int, seed: int, rows_per_file: int = ROWS_PER_FILE
) -> list[Input]:
    """The files, in an order of chance; rows that need a file of their own kind share one."""
    dice = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    mapping = folder / "mapping.yaml"
    mapping.write_text("version: 1\nidentifiers: [customer]\n", encoding="utf-8")
    groups: dict[str, list[Canary]] = defaultdict(list)
    for canary in canaries(wanted, seed):
        own = canary.form in {"known value", "UTF-16 file"}
        groups[canary.form if own else "text"].append(canary)
    inputs: list[Input] = []
    for kind, group in groups.items():
        dice.shuffle(group)
        for first in range(0, len(group), rows_per_file):
            part = tuple(group[first : first + rows_per_file])
            source = f"s{len(inputs)}"
            path = folder / f"{source}.jsonl"
            lines = (json.dumps(row(c, dice), ensure_ascii=False) + "\n" for c in part)
            encoding = "utf-16" if kind == "UTF-16 file" else "utf-8"
            path.write_text("".join(lines), encoding=encoding)
            known = mapping if kind == "known value" else None
            inputs.append(Input(path=path, source=source, mapping=known, canaries=part))
    dice.shuffle(inputs)
    return inputs


def campaign(sandbox: Sandbox, inputs: Sequence[Input], wanted: Wanted, seed: int) -> Outcome:
    """Ingests every file while it all happens, and then works with what is stored.

    One that was broken off goes on with the file that it was at.
    """
    dice = random.Random(seed)
    events = wanted.events()
    dice.shuffle(events)
    due: dict[int, list[str]] = defaultdict(list)
    for event in events:
        due[dice.randrange(len(inputs))].append(event)
    outcome = Outcome.load(sandbox.folder.parent, seed)
    service = sandbox.serve()
    start_seconds, ingest_seconds = service.wait(), FIRST_GUESS_SECONDS
    for number, given in enumerate(inputs[outcome.num_files :], start=outcome.num_files):
        dice.seed(f"{seed}, {number}")
        file_began = time.monotonic()
        for event in due[number]:
            seconds = dice.uniform(0, start_seconds if event == "start" else ingest_seconds)
            service = _happen(event, seconds, sandbox, service, given, outcome)
        began = time.monotonic()
        if not _ingest(sandbox, given):
            outcome.refused.add(given.source)
        else:
            ingest_seconds = (ingest_seconds + time.monotonic() - began) / 2
        outcome.num_files = number + 1
        outcome.seconds += time.monotonic() - file_began
        outcome.save(sandbox.folder.parent)
        if number % 10 == 9:
            print(f"   {number + 1} of {len(inputs)} files, {dict(outcome.counts)}", flush=True)
    if not outcome.token_rows:
        _work(sandbox, inputs, outcome, dice)
        outcome.save(sandbox.folder.parent)
    service.end(signal.SIGKILL)
    return outcome


def _happen(
    event: str,
    seconds: float,
    sandbox: Sandbox,
    service: Service,
    given: Input,
    outcome: Outcome,
) -> Service:
    """Lets it happen so many seconds after an ingestion, or the service, began."""
    outcome.counts[event] += 1
    if event == "start":
        service.end(signal.SIGKILL)
        service = sandbox.serve()
        time.sleep(seconds)
        service.end(signal.SIGKILL)
    else:
        client = sandbox.client(*given.words)
        time.sleep(seconds)
        outcome.in_the_midst[event] += client.exitcode is None
        if event == "client":
            client.kill()
            client.join()
            return service
        service.end(signal.SIGSEGV if event == "crash" else signal.SIGKILL)
        client.join()
    service = sandbox.serve()
    service.wait()
    return service


def _ingest(sandbox: Sandbox, given: Input) -> bool:
    """Ingests a file undisturbed; whether it was taken."""
    name, client = sandbox.start("client", *given.words, "--json", "--server", sandbox.address)
    client.join()
    unreadable = given.canaries[0].form == "UTF-16 file" and client.exitcode == REFUSED
    assert unreadable or client.exitcode == 0, sandbox.said(name, "err")
    return not unreadable


def _work(sandbox: Sandbox, inputs: Sequence[Input], outcome: Outcome, dice: random.Random) -> None:
    """Everything else that the service does with what it was sent, raw questions included."""
    taken = [given for given in inputs if given.source not in outcome.refused]
    for given in dice.sample(taken, min(2, len(taken))):
        sandbox.run("sources", "duplicates", given.source)
        for canary in dice.sample(given.canaries, 2):
            sandbox.run("sources", "search", given.source, f"Do you know {canary.planted!r}?")
    mix = sandbox.folder / "work" / "mix.yaml"
    shares = [f"  - {{source: {g.source}, role: task, share: 1/{len(taken)}}}\n" for g in taken]
    heading = "name: canaries\nbatch_size: 8\nnum_steps: 8\nmax_length: 256\nsources:\n"
    mix.write_text(heading + "".join(shares), encoding="utf-8")
    plan_id = sandbox.run("mix", "seal", str(mix))
    sandbox.run("mix", "trace", plan_id)
    sandbox.run("audit", "log", "--json")
    outcome.token_rows = sandbox.spell_out_tokens()


def summary(outcome: Outcome, verdicts: Verdicts) -> dict[str, Any]:
    """What was measured, as plain data."""
    return {
        "seed": outcome.seed,
        "canaries": len(verdicts.statuses),
        "token_rows": outcome.token_rows,
        "events": dict(sorted(outcome.counts.items())),
        "in_the_midst": dict(sorted(outcome.in_the_midst.items())),
        "statuses": {s.value: n for s, n in sorted(Counter(verdicts.statuses.values()).items())},
        "by_class_and_form": by_class_and_form(verdicts.statuses),
        "strings_looked_for": len(verdicts.detected),
        "strings_like_a_stand_in": verdicts.num_ambiguous,
        "files": verdicts.num_files,
        "bytes": verdicts.num_bytes,
        "leaks": list(verdicts.leaks),
    }


def by_class_and_form(statuses: Mapping[Canary, Status]) -> dict[str, dict[str, dict[str, int]]]:
    """How many canaries of each class and form came to which end."""
    counts: Counter[tuple[str, str, str]] = Counter(
        (canary.kind, canary.form, status.value) for canary, status in statuses.items()
    )
    return {
        kind: {
            form: {s.value: n for s in Status if (n := counts[kind, form, s.value])}
            for form in FORMS
        }
        for kind in MAKERS
    }


def whole(folder: Path, wanted: Wanted, seed: int) -> tuple[Outcome, Verdicts]:
    """A campaign in a folder and what it came to.

    Raises:
        AssertionError: what is stored is not what the detector makes of it; there is a core file.
    """
    sandbox = Sandbox(folder / "sandbox")
    inputs = write_inputs(folder / "inputs", wanted.canaries, seed)
    outcome = campaign(sandbox, inputs, wanted, seed)
    assert sandbox.core_files() == []
    return outcome, judge(sandbox, inputs, outcome.refused)


def main(arguments: Sequence[str]) -> int:
    """The long form."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults canaries")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--canaries", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100, help="of the service while it ingests")
    parser.add_argument("--starts", type=int, default=10, help="kills while it starts")
    parser.add_argument("--crashes", type=int, default=10, help="signals that dump core")
    parser.add_argument("--client-kills", type=int, default=20)
    parser.add_argument("--list", type=Path, help="JSONL file for those that were not found")
    parser.add_argument("--folder", type=Path, help="kept; a campaign that broke off goes on")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    wanted = Wanted(
        canaries=options.canaries,
        kills=options.kills,
        starts=options.starts,
        crashes=options.crashes,
        client_kills=options.client_kills,
    )
    print(f"== canaries, seed {options.seed}: {wanted}", flush=True)
    with ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rc")))
        outcome, verdicts = whole(folder, wanted, options.seed)
    result = summary(outcome, verdicts) | {
        "minutes": round(outcome.seconds / 60, 1),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.list:
        options.list.write_text("".join(verdicts.overlooked()), encoding="utf-8")
    for kind in ("events", "statuses", "strings_looked_for", "files", "bytes"):
        print(f"   {kind}: {result[kind]}")
    print("\n".join(verdicts.leaks) or "   nothing that was found lies anywhere")
    return bool(verdicts.leaks)
