"""StoreService: raw examples in over the wire, de-identified segments out on disk.

Raw text lives in request messages and in the de-identifier, never in a log, an error or a file.
One ingestion is one commit: until its last answer nothing of it is visible, and a broken one leaves
nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Example, Message, Pointer, Speaker
from ..v1 import store_pb2 as wire
from ..v1.store_pb2_grpc import StoreServiceServicer
from .ledger import Kind
from .privacy import Deidentifier
from .quarantine_calls import QuarantineCalls
from .replay import ReplayStore, SegmentWriter, Source
from .replay.embedding import embed
from .replay.index import NearDuplicates, open_index
from .roles import purpose_from_wire, purpose_to_wire, role_from_wire, role_to_wire
from .status import Context, translated
from .tally import Tally, findings_to_wire, ledger_pointer
from .threads import finished, opened

_MAX_RESULTS = 100
_QUARANTINED = (Reason.DEIDENTIFICATION_FAILED, Reason.INPUT_TOO_LARGE)
"""What keeps an example out of the store, but not the rest of its file."""


def _messages_from_wire(messages: Iterable[wire.Message]) -> tuple[Message, ...]:
    try:
        return tuple(Message(speaker=Speaker(m.speaker), content=m.content) for m in messages)
    except ValueError:
        raise RecollectError(
            Reason.INPUT_UNKNOWN_SPEAKER,
            "a message has an unknown speaker.",
            fix=f"Use one of {', '.join(s.value for s in Speaker)}.",
        ) from None


def _messages_to_wire(messages: Iterable[Message]) -> list[wire.Message]:
    return [wire.Message(speaker=m.speaker.value, content=m.content) for m in messages]


def _mapping_digest(header: wire.IngestHeader) -> str | None:
    """What a header says of a mapping: it goes to the ledger, so it must be a digest."""
    if not header.HasField("mapping_digest"):
        return None
    if not re.fullmatch(r"(?:[0-9a-f]{64})?", header.mapping_digest):
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            "the digest of the mapping is none.",
            where="mapping_digest",
            fix="Send SHA-256 in hex, or nothing.",
        )
    return header.mapping_digest


class StoreServicer(QuarantineCalls, StoreServiceServicer):
    """Serves one replay store."""

    def __init__(
        self,
        *,
        store: ReplayStore,
        deidentifier: Deidentifier,
        near_duplicate_threshold: float,
    ) -> None:
        self._store = store
        self._deidentifier = deidentifier
        self._near_duplicate_threshold = near_duplicate_threshold
        self._ingesting: dict[str, asyncio.Lock] = {}

    @translated
    async def RegisterSource(
        self, request: wire.RegisterSourceRequest, context: Context
    ) -> wire.RegisterSourceResponse:
        """Registers a source once; different properties under the same name are refused."""
        asked = request.source
        source = Source(
            name=asked.name,
            role=role_from_wire(asked.role),
            purpose=purpose_from_wire(asked.purpose),
            licence=asked.licence,
            legal_basis=asked.legal_basis,
        )
        created = await finished(self._store.register, source)
        return wire.RegisterSourceResponse(created=created)

    @translated
    async def Ingest(
        self,
        request_iterator: AsyncIterator[wire.IngestRequest],
        context: Context,
    ) -> AsyncIterator[wire.IngestResponse]:
        """De-identifies and stores a stream of raw examples as one commit."""
        header = await anext(request_iterator, None)
        if header is None or header.WhichOneof("part") != "header":
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "an ingestion must begin with its header.",
                fix="Send an IngestHeader first.",
            )
        source, is_retry = header.header.source, header.header.retry
        # Before the lock is made, of which there is one for every name.
        self._store.source(source)
        tally = Tally(mapping_digest=_mapping_digest(header.header))
        async with (
            self._ingesting.setdefault(source, asyncio.Lock()),
            opened(self._store.writer, source) as writer,
        ):
            async for request in request_iterator:
                raw_examples = request.examples.examples
                await finished(self._take, writer, source, raw_examples, tally, is_retry)
                yield tally.response()
            await finished(self._conclude, writer, source, tally)
        yield tally.response(done=True)

    def _take(
        self,
        writer: SegmentWriter,
        source: str,
        raw_examples: Sequence[wire.RawExample],
        tally: Tally,
        is_retry: bool,
    ) -> None:
        """De-identifies a group and hands it to the writer."""
        for raw in raw_examples:
            pointer = self._pointer(source, raw.pointer, is_retry)
            known = ledger_pointer(pointer)
            is_tried_again = is_retry and self._store.is_quarantined(source, known)
            tally.num_read += 1
            tally.num_characters += sum(len(m.content) for m in raw.messages)
            try:
                example = self._example(source, raw, pointer)
            except RecollectError as error:
                if error.reason not in _QUARANTINED:
                    raise
                tally.quarantine(known, error.message)
                if is_tried_again:
                    tally.refused.add(known)
                continue
            if is_tried_again:
                tally.accepted.add(known)
            if writer.add(example):
                tally.num_stored += 1
                tally.findings.update(dict(example.findings))
            else:
                tally.num_duplicates += 1

    def _pointer(self, source: str, raw: wire.Pointer, is_retry: bool) -> Pointer:
        """Where an example comes from, by a name that may be stored."""
        given = ledger_pointer(Pointer(file=raw.file, row=raw.row))
        # Another policy may clean a name in another way: a retry may give the stored one.
        if is_retry and self._store.is_quarantined(source, given):
            return given
        return Pointer(file=self._deidentifier.clean_name(raw.file), row=raw.row)

    def _example(self, source: str, raw: wire.RawExample, pointer: Pointer) -> Example:
        if not raw.messages:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "an example has no messages.",
                where=str(pointer),
                fix="Send at least one message.",
            )
        clean = self._deidentifier.deidentify(
            _messages_from_wire(raw.messages), tuple(raw.known_values), raw.subject or None
        )
        example_id = self._store.example_id_for(source, clean.messages)
        return Example(
            example_id=example_id,
            source=source,
            messages=clean.messages,
            pointer=pointer,
            subject=self._deidentifier.pseudonym(raw.subject) if raw.subject else None,
            policy=self._deidentifier.policy.version,
            findings=clean.findings,
            stand_ins=self._deidentifier.place_seal.sealed(example_id, clean.stand_ins),
        )

    def _conclude(self, writer: SegmentWriter, source: str, tally: Tally) -> None:
        """Commits and records in one thread: a call cancelled between the two leaves both."""
        writer.commit()
        self._record(source, tally)

    def _record(self, source: str, tally: Tally) -> None:
        record = self._store.record
        ingest = record(Kind.INGEST_FINISHED, tally.body(source), actor="ingest").sequence
        # Behind the entry that counts them: what a crash leaves out here is still counted there.
        for page in tally.further_pages(source, ingest):
            record(Kind.ROWS_QUARANTINED, page, actor="ingest")
        for page in tally.releases(source, ingest):
            record(Kind.QUARANTINE_RELEASED, page, actor="ingest")

    @translated
    async def ListSources(
        self, request: wire.ListSourcesRequest, context: Context
    ) -> wire.ListSourcesResponse:
        """Lists sources with what they hold, sorted by name."""
        return wire.ListSourcesResponse(
            sources=[
                wire.SourceSummary(
                    source=wire.Source(
                        name=summary.source.name,
                        role=role_to_wire(summary.source.role),
                        purpose=purpose_to_wire(summary.source.purpose),
                        licence=summary.source.licence,
                        legal_basis=summary.source.legal_basis,
                    ),
                    num_examples=summary.num_examples,
                    num_segments=summary.num_segments,
                    findings=findings_to_wire(Counter(dict(summary.findings))),
                    num_quarantined=summary.num_quarantined,
                )
                for summary in self._store.sources()
            ]
        )

    def _near_duplicates(
        self, source: str, threshold: float
    ) -> tuple[list[NearDuplicates], list[str]]:
        snapshot = self._store.snapshot()
        index = open_index(self._store, snapshot, source)
        return index.near_duplicates(threshold), self._store.example_ids(snapshot, source)

    @translated
    async def FindNearDuplicates(
        self, request: wire.FindNearDuplicatesRequest, context: Context
    ) -> wire.FindNearDuplicatesResponse:
        """Groups the nearly equal examples of a source."""
        threshold = request.threshold or self._near_duplicate_threshold
        groups, example_ids = await asyncio.to_thread(
            self._near_duplicates, request.source, threshold
        )
        return wire.FindNearDuplicatesResponse(
            num_examples=len(example_ids),
            groups=[
                wire.NearDuplicates(
                    example_ids=[example_ids[row] for row in group.rows],
                    similarity=group.similarity,
                )
                for group in groups
            ],
        )

    @translated
    async def Search(self, request: wire.SearchRequest, context: Context) -> wire.SearchResponse:
        """Finds the stored examples nearest to a text, which is de-identified first."""
        if not 1 <= request.limit <= _MAX_RESULTS:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"the limit must be in 1 … {_MAX_RESULTS}, not {request.limit}.",
                where="limit",
            )
        return wire.SearchResponse(results=await asyncio.to_thread(self._search, request))

    def _search(self, request: wire.SearchRequest) -> list[wire.SearchResult]:
        message = Message(speaker=Speaker.TEXT, content=request.text)
        clean = self._deidentifier.deidentify([message])
        snapshot = self._store.snapshot()
        index = open_index(self._store, snapshot, request.source)
        similarities, rows = index.search(embed([clean.messages[0].content]), request.limit)
        results = []
        for similarity, row in zip(similarities[0].tolist(), rows[0].tolist(), strict=True):
            if row < 0:
                continue
            example = self._store.example(snapshot, request.source, row)
            results.append(
                wire.SearchResult(
                    example_id=example.example_id,
                    similarity=similarity,
                    messages=_messages_to_wire(example.messages),
                )
            )
        return results

    @translated
    async def Preview(self, request: wire.PreviewRequest, context: Context) -> wire.PreviewResponse:
        """Shows what de-identification makes of a text; stores nothing."""
        message = Message(speaker=Speaker.TEXT, content=request.text)
        clean = await asyncio.to_thread(self._deidentifier.deidentify, [message])
        return wire.PreviewResponse(
            text=clean.messages[0].content,
            findings=findings_to_wire(Counter(dict(clean.findings))),
        )
