"""Snapshots: what the store held at one moment, and the projection of the ledger that knows them.

A snapshot id is the SHA-256 of the canonical lines of everything registered and committed so far,
in ledger order. Since history only grows, every former snapshot is a prefix of the present one and
costs two numbers to remember.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...mixer.errors import Reason, RecollectError
from ...mixer.plan import SourceSnapshot
from ..ledger import Entry, Kind, canonical_json
from .manifest import SegmentManifest
from .quarantine import Quarantine
from .source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An immutable list of segments."""

    snapshot_id: str
    sources: Mapping[str, SourceSnapshot]
    segments: tuple[SegmentManifest, ...]
    """In the order of their commits."""

    def of(self, source: str) -> Iterator[SegmentManifest]:
        """The segments of one source, in the order of its rows.

        Raises:
            RecollectError: SOURCE_UNKNOWN.
        """
        if source not in self.sources:
            raise unknown_source(source)
        return (segment for segment in self.segments if segment.source == source)


class Holdings:
    """What the ledger says that the store holds."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.segments: list[SegmentManifest] = []
        self.quarantine = Quarantine()
        self._history = hashlib.sha256()
        self._marks: dict[str, tuple[int, int]] = {}
        self._mark()

    def apply(self, entry: Entry) -> None:
        """Takes in what an entry says; entries of other rooms say nothing here."""
        body: Mapping[str, Any] = entry.body
        if entry.kind == Kind.SOURCE_REGISTERED:
            source = Source.from_body(body)
            self.sources[source.name] = source
            self._extend(body)
        elif entry.kind == Kind.SEGMENTS_COMMITTED:
            self.segments += map(SegmentManifest.from_body, body["segments"])
            self._extend(body)
        else:
            self.quarantine.apply(entry)

    @property
    def snapshot_id(self) -> str:
        """Id of the present snapshot."""
        return self._history.hexdigest()

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """A present or former snapshot.

        Raises:
            RecollectError: PLAN_UNKNOWN where the store never held such a thing.
        """
        if snapshot_id not in self._marks:
            raise RecollectError(
                Reason.PLAN_UNKNOWN,
                f"no snapshot {snapshot_id[:64]} is in the ledger",
                fix="Seal the plan against this store.",
            )
        num_sources, num_segments = self._marks[snapshot_id]
        segments = tuple(self.segments[:num_segments])
        return Snapshot(
            snapshot_id=snapshot_id,
            sources=_sources(list(self.sources.values())[:num_sources], segments),
            segments=segments,
        )

    def _extend(self, body: Mapping[str, Any]) -> None:
        self._history.update(canonical_json(body) + b"\n")
        self._mark()

    def _mark(self) -> None:
        self._marks[self._history.hexdigest()] = (len(self.sources), len(self.segments))


def unknown_source(name: str) -> RecollectError:
    """The refusal of a name that is not registered."""
    return RecollectError(
        Reason.SOURCE_UNKNOWN, f"no source is called {name[:80]!r}", fix="Register it first."
    )


def _sources(
    sources: list[Source], segments: tuple[SegmentManifest, ...]
) -> dict[str, SourceSnapshot]:
    counts = dict.fromkeys((source.name for source in sources), 0)
    digests = {source.name: hashlib.sha256() for source in sources}
    for segment in segments:
        counts[segment.source] += segment.num_examples
        digests[segment.source].update(bytes.fromhex(segment.content_digest))
    return {
        source.name: SourceSnapshot(
            name=source.name,
            role=source.role,
            purpose=source.purpose,
            num_examples=counts[source.name],
            content_digest=digests[source.name].hexdigest(),
        )
        for source in sources
    }
