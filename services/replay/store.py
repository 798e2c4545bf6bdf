"""The replay store: what is registered, committed and readable, as the ledger tells it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example, Message, Pointer
from ..durable import storage
from ..ledger import JSON, Entry, Kind, Ledger
from .identity import IdentitySet
from .key import StoreKey
from .manifest import SegmentManifest, total_findings
from .quarantine import QuarantinedRow
from .segment import read_examples, read_table
from .snapshot import Holdings, Snapshot, unknown_source
from .source import Source
from .writer import MAX_CHARACTERS, MAX_ROWS, PENDING, SegmentWriter, publish

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSummary:
    """A source with what it holds."""

    source: Source
    num_examples: int
    num_segments: int
    num_characters: int
    num_bytes: int
    num_quarantined: int
    """In quarantine now, as the ledger tells it."""
    findings: tuple[tuple[str, int], ...]
    """What was found and replaced: (entity type, count), sorted by type."""


class ReplayStore:
    """The segments of a data folder; safe to use from several threads."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        """Use `ReplayStore.open`."""
        self.folder = folder
        self._ledger = ledger
        self._mutex = threading.RLock()
        self._holdings = Holdings()
        self._identities: dict[str, IdentitySet] = {}
        self._writing: set[str] = set()
        self._latest: Snapshot | None = None
        for entry in ledger.entries():
            self._holdings.apply(entry)
        self.num_files_removed = self._clean()
        """Files of broken ingests that `open` removed."""
        self._key = StoreKey.open(folder, create=not self._holdings.segments)

    @classmethod
    def open(cls, folder: Path, ledger: Ledger) -> ReplayStore:
        """Opens the store of a data folder, whose ledger is the record of what it holds.

        Raises:
            RecollectError: LEDGER_CORRUPT where there are segments that the ledger does not know;
                STORAGE_CORRUPT where the store key is gone; STORAGE_FAILED.
        """
        return cls(Path(folder), ledger)

    def register(self, source: Source, *, actor: str = "service") -> bool:
        """Registers a source; False where it is there with the same properties.

        A source that holds no example yet may change its properties: nothing depends on them.

        Raises:
            RecollectError: SOURCE_CONFLICT where it holds examples under other properties.
        """
        with self._mutex:
            present = self._holdings.sources.get(source.name)
            if present is None or (present != source and not self._holds(source.name)):
                entry = self._ledger.append(Kind.SOURCE_REGISTERED, source.to_body(), actor=actor)
                self._holdings.apply(entry)
                return True
            if present != source:
                raise RecollectError(
                    Reason.SOURCE_CONFLICT,
                    f"source {source.name} has another {_difference(present, source)} already",
                    fix="Register it under another name: what was ingested keeps its properties.",
                )
            return False

    def _holds(self, name: str) -> bool:
        return any(segment.source == name for segment in self._holdings.segments)

    def source(self, name: str) -> Source:
        """The properties of a source.

        Raises:
            RecollectError: SOURCE_UNKNOWN.
        """
        with self._mutex:
            if name not in self._holdings.sources:
                raise unknown_source(name)
            return self._holdings.sources[name]

    def record(self, kind: Kind, body: Mapping[str, JSON], *, actor: str = "service") -> Entry:
        """Records how an ingest ended, or what entered or left the quarantine."""
        with self._mutex:
            entry = self._ledger.append(kind, body, actor=actor)
            self._holdings.apply(entry)
            return entry

    def is_quarantined(self, source: str, pointer: Pointer) -> bool:
        """Whether a row is in quarantine."""
        with self._mutex:
            return self._holdings.quarantine.holds(source, pointer)

    def quarantined(self, source: str) -> tuple[list[QuarantinedRow], int]:
        """The rows of a source in quarantine, and how many more are that no entry points to.

        Raises:
            RecollectError: SOURCE_UNKNOWN.
        """
        with self._mutex:
            self.source(source)
            quarantine = self._holdings.quarantine
            return list(quarantine.rows(source)), quarantine.num_unlisted(source)

    def drop_quarantined(
        self, source: str, file: str | None, row: int | None, *, why: str, actor: str = "service"
    ) -> tuple[int, int]:
        """Gives up rows in quarantine: those of a source, of one of its files, or one row.

        Args:
            source: their source.
            file: the name of the file as the ledger has it; all files, if None.
            row: the row of that file; all of its rows, if None.
            why: why nobody will try them again; it is stored as it is.
            actor: who gave them up.

        Returns:
            How many rows, and how many examples that no entry points to. Of 0 nothing is recorded.

        Raises:
            RecollectError: SOURCE_UNKNOWN; STORAGE_FULL; STORAGE_FAILED.
        """
        with self._mutex:
            rows, num_unlisted = self.quarantined(source)
            num_rows = sum(
                file in (None, r.pointer.file) and row in (None, r.pointer.row) for r in rows
            )
            num_unlisted = num_unlisted if file is None else 0
            if num_rows or num_unlisted:
                body: dict[str, JSON] = {"source": source, "file": file, "row": row, "why": why}
                counts = {"num_rows": num_rows, "num_unlisted": num_unlisted}
                self.record(Kind.QUARANTINE_DROPPED, body | counts, actor=actor)
            return num_rows, num_unlisted

    def writer(
        self,
        source: str,
        *,
        actor: str = "service",
        max_rows: int = MAX_ROWS,
        max_characters: int = MAX_CHARACTERS,
    ) -> SegmentWriter:
        """A writer for a registered source; a source has one at a time.

        Raises:
            RecollectError: SOURCE_UNKNOWN; STORAGE_LOCKED while another ingest writes to it.
        """
        with self._mutex:
            if source not in self._holdings.sources:
                raise unknown_source(source)
            if source in self._writing:
                raise RecollectError(
                    Reason.STORAGE_LOCKED,
                    f"another ingest is writing to source {source}",
                    fix="Wait until it has ended.",
                )
            identities = self._identities_of(source)
            self._writing.add(source)

        def commit(segments: Sequence[SegmentManifest]) -> None:
            with self._mutex:
                self._commit(source, segments, actor)

        return SegmentWriter(
            folder=self.folder,
            source=source,
            identities=identities,
            commit=commit,
            release=lambda: self._writing.discard(source),
            max_rows=max_rows,
            max_characters=max_characters,
        )

    def sources(self) -> list[SourceSummary]:
        """What every source holds, sorted by name."""
        with self._mutex:
            sources = sorted(self._holdings.sources.values(), key=lambda source: source.name)
            count = self._holdings.quarantine.count
            quarantined = {source.name: count(source.name) for source in sources}
            segments = list(self._holdings.segments)
        return [
            _summarise(
                source,
                [segment for segment in segments if segment.source == source.name],
                quarantined[source.name],
            )
            for source in sources
        ]

    def snapshot(self) -> Snapshot:
        """What the store holds now."""
        with self._mutex:
            snapshot_id = self._holdings.snapshot_id
            if self._latest is None or self._latest.snapshot_id != snapshot_id:
                self._latest = self._holdings.snapshot(snapshot_id)
            return self._latest

    def snapshot_by_id(self, snapshot_id: str) -> Snapshot:
        """What the store held at a former moment.

        Raises:
            RecollectError: PLAN_UNKNOWN where it never held such a thing.
        """
        with self._mutex:
            return self._holdings.snapshot(snapshot_id)

    def examples(self, snapshot: Snapshot, source: str) -> Iterator[Example]:
        """The examples of a source in row order, one segment in memory at a time.

        Raises:
            RecollectError: SOURCE_UNKNOWN; STORAGE_CORRUPT naming the segment.
        """
        for manifest in snapshot.of(source):
            yield from read_examples(self.folder, manifest)

    def example(self, snapshot: Snapshot, source: str, row: int) -> Example:
        """One example by its row in a source.

        Raises:
            RecollectError: SOURCE_UNKNOWN; PLAN_OUT_OF_RANGE; STORAGE_CORRUPT.
        """
        rest = row
        for manifest in snapshot.of(source):
            if 0 <= rest < manifest.num_examples:
                return next(read_examples(self.folder, manifest, rest, rest + 1))
            rest -= manifest.num_examples
        raise RecollectError(Reason.PLAN_OUT_OF_RANGE, f"source {source} has no row {row}")

    def example_ids(self, snapshot: Snapshot, source: str) -> list[str]:
        """The ids of a source in row order."""
        return [
            example_id for manifest in snapshot.of(source) for example_id in self._ids_of(manifest)
        ]

    def example_id_for(self, source: str, messages: Sequence[Message]) -> str:
        """The id that an example with these messages has in this store."""
        return self._key.example_id(source, messages)

    def verify(self) -> int:
        """Reads every segment whole, and returns how many there are.

        Raises:
            RecollectError: STORAGE_CORRUPT naming the first segment that is not as committed.
        """
        segments = self.snapshot().segments
        for manifest in segments:
            read_table(self.folder, manifest)
        return len(segments)

    def _commit(self, source: str, segments: Sequence[SegmentManifest], actor: str) -> None:
        bodies = [segment.to_body() for segment in segments]
        entry = self._ledger.append(
            Kind.SEGMENTS_COMMITTED, {"source": source, "segments": bodies}, actor=actor
        )
        try:
            for segment in segments:
                publish(self.folder, segment)
        except OSError as error:
            # The ingest is committed, so it must not be reported as failed.
            _log.error("a committed segment has its pending name until the next start: %s", error)
        self._holdings.apply(entry)

    def _ids_of(self, manifest: SegmentManifest) -> list[str]:
        ids: list[str] = read_table(self.folder, manifest, ["example_id"])["example_id"].to_pylist()
        return ids

    def _identities_of(self, source: str) -> IdentitySet:
        if source not in self._identities:
            identities = IdentitySet()
            identities.load(self.example_ids(self.snapshot(), source))
            self._identities[source] = identities
        return self._identities[source]

    def _clean(self) -> int:
        """Gives committed files their final name and removes what a broken ingest left."""
        committed = {segment.path: segment for segment in self._holdings.segments}
        num_removed = 0
        for path in sorted((self.folder / "segments").glob("*/*.parquet*")):
            relative = path.relative_to(self.folder).as_posix()
            if relative in committed:
                continue
            if not relative.endswith(PENDING):
                raise RecollectError(
                    Reason.LEDGER_CORRUPT,
                    "a committed segment is not in the ledger: entries at its end are missing",
                    where=relative,
                    fix="Restore the ledger that belongs to this folder.",
                )
            with storage(path):
                if relative.removesuffix(PENDING) in committed:
                    publish(self.folder, committed[relative.removesuffix(PENDING)])
                else:
                    path.unlink()
                    num_removed += 1
        return num_removed


def _summarise(
    source: Source, segments: Sequence[SegmentManifest], num_quarantined: int
) -> SourceSummary:
    return SourceSummary(
        source=source,
        num_examples=sum(segment.num_examples for segment in segments),
        num_segments=len(segments),
        num_characters=sum(segment.num_characters for segment in segments),
        num_bytes=sum(segment.num_bytes for segment in segments),
        num_quarantined=num_quarantined,
        findings=total_findings(segment.findings for segment in segments),
    )


def _difference(present: Source, wanted: Source) -> str:
    before, after = present.to_body(), wanted.to_body()
    return " and ".join(name for name in before if before[name] != after[name])
