"""What an ingestion has done so far: for its answers, and for the ledger at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..mixer.example import Pointer
from ..v1 import store_pb2 as wire
from .ledger import JSON

MAX_POINTERS = 1000
"""Rows that one entry of the ledger points to; more of them are told in further entries."""
MAX_LISTED = 100 * MAX_POINTERS
"""Quarantined examples of an ingestion that the ledger points to; it counts all of them."""
_MAX_FILE_CHARACTERS = 255
"""Longest name of an input in the ledger: what file systems allow."""


def ledger_pointer(pointer: Pointer) -> Pointer:
    """A pointer as the ledger has it."""
    return Pointer(file=pointer.file[:_MAX_FILE_CHARACTERS], row=pointer.row)


def findings_to_wire(findings: Counter[str]) -> list[wire.FindingCount]:
    """Counts by type, sorted by type."""
    return [
        wire.FindingCount(entity_type=entity_type, count=count)
        for entity_type, count in sorted(findings.items())
    ]


@dataclass(kw_only=True, slots=True)
class Tally:
    """The counts of one ingestion, and the rows that it kept out."""

    mapping_digest: str | None = None
    """Of the mapping that the rows were read with; None if nobody said."""
    num_read: int = 0
    num_stored: int = 0
    num_duplicates: int = 0
    num_characters: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    num_quarantined: int = 0
    quarantined: list[tuple[Pointer, str]] = field(default_factory=list)
    """The first of them, for the ledger."""
    unreported: list[tuple[Pointer, str]] = field(default_factory=list)
    """Those that no answer has named yet."""
    accepted: set[Pointer] = field(default_factory=set)
    """Rows in quarantine of which this ingestion took an example."""
    refused: set[Pointer] = field(default_factory=set)
    """Rows in quarantine of which this ingestion kept an example out again."""

    def quarantine(self, pointer: Pointer, reason: str) -> None:
        """Counts an example that was kept out."""
        self.num_quarantined += 1
        self.unreported.append((pointer, reason))
        if len(self.quarantined) < MAX_LISTED:
            self.quarantined.append((pointer, reason))

    @property
    def released(self) -> list[Pointer]:
        """Rows that leave the quarantine: all their examples were taken."""
        return sorted(self.accepted - self.refused, key=lambda p: (p.file, p.row))

    def response(self, *, done: bool = False) -> wire.IngestResponse:
        """An answer; it names the rows that were kept out since the last one."""
        unreported, self.unreported = self.unreported, []
        return wire.IngestResponse(
            num_read=self.num_read,
            num_stored=self.num_stored,
            num_duplicates=self.num_duplicates,
            num_quarantined=self.num_quarantined,
            num_characters=self.num_characters,
            findings=findings_to_wire(self.findings),
            quarantined=[
                wire.Quarantined(pointer=wire.Pointer(file=p.file, row=p.row), reason=reason)
                for p, reason in unreported
            ],
            done=done,
            num_released=len(self.accepted - self.refused) if done else 0,
        )

    def body(self, source: str) -> dict[str, JSON]:
        """The entry of the ledger, with the first page of the rows that were kept out."""
        return {
            "source": source,
            "num_read": self.num_read,
            "num_stored": self.num_stored,
            "num_duplicates": self.num_duplicates,
            "num_quarantined": self.num_quarantined,
            "quarantined": _listed(self.quarantined[:MAX_POINTERS]),
            "findings": dict(sorted(self.findings.items())),
            **self._mapping(),
        }

    def _mapping(self) -> dict[str, JSON]:
        return {} if self.mapping_digest is None else {"mapping_digest": self.mapping_digest}

    def further_pages(self, source: str, ingest: int) -> Iterator[dict[str, JSON]]:
        """Entries for the rest of the rows that were kept out."""
        for first in range(MAX_POINTERS, len(self.quarantined), MAX_POINTERS):
            page = self.quarantined[first : first + MAX_POINTERS]
            rows = _listed(page)
            yield {"source": source, "ingest": ingest, "rows": rows, **self._mapping()}

    def releases(self, source: str, ingest: int) -> Iterator[dict[str, JSON]]:
        """Entries for the rows that leave the quarantine."""
        released = self.released
        for first in range(0, len(released), MAX_POINTERS):
            page = released[first : first + MAX_POINTERS]
            yield {
                "source": source,
                "ingest": ingest,
                "num_rows": len(page),
                "rows": _by_file(page),
            }


def _listed(rows: Iterable[tuple[Pointer, str]]) -> list[JSON]:
    return [{"file": p.file, "row": p.row, "reason": reason} for p, reason in rows]


def _by_file(pointers: Iterable[Pointer]) -> list[JSON]:
    files: dict[str, list[int]] = {}
    for pointer in pointers:
        files.setdefault(pointer.file, []).append(pointer.row)
    return [{"file": file, "rows": rows} for file, rows in files.items()]
