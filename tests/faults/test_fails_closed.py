"""De-identification fails closed: every fault, at every entry point, is a refusal and no leak.

Each fault is set off by a word in one row of a file; the rows between them are sound. What is
broken ends in quarantine or is refused by its type, the sound rows come through, nothing of the
text is on the disk, and every fault was really set off.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recollect.services.privacy import scan_bytes

from .sabotage import BACKTRACKING, COUNTS

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PROGRAM = Path(__file__).with_name("sabotage.py")
MAX_CHARACTERS = 2_000
POLICY = f"""
name: faults
version: "1"
entities: all
regex_timeout_seconds: 0.4
max_characters: {MAX_CHARACTERS}
"""
SERVED = (f"privacy.max_characters={MAX_CHARACTERS}", "privacy.regex_timeout_seconds=0.4")


def _surname(fault: str) -> str:
    return f"Quex{fault}"


def _text(fault: str, more: str = "") -> str:
    name = _surname(fault)
    return f"I am Rosalind {name}, {name.lower()}@mail.example.com. {more or fault}"


BROKEN_RECOGNIZERS = {
    "zqexception": _text("zqexception"),
    "zqmemory": _text("zqmemory"),
    "zqrecursion": _text("zqrecursion"),
    "zqquasi": _text("zqquasi", "Mr Rosalind Quexzqquasi zqquasi was born in Leeds in 1971."),
    "zqtimeout": _text("zqtimeout", BACKTRACKING),
    "zqtagger": _text("zqtagger"),
    "zqnan": _text("zqnan"),
    "zqbeyond": _text("zqbeyond"),
    "zqoutside": _text("zqoutside"),
    "zqbefore": _text("zqbefore"),
    # The same where the text has a shadow, and offsets are looked up.
    "zqbeyond ": _text("zqbeyond", "zqbeyond \N{EM DASH} caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    "zqstandin": _text("zqstandin", "Write to zqstandin@mail.example.com"),
    "zqsame": _text("zqsame", "Write to zqsame@mail.example.com"),
}
"""What is set off by a word: fault → text."""


def _line(number: int, text: str) -> bytes:
    return json.dumps({"id": number, "text": text}, ensure_ascii=False).encode()


def _cut(number: int) -> bytes:
    """A row that ends in the middle of a character."""
    whole = _line(number, _text("cut", "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}"))
    return whole[: whole.index(b"\xab")]


BROKEN_ROWS: Mapping[str, Callable[[int], bytes]] = {
    "cut": _cut,
    "undecodable": lambda n: _line(n, _text("undecodable")).replace(b"mail", b"m\xff\xfel"),
    "no-json": lambda n: _line(n, _text("no-json"))[:-2],
    "no-object": lambda n: b"[" + _line(n, _text("no-object")) + b"]",
    "nested": lambda n: b"[" * 100_000,
    "huge-number": lambda n: b'{"text": "I am Quexhuge-number", "id": ' + b"9" * 5_000 + b"}",
    "surrogate": lambda n: _line(n, _text("surrogate")).replace(b"mail", b"m\\ud800l"),
    "no-text": lambda n: json.dumps({"id": n, "body": _text("no-text")}).encode(),
}
"""What is wrong with a row before any recognizer reads it: fault → row."""

DEATHS = {"zqexception": _text("zqexception"), "zqdies": _text("zqdies")}
"""What is tried where processes die: the first is for comparison."""
_FAULTS = (*BROKEN_RECOGNIZERS, *BROKEN_ROWS, "long", "huge", "zqdies", "zqwaits")
SECRETS = sorted({_surname(fault.strip()) for fault in _FAULTS})


@dataclass
class Input:
    """A file of sound and broken rows, by their numbers from 1."""

    lines: list[bytes] = field(default_factory=list)
    sound: list[int] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    """Row → fault."""

    def add(self, fault: str, line: bytes) -> None:
        number = len(self.lines) + 1
        self.lines.append(line)
        self.broken[number] = fault
        self.sound.append(number + 1)
        self.lines.append(_line(number + 1, f"I am Rosalind Goodfellow, and {number} is well."))

    @property
    def next_number(self) -> int:
        return len(self.lines) + 1


def make_input(recognizers: Mapping[str, str] = BROKEN_RECOGNIZERS, *, first: str = "") -> Input:
    """Every fault once; before them a sound row with the text `first`, if it is given."""
    made = Input()
    if first:
        made.lines.append(_line(1, first))
        made.sound.append(1)
    for fault, text in recognizers.items():
        made.add(fault, _line(made.next_number, text))
    for fault, line in BROKEN_ROWS.items():
        made.add(fault, line(made.next_number))
    made.add("long", _line(made.next_number, _text("long", "long " * MAX_CHARACTERS)))
    return made


class Place:
    """A folder in which everything lies that a process under test can write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts = folder.parent / f"{folder.name}.counts"
        self.policy = folder.parent / f"{folder.name}.yaml"
        self.policy.write_text(POLICY)
        (folder / "tmp").mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith("RECOLLECT_")}
        folders = {
            "TMPDIR": self.folder / "tmp",
            "HF_HOME": self.folder / "hf",
            COUNTS: self.counts,
        }
        return own | {name: str(path) for name, path in folders.items()}

    def start(self, *command: object, broken: bool = True, **more: str) -> subprocess.Popen[bytes]:
        """Runs the command line, with broken recognizers or without; its log lies in the folder."""
        program = [PROGRAM] if broken else ["-m", "recollect.services"]
        with (self.folder / f"{len(list(self.folder.glob('*.log')))}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *program, *map(str, command)],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment | more,
            )

    def run(self, *command: object, broken: bool = True, **more: str) -> Any:
        """What a command that succeeds prints as JSON, if anything."""
        process = self.start(*command, broken=broken, **more)
        output = process.communicate(timeout=300)[0]
        (self.folder / f"{process.pid}.out").write_bytes(output)
        logs = b"".join(path.read_bytes() for path in self.folder.glob("*.log"))
        assert process.returncode == 0, logs.decode(errors="replace")
        return json.loads(output) if output.strip() else None

    def hits(self) -> Counter[str]:
        """How often each fault was set off."""
        return Counter(self.counts.read_text().split())

    def holds_none_of(self, secrets: list[str]) -> None:
        found = {(leak.file, secrets[leak.value]) for leak in scan_bytes(self.folder, secrets)}
        assert found == set()


@dataclass(frozen=True)
class Outcome:
    """What became of an input."""

    place: Place
    given: Input
    come_out: list[int]
    """Rows that were stored or written."""
    kept_out: dict[int, str]
    """Rows in quarantine or refused, and the reason."""


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ingested(place: Place) -> Outcome:
    """Through a real service process, and the command that sends."""
    given = make_input()
    # What can be read, and no message can hold.
    huge = _text("huge", "long " * 3_150_000)
    given.add("huge", _line(given.next_number, huge))
    file = place.folder.parent / "ingested.jsonl"
    file.write_bytes(b"\n".join(given.lines))
    overrides = ("data_folder=data", "teacher.threads=1", *SERVED)
    options = [word for override in overrides for word in ("--set", override)]
    service = place.start("serve", "--json", *options)
    try:
        assert service.stdout is not None
        text = b""
        while not text.rstrip().endswith(b"}"):
            read_now = os.read(service.stdout.fileno(), 4096)
            assert read_now, (place.folder / "0.log").read_text()
            text += read_now
        to = ("--server", json.loads(text)["address"], "--json")
        send = ("ingest", file, "--source", "chats", "--skip-bad-rows")
        told = place.run(*send, *to, broken=False)
        origins = place.run("audit", "origins", "--file", file.name, *to, broken=False)
        listed = place.run("quarantine", "list", "chats", *to, broken=False)
    finally:
        service.terminate()
        service.communicate(timeout=60)
    assert told["num_quarantined"] == len(listed["rows"]) == len(told["quarantined"])
    kept_out = {item["row"]: item["reason"] for item in listed["rows"]}
    rejected = [line for line in told["intake"] if line.startswith("rejected")]
    num_rejected = sum(int(line.split(": ")[2].split()[0]) for line in rejected)
    silent = [n for n in given.broken if n not in kept_out]
    assert num_rejected == len(silent) == len(BROKEN_ROWS) + 1, rejected
    return Outcome(
        place, given, [o["row"] for o in origins], kept_out | dict.fromkeys(silent, "rejected")
    )


def applied(place: Place) -> Outcome:
    """`recollect deid apply`."""
    given = make_input()
    return _written(place, given, place.run(*_apply(place, given), "--json"))


def applied_by_processes_that_die(place: Place) -> Outcome:
    """The same with two processes: one is killed from outside, one dies of a row."""
    given = make_input(DEATHS, first=_text("zqwaits"))
    process = place.start(*_apply(place, given), "--workers", 2, "--json")
    waiting = Path(f"{place.counts}.pid")
    deadline = time.monotonic() + 120
    while not (waiting.exists() and waiting.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(int(waiting.read_text()), signal.SIGKILL)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, (place.folder / "0.log").read_text()
    return _written(place, given, json.loads(output))


def _apply(place: Place, given: Input) -> tuple[object, ...]:
    file = place.folder.parent / "applied.jsonl"
    file.write_bytes(b"\n".join(given.lines))
    return ("deid", "apply", file, place.folder / "safe.jsonl", "--policy", place.policy)


def _written(place: Place, given: Input, told: Mapping[str, Any]) -> Outcome:
    lost = read(place.folder / "safe.jsonl.quarantine.jsonl")
    assert told["num_written"] == len(given.sound)
    assert sum(told["quarantined"].values()) == len(lost)
    come_out = [row["id"] for row in read(place.folder / "safe.jsonl")]
    return Outcome(place, given, come_out, {entry["row"]: entry["reason"] for entry in lost})


def mapped(place: Place) -> Outcome:
    """`DatasetDeidentifier`, with what Python can hold of the faults."""
    given = Input()
    rows: list[dict[str, Any]] = []
    long = _text("long", "long " * MAX_CHARACTERS)
    for fault, text in {**BROKEN_RECOGNIZERS, "long": long}.items():
        given.add(fault, b"")
        rows += [{"text": text}, {"text": "I am Rosalind Goodfellow"}]
    given.add("surrogate", b"")
    rows += [{"text": _text("surrogate") + "\ud800"}, {"text": "Another is well."}]
    given.add("undecodable", b"")
    rows += [{"hex": b"I am Quexundecodable \xff\xfe".hex()}, {"text": "And this one too."}]
    for number, row in enumerate(rows, 1):
        row["id"] = number
    source = place.folder.parent / "mapped.json"
    source.write_text(json.dumps(rows))
    target, quarantine = place.folder / "safe.jsonl", place.folder / "quarantine.jsonl"
    place.run("dataset", source, target, quarantine, FAULT_POLICY=str(place.policy))
    lost = {entry["row"] + 1: entry["reason"] for entry in read(quarantine)}
    return Outcome(place, given, [row["id"] for row in read(target)], lost)


ENTRIES = {
    "ingest": ingested,
    "deid apply": applied,
    "deid apply --workers 2": applied_by_processes_that_die,
    "DatasetDeidentifier": mapped,
}


@pytest.fixture(scope="module", params=ENTRIES)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return ENTRIES[request.param](Place(tmp_path_factory.mktemp("faults") / "place"))


def test_every_fault_is_kept_out_and_every_sound_row_comes_through(outcome: Outcome) -> None:
    faults = outcome.given.broken
    assert {faults[row] for row in outcome.kept_out} == set(faults.values())
    assert outcome.come_out == outcome.given.sound
    for row, reason in outcome.kept_out.items():
        assert not any(secret.lower() in reason.lower() for secret in SECRETS), faults[row]


def test_every_fault_was_really_set_off(outcome: Outcome) -> None:
    hits, broken = outcome.place.hits(), outcome.given.broken.values()
    words = {fault.strip() for fault in broken if fault.startswith("zq")}
    if "zqdies" in words:
        # Read by the process that was killed from outside, and again by another.
        assert hits.pop("zqwaits") == 2
    assert set(hits) == words
    if "zqbeyond" in words:
        # Once in a text that has a shadow, and once without.
        assert hits["zqbeyond"] >= 2


def test_nothing_of_any_text_is_on_the_disk(outcome: Outcome) -> None:
    outcome.place.holds_none_of([*SECRETS, *map(str.lower, SECRETS), "Goodfellow"])


def test_the_scan_would_have_found_it(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(make_input().lines[0])
    assert scan_bytes(tmp_path, SECRETS) != []
