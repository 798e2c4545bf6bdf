"""The quarantine: rows that were kept out of the store, as the ledger tells it.

A row is known by its pointer alone. It enters with the entry of an ingest, or with a page behind
it, and leaves when it was tried again and accepted, or when somebody gave it up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...mixer.example import Pointer
from ..ledger import Entry, Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantining:
    """Why and when rows were kept out; rows of one entry and reason share it."""

    reason: str
    """Never the text."""
    ingest: int
    """Sequence number of the entry of the ingest that kept them out."""
    time: str
    """When that was recorded: RFC 3339 in UTC."""
    mapping_digest: str | None
    """Of the mapping that they were read with; empty if there was none, None if nobody knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedRow:
    """A row that is in quarantine."""

    pointer: Pointer
    why: Quarantining


class Quarantine:
    """What is in quarantine, folded from the entries of the ledger."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, dict[int, Quarantining]]] = {}
        """Source, name of the file, row."""
        self._num_unlisted: dict[str, int] = {}

    def apply(self, entry: Entry) -> None:
        """Takes in what an entry says; entries of other kinds say nothing here."""
        body: Mapping[str, Any] = entry.body
        if entry.kind == Kind.INGEST_FINISHED:
            listed = body.get("quarantined", [])
            self._enter(entry, entry.sequence, listed)
            self._count_unlisted(body["source"], int(body.get("num_quarantined", 0)) - len(listed))
        elif entry.kind == Kind.ROWS_QUARANTINED:
            self._enter(entry, int(body["ingest"]), body["rows"])
            self._count_unlisted(body["source"], -len(body["rows"]))
        elif entry.kind == Kind.QUARANTINE_RELEASED:
            for group in body["rows"]:
                self._leave(body["source"], group["file"], group["rows"])
        elif entry.kind == Kind.QUARANTINE_DROPPED:
            self._drop(body["source"], body["file"], body["row"])

    def holds(self, source: str, pointer: Pointer) -> bool:
        """Whether a row is in quarantine."""
        return pointer.row in self._rows.get(source, {}).get(pointer.file, {})

    def rows(self, source: str) -> Iterator[QuarantinedRow]:
        """The rows of a source that entries point to, by name of the file and row."""
        for file, rows in sorted(self._rows.get(source, {}).items()):
            for row, why in sorted(rows.items()):
                yield QuarantinedRow(pointer=Pointer(file=file, row=row), why=why)

    def num_unlisted(self, source: str) -> int:
        """Examples of a source that are in quarantine and that no entry points to."""
        return self._num_unlisted.get(source, 0)

    def count(self, source: str) -> int:
        """How many are in quarantine: rows that entries point to, and examples that none does."""
        files = self._rows.get(source, {})
        return sum(len(rows) for rows in files.values()) + self.num_unlisted(source)

    def _enter(self, entry: Entry, ingest: int, listed: list[Mapping[str, Any]]) -> None:
        files = self._rows.setdefault(str(entry.body["source"]), {})
        shared: dict[str, Quarantining] = {}
        told = entry.body.get("mapping_digest")
        mapping = told if isinstance(told, str) else None
        for item in listed:
            reason = str(item["reason"])
            if reason not in shared:
                shared[reason] = Quarantining(
                    reason=reason, ingest=ingest, time=entry.time, mapping_digest=mapping
                )
            files.setdefault(str(item["file"]), {})[int(item["row"])] = shared[reason]

    def _count_unlisted(self, source: str, change: int) -> None:
        self._num_unlisted[source] = max(0, self.num_unlisted(source) + change)

    def _leave(self, source: str, file: str, rows: list[int]) -> None:
        held = self._rows.get(source, {}).get(file, {})
        for row in rows:
            held.pop(row, None)

    def _drop(self, source: str, file: str | None, row: int | None) -> None:
        files = self._rows.get(source, {})
        if file is None:
            files.clear()
            self._num_unlisted.pop(source, None)
        elif row is None:
            files.pop(file, None)
        else:
            self._leave(source, file, [row])
