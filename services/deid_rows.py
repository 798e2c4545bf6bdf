"""De-identifies one row: text replaced by name of field, everything else left behind."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..mixer.errors import Reason, RecollectError
from .privacy import Deidentifier, Policy

_DIALOGUES = ("messages", "turns", "conversations")
_CONTENTS = ("content", "value", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowOptions:
    """What of a row is read, and what is written."""

    policy: Policy
    key: bytes
    fields: tuple[str, ...] = ("text",)
    """Fields whose text is replaced; of dialogues, `messages` or `turns`, each content."""
    keep: tuple[str, ...] = ("id",)
    """Fields that are copied as they are."""
    identifiers: tuple[str, ...] = ()
    """Fields that name the row's person or account: their values are looked for in its text."""
    subject: str | None = None
    """Field that names whom a row is about: dates and ages of one subject are moved alike."""
    spans: bool = False
    """Whether to write where in the input what was found."""

    @property
    def digest(self) -> str:
        """Equal digest, equal output."""
        key = hashlib.sha256(b"rows\x00" + self.key).hexdigest()
        read = [self.fields, self.keep, self.identifiers, self.subject, self.spans]
        parts = [self.policy.fingerprint, key, *read]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class RowDeidentifier:
    """Turns a line of JSON into another, or into a reason why not."""

    def __init__(self, options: RowOptions) -> None:
        self._options = options
        self._deidentifier = Deidentifier(options.policy, options.key)
        self._deidentifier.prove()

    def __call__(self, line: bytes) -> Answer:
        """(the line to write, findings by type), or (None, reason and message)."""
        try:
            row = self._read(line)
            new, counts = self.replaced(row)
            written = _written(new)
        except RecollectError as error:
            return None, {
                "reason": error.reason.name,
                "where": error.where or "",
                "message": error.message,
            }
        return written, counts

    def _read(self, line: bytes) -> Mapping[str, Any]:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise RecollectError(Reason.INPUT_ENCODING, "the row is not UTF-8") from None
        try:
            row = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            raise RecollectError(Reason.INPUT_MALFORMED, "the row is no JSON") from None
        if not isinstance(row, dict):
            raise RecollectError(Reason.INPUT_MALFORMED, "the row is no JSON object")
        return row

    def replaced(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        """The row to write, and findings by type.

        Raises:
            RecollectError: INPUT_EMPTY or INPUT_MALFORMED where it holds no text; what
                `Deidentifier.deidentify` raises.
        """
        options = self._options
        places = list(_texts(row, options.fields))
        if not places:
            raise RecollectError(
                Reason.INPUT_EMPTY, f"none of the fields {', '.join(options.fields)} holds text"
            )
        known = [str(row[name]) for name in options.identifiers if row.get(name)]
        subject = row.get(options.subject) if options.subject else None
        whose = str(subject) if subject else None
        previews = self._deidentifier.explain([text for _, text in places], known, whose)
        new: dict[str, Any] = {name: row[name] for name in options.keep if name in row}
        counts: Counter[str] = Counter()
        spans = []
        for (path, _), preview in zip(places, previews, strict=True):
            _put(new, row, path, preview.text)
            for replaced in preview.replacements:
                found = replaced.finding
                counts[found.entity_type] += 1
                where = {"field": _spelled(path)} if path != ("text",) else {}
                spans.append(
                    {
                        **where,
                        "start": found.start,
                        "end": found.end,
                        "class": found.entity_type,
                        "score": found.score,
                        "stage": found.stage,
                        "surrogate": replaced.surrogate,
                    }
                )
        if options.spans:
            new["spans"] = spans
        new["findings"] = dict(sorted(counts.items()))
        policy = options.policy
        new["policy"] = f"{policy.name} {policy.version} {policy.fingerprint[:12]}"
        return new, dict(counts)


Place = tuple[Any, ...]
Answer = tuple[str | None, dict[str, Any]]
"""The line to write and findings by type; or None, with reason and message."""


def _written(row: Mapping[str, Any]) -> str:
    """The row as a line of JSON in UTF-8."""
    try:
        line = json.dumps(row, ensure_ascii=False)
        line.encode()
    except (UnicodeEncodeError, RecursionError):
        raise RecollectError(
            Reason.INPUT_ENCODING, "a field that is kept cannot be written as UTF-8"
        ) from None
    return line


def _texts(row: Mapping[str, Any], fields: Sequence[str]) -> Iterator[tuple[Place, str]]:
    """Where text stands in a row, and the text."""
    found = False
    for name in fields:
        if isinstance(row.get(name), str):
            found = True
            yield (name,), row[name]
    if found:
        return
    for name in _DIALOGUES:
        turns = row.get(name)
        if not isinstance(turns, list):
            continue
        for number, turn in enumerate(turns):
            key = next((k for k in _CONTENTS if isinstance(turn, dict) and k in turn), None)
            if key is None or not isinstance(turn[key], str):
                raise RecollectError(
                    Reason.INPUT_MALFORMED, "a turn holds no text", where=f"{name}[{number}]"
                )
            yield (name, number, key), turn[key]
        return


def _put(new: dict[str, Any], row: Mapping[str, Any], path: Place, text: str) -> None:
    if len(path) == 1:
        new[path[0]] = text
        return
    name, number, key = path
    old = row[name][number]
    # A role is one of a few words; what else a turn holds nobody looked at.
    role = {k: old[k] for k in ("role", "from", "speaker") if isinstance(old.get(k), str)}
    new.setdefault(name, []).append({**role, key: text})


def _spelled(path: Place) -> str:
    return str(path[0]) if len(path) == 1 else f"{path[0]}[{path[1]}].{path[2]}"
