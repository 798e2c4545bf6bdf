"""Entries: one line of the ledger each, chained by SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]
"""What a body may hold. NaN and infinities are refused: they are not JSON."""

VERSION = 1
GENESIS = "0" * 64
"""What the first entry names as the digest before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Something that happened."""

    sequence: int
    """Its number, from 0, without gaps."""
    time: str
    """When it was written: RFC 3339 in UTC with microseconds."""
    kind: str
    """What happened, such as `plan_sealed`."""
    actor: str
    """Who caused it."""
    body: Mapping[str, JSON]
    """Details; never example text."""
    previous: str
    """Digest of the entry before, 64 zeros for the first."""
    digest: str
    """SHA-256, in hex, of the canonical JSON of everything above and the version."""

    def to_line(self) -> bytes:
        """The line of the ledger file, without its line feed."""
        return canonical_json({**_content(self), "digest": self.digest})


class BrokenChain(ValueError):
    """A line that is not the entry that has to stand there; says what is wrong with it."""


def canonical_json(value: JSON) -> bytes:
    """The one way to write a value: keys sorted, no spaces, ASCII only, no NaN.

    Raises:
        TypeError, ValueError: the value is not JSON.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def make_entry(
    *,
    sequence: int,
    time: datetime,
    kind: str,
    actor: str,
    body: Mapping[str, JSON],
    previous: str,
) -> Entry:
    """The entry with its digest."""
    stamp = time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    draft = Entry(
        sequence=sequence,
        time=stamp,
        kind=kind,
        actor=actor,
        body=body,
        previous=previous,
        digest="",
    )
    return replace(draft, digest=_digest(draft))


def parse_line(line: bytes, *, sequence: int, previous: str) -> Entry:
    """The entry that a line holds, proven to be the one that follows `previous`.

    Raises:
        BrokenChain: anything differs from what `Ledger.append` would have written.
    """
    try:
        record = json.loads(line)
        version = record.pop("version")
        entry = Entry(**record)
        written = entry.to_line()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BrokenChain("is not an entry") from error
    if version != VERSION:
        raise BrokenChain(f"has the unknown version {version!r:.20}")
    if written != line:
        raise BrokenChain("is not canonical JSON")
    if entry.digest != _digest(entry):
        raise BrokenChain("does not match its digest")
    if entry.sequence != sequence:
        raise BrokenChain(f"has the number {entry.sequence} where {sequence} belongs")
    if entry.previous != previous:
        raise BrokenChain("does not follow the entry before it")
    return entry


def _content(entry: Entry) -> dict[str, JSON]:
    return {
        "sequence": entry.sequence,
        "time": entry.time,
        "kind": entry.kind,
        "actor": entry.actor,
        "body": entry.body,
        "previous": entry.previous,
        "version": VERSION,
    }


def _digest(entry: Entry) -> str:
    return hashlib.sha256(canonical_json(_content(entry))).hexdigest()
