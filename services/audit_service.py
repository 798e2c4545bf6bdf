"""AuditService: the ledger, and what it says of a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing

import numpy as np

from ..mixer.errors import Reason, RecollectError
from ..mixer.holding import holding
from ..v1 import audit_pb2 as wire
from ..v1 import store_pb2
from ..v1.audit_pb2_grpc import AuditServiceServicer
from .ledger import Entry, Kind, Ledger
from .planbook import PlanBook
from .privacy import Deidentifier
from .replay import ReplayStore
from .replay.catalog import Catalog, Origin
from .residual_audit import Progress, Question, ResidualAudit
from .residual_wire import outcome_to_wire
from .run_audit import audit_run
from .status import Context, translated
from .threads import finished, in_thread

CHUNK_ENTRIES = 256
"""Entries that a thread reads at a time, whether they are asked for or not."""
CHUNK_CHARACTERS = 2**20
"""Characters after which fewer entries have to do."""
PROGRESS_EXAMPLES = 10
"""Examples of a residual audit from one word of progress to the next."""


class AuditServicer(AuditServiceServicer):
    """Answers from the ledger, and from the catalog that is made from segments."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        planbook: PlanBook,
        store: ReplayStore,
        catalog: Catalog,
        deidentifier: Deidentifier,
    ) -> None:
        self._ledger = ledger
        self._planbook = planbook
        self._store = store
        self._catalog = catalog
        self._deidentifier = deidentifier
        self._looking = asyncio.Lock()

    @translated
    async def ListEntries(
        self, request: wire.ListEntriesRequest, context: Context
    ) -> AsyncIterator[wire.ListEntriesResponse]:
        """Streams entries in order."""
        _require_known(request.kind)
        chunks = _chunks(self._ledger.entries(request.first_sequence), request.kind)
        async with aclosing(in_thread(chunks)) as read:
            async for chunk in read:
                for response in chunk:
                    yield response

    @translated
    async def AuditRun(
        self, request: wire.AuditRunRequest, context: Context
    ) -> wire.AuditRunResponse:
        """Recounts a run."""
        audit = await asyncio.to_thread(
            lambda: audit_run(request.run_id, self._ledger.entries(), self._planbook)
        )
        unknown = [-1] * len(audit.plan.sources)
        return wire.AuditRunResponse(
            plan_id=audit.plan.plan_id,
            num_steps=audit.num_steps,
            sources=[
                wire.AuditedSource(
                    source=source.name,
                    share=str(source.share),
                    num_trained=trained,
                    num_planned=planned,
                    max_deviation=float(worst),
                    num_tokens=tokens,
                    num_supervised_tokens=supervised,
                    realised_share=float(realised),
                )
                for source, trained, planned, worst, tokens, supervised, realised in zip(
                    audit.plan.sources,
                    audit.trained,
                    audit.planned,
                    audit.max_deviation,
                    audit.tokens or unknown,
                    audit.supervised_tokens or unknown,
                    audit.realised,
                    strict=True,
                )
            ],
            unit=str(audit.plan.mix.unit),
            differences=audit.differences,
            finished=audit.finished,
            measurements_json=json.dumps(list(audit.measurements)),
        )

    @translated
    async def FindOrigins(
        self, request: wire.FindOriginsRequest, context: Context
    ) -> wire.FindOriginsResponse:
        """Says where stored examples came from."""
        origins = await asyncio.to_thread(self._origins, request)
        return wire.FindOriginsResponse(
            origins=[
                wire.Origin(
                    example_id=origin.example_id,
                    source=origin.source,
                    segment_id=origin.segment_id,
                    pointer=store_pb2.Pointer(file=origin.pointer_file, row=origin.pointer_row),
                    policy=origin.policy,
                )
                for origin in origins
            ]
        )

    @translated
    async def AuditResidual(
        self, request: wire.AuditResidualRequest, context: Context
    ) -> AsyncIterator[wire.AuditResidualResponse]:
        """Looks a second time at a sample of what is stored; one look at a time."""
        question = Question(
            num_examples=request.num_examples,
            per_source=request.per_source,
            seed=request.seed if request.HasField("seed") else None,
            sources=tuple(request.sources),
        )
        opened = self._deidentifier.place_seal.opened
        async with self._looking:
            audit = await finished(
                lambda: ResidualAudit(self._store.folder, self._store.snapshot(), opened, question)
            )
            progress = Progress(0, 0)
            async with aclosing(in_thread(audit.steps())) as steps:
                async for progress in steps:
                    if progress.num_done % PROGRESS_EXAMPLES == 0:
                        yield _progress_to_wire(progress)
            outcome = audit.outcome()
            body = outcome.to_body()
            await finished(lambda: self._ledger.append(Kind.RESIDUAL_AUDITED, body, actor="audit"))
        answer = _progress_to_wire(progress)
        answer.outcome.CopyFrom(outcome_to_wire(outcome))
        yield answer

    def _origins(self, request: wire.FindOriginsRequest) -> list[Origin]:
        match request.WhichOneof("key"):
            case "example_id":
                return self._catalog.origin_of(request.example_id)
            case "subject":
                return self._catalog.origins_of_subject(
                    self._deidentifier.pseudonym(request.subject)
                )
            case "file":
                return self._catalog.origins_in_file(self._deidentifier.clean_name(request.file))
            case "row":
                return self._origins_of_row(request.row)
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            "nothing was asked for.",
            where="key",
            fix="Give an example id, a subject, a file or a row of a plan.",
        )

    def _origins_of_row(self, row: wire.PlanPosition) -> list[Origin]:
        """The origins of what a row of a plan holds, in its order, each example once."""
        plan = self._planbook.plan(row.plan_id)
        if not 0 <= row.position < plan.num_positions:
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"the plan has rows 0 … {plan.num_positions - 1}, and {row.position} is none.",
                where="position",
            )
        step = row.position // plan.mix.batch_size
        batch = plan.at(np.array([row.position], dtype=np.int64), step=step)
        pieces = holding(plan, batch).pieces
        examples = batch.examples if pieces is None else pieces.examples
        snapshot = self._store.snapshot_by_id(plan.snapshot_id)
        source = plan.sources[int(batch.sources[0])].name
        return [
            origin
            for example in dict.fromkeys(examples.tolist())
            for origin in self._catalog.origin_of(
                self._store.example(snapshot, source, example).example_id
            )
        ]


def _progress_to_wire(progress: Progress) -> wire.AuditResidualResponse:
    return wire.AuditResidualResponse(num_done=progress.num_done, num_all=progress.num_all)


def _require_known(kind: str) -> None:
    if kind and kind not in set(Kind):
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            f"{kind!r:.80} is no kind of entry.",
            where="kind",
            fix=f"The kinds are {', '.join(Kind)}.",
        )


def _chunks(entries: Iterable[Entry], kind: str) -> Iterator[list[wire.ListEntriesResponse]]:
    """The entries of a kind, or all; a chunk is what little reading found, so it may be empty."""
    chunk: list[wire.ListEntriesResponse] = []
    num_characters = 0
    for num_read, entry in enumerate(entries, start=1):
        if not kind or entry.kind == kind:
            chunk.append(_to_wire(entry))
            num_characters += len(chunk[-1].body_json)
        if num_read % CHUNK_ENTRIES == 0 or num_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = [], 0
    yield chunk


def _to_wire(entry: Entry) -> wire.ListEntriesResponse:
    return wire.ListEntriesResponse(
        sequence=entry.sequence,
        time=entry.time,
        kind=entry.kind,
        actor=entry.actor,
        body_json=json.dumps(entry.body, sort_keys=True),
        digest=entry.digest,
    )
