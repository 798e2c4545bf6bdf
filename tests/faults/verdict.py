"""Verdicts: what became of each canary, and where one lies that should not.

Whether one was found is told by a detector of this process, with the key of the service: what that
one takes out of a text has to be nowhere. What the service stored is compared with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as parquet

from recollect.mixer.errors import RecollectError
from recollect.mixer.example import messages_to_json
from recollect.services.commands.ingest import load_mapping
from recollect.services.intake import read_examples
from recollect.services.privacy import Deidentifier, Policy, scan_bytes
from recollect.services.privacy.needles import Needles, lowered, spellings

from .canary import Canary

if TYPE_CHECKING:
    from .canaries import Input
    from .sandbox import Sandbox


NUMBERS = frozenset({"phone", "card", "IBAN", "SSN", "account", "order", "IP address"})


class Status(StrEnum):
    """What became of a canary."""

    FOUND = "found"
    """Nothing that tells it is left in the text."""
    PARTLY = "partly"
    """It is broken up, but a part that tells it is left: a surname, half of the digits."""
    OVERLOOKED = "overlooked"
    """It is there whole."""
    QUARANTINED = "quarantined"
    """Its row was refused by the service, and stored nowhere."""
    REFUSED = "refused"
    """Its file was refused by the client, and sent nowhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """What a campaign came to."""

    statuses: Mapping[Canary, Status]
    texts: Mapping[Canary, str]
    """What a text with a canary became; empty where it was refused."""
    detected: tuple[str, ...]
    """All that has to be nowhere."""
    num_ambiguous: int
    """Strings that are left out, as a stand-in of another row says the same."""
    leaks: tuple[str, ...]
    """Where one of the detected lies: class, form, file and how it is spelt there."""
    num_files: int
    num_bytes: int

    def overlooked(self) -> Iterator[str]:
        """A line of JSON for each canary that was not found, with the text that it is left in."""
        for canary, status in self.statuses.items():
            if status in (Status.PARTLY, Status.OVERLOOKED):
                told = {"class": canary.kind, "form": canary.form, "status": status.value}
                shown = {"planted": canary.planted, "text": self.texts[canary]}
                yield json.dumps(told | shown, ensure_ascii=False) + "\n"


def judge(sandbox: Sandbox, inputs: Sequence[Input], refused: Collection[str]) -> Verdicts:
    """Reads every input again, asks a detector, and scans the sandbox.

    Raises:
        AssertionError: what is stored is not what the detector makes of it.
    """
    key = (sandbox.data / "keys" / "surrogate.key").read_bytes()
    deidentifier = Deidentifier(Policy(), key)
    texts: dict[Canary, str] = {}
    statuses: dict[Canary, Status] = {}
    for given in inputs:
        if given.source in refused:
            ends = dict.fromkeys(given.canaries, Status.REFUSED)
            statuses |= ends
            texts |= dict.fromkeys(ends, "")
            continue
        after = _after(given, deidentifier)
        assert _stored(sandbox.data, given.source) == set(filter(None, after))
        for canary, text in zip(given.canaries, after, strict=True):
            texts[canary] = _spoken(text)
            if not text:
                statuses[canary] = Status.QUARANTINED
    surviving, num_ambiguous, ambiguous = _surviving(texts)
    for canary in texts:
        statuses.setdefault(canary, _status(canary, surviving[canary], texts[canary]))
    owners = {
        string: canary
        for canary in texts
        for string in canary.strings
        if string not in surviving[canary] and string not in ambiguous
    }
    detected = tuple(owners)
    leaks = (
        f"{owners[detected[leak.value]].kind}, {owners[detected[leak.value]].form}: "
        f"{leak.file} ({leak.form})"
        for leak in scan_bytes(sandbox.folder, detected)
    )
    sizes = [path.stat().st_size for path in sandbox.folder.rglob("*") if path.is_file()]
    return Verdicts(
        statuses={canary: statuses[canary] for canary in sorted(texts, key=lambda c: c.number)},
        texts=texts,
        detected=detected,
        num_ambiguous=num_ambiguous,
        leaks=tuple(leaks),
        num_files=len(sizes),
        num_bytes=sum(sizes),
    )


def _after(given: Input, deidentifier: Deidentifier) -> list[str]:
    """The messages of each row as they may be stored; empty where a row is quarantined."""
    found = []
    for raw in read_examples(str(given.path), load_mapping(given.mapping)):
        try:
            clean = deidentifier.deidentify(raw.messages, raw.known_values, raw.subject)
        except RecollectError:
            found.append("")
        else:
            found.append(messages_to_json(clean.messages))
    return found


def _stored(data: Path, source: str) -> set[str]:
    segments = sorted((data / "segments" / source).glob("*.parquet"))
    tables = [parquet.read_table(path, columns=["messages"]) for path in segments]
    return {text for table in tables for text in table.column("messages").to_pylist()}


def _spoken(messages: str) -> str:
    """The text of messages in JSON, in which an escape of the canary's own stays as it was."""
    return "\n\n".join(m["content"] for m in json.loads(messages)) if messages else ""


def _status(canary: Canary, surviving: Collection[str], text: str) -> Status:
    if canary.planted in surviving or canary.value in surviving:
        return Status.OVERLOOKED
    return Status.PARTLY if surviving or _half_is_left(canary, text) else Status.FOUND


def _half_is_left(canary: Canary, text: str) -> bool:
    """Whether half of the digits of a number still stand there, three or more together.

    Not so of dates: a moved one may have its year in common with what it stands for.
    """
    if canary.kind not in NUMBERS:
        return False
    pieces = canary.planted.split("\n") if canary.form == "line break" else [canary.value]
    runs = [run for piece in pieces for run in re.findall(r"\d+", piece)]
    left = sum(len(run) for run in runs if len(run) >= 3 and run in text)
    return 2 * left >= sum(map(len, runs))


def _surviving(
    texts: Mapping[Canary, str],
) -> tuple[Mapping[Canary, frozenset[str]], int, frozenset[str]]:
    """The strings of each canary that its text still holds; those that only other texts hold."""
    strings = [(canary, string) for canary in texts for string in canary.strings]
    everything = _read("\n\n".join(texts.values()))
    hits = {place for place, _ in Needles([s for _, s in strings]).found(everything)}
    surviving: dict[Canary, set[str]] = {canary: set() for canary in texts}
    ambiguous = set()
    for place in hits:
        canary, string = strings[place]
        own = _read(texts[canary])
        if any(needle in own for needle, _ in spellings(string)):
            surviving[canary].add(string)
        else:
            ambiguous.add(string)
    frozen = {canary: frozenset(held) for canary, held in surviving.items()}
    return frozen, len(ambiguous), frozenset(ambiguous)


def _read(text: str) -> bytes:
    """What a scan can read in a text: UTF-16 that was taken for Latin-1 is letters and zeros."""
    narrow = text.replace("\0", "") if "\0" in text else ""
    return lowered(f"{text}\n{narrow}".encode(errors="surrogatepass"))
