"""TeacherService: rehearsal and annotation over the wire, one teacher job at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Role
from ...mixer.plan import Plan
from ...v1 import teacher_pb2 as wire
from ...v1.teacher_pb2_grpc import TeacherServiceServicer
from ..ledger import Kind
from ..status import Context, translated
from ..threads import finished, in_thread, opened
from .annotate import Annotated, OpenSink, Tokens, annotate, require_fitting
from .frozen import FrozenTeacher
from .rehearsal import PRE_QUERY, Destination, Rehearsal, Rehearsing, Tally

if TYPE_CHECKING:
    from ..ledger import Ledger
    from ..privacy import Deidentifier
    from ..replay import ReplayStore, SegmentWriter

MAX_EXAMPLES = 1_000_000
"""Most examples of one rehearsal."""

Answer = TypeVar("Answer")


class Plans(Protocol):
    """Where sealed plans are found."""

    def plan(self, plan_id: str, /) -> Plan:
        """The plan; raises PLAN_UNKNOWN."""
        ...


class PlanTokens(Protocol):
    """Where the tokens of a plan's sources are found."""

    def cured(self, plan: Plan, use: Callable[[Sequence[Tokens]], Answer], /) -> Answer:
        """What use is made of the caches of its sources, in order; a damaged one is built again."""
        ...


class TeacherServicer(TeacherServiceServicer):
    """Serves one frozen teacher."""

    def __init__(
        self,
        *,
        teacher: FrozenTeacher,
        deidentifier: Deidentifier,
        store: ReplayStore,
        ledger: Ledger,
        plans: Plans,
        caches: PlanTokens,
        open_sink: OpenSink,
        rehearsing: Rehearsing,
    ) -> None:
        self._teacher = teacher
        self._deidentifier = deidentifier
        self._store = store
        self._ledger = ledger
        self._plans = plans
        self._caches = caches
        self._open_sink = open_sink
        self._rehearsing = rehearsing
        # The model keeps every core busy: a second job at once would only slow both down.
        self._working = asyncio.Lock()

    @translated
    async def DescribeTeacher(
        self, request: wire.DescribeTeacherRequest, context: Context
    ) -> wire.DescribeTeacherResponse:
        """Says which teacher serves."""
        return wire.DescribeTeacherResponse(
            digest=self._teacher.digest,
            tokenizer_digest=self._teacher.tokenizer_digest,
            num_parameters=self._teacher.num_parameters,
            max_length=self._teacher.max_length,
        )

    @translated
    async def Rehearse(
        self, request: wire.RehearseRequest, context: Context
    ) -> AsyncIterator[wire.RehearseResponse]:
        """Lets the teacher write into a synthetic source; one commit, at the end."""
        rehearsing = self._asked(request)
        self._check_source(request.source)
        async with self._working, opened(self._store.writer, request.source) as writer:
            rehearsal = Rehearsal(
                teacher=self._teacher,
                destination=self._destination(request.source, writer),
                rehearsing=rehearsing,
                seed=request.seed,
            )
            steps = rehearsal.run(request.num_examples)
            async with aclosing(in_thread(steps)) as tallies:
                async for tally in tallies:
                    yield _progress(tally)
            tally = rehearsal.tally
            await finished(self._conclude, writer, request, rehearsing, tally)
        yield _progress(tally, done=True)

    @translated
    async def Annotate(
        self, request: wire.AnnotateRequest, context: Context
    ) -> AsyncIterator[wire.AnnotateResponse]:
        """Lets the teacher score every token of the sources of a plan."""
        plan = await finished(self._plans.plan, request.plan_id)
        async with self._working:
            all_tokens = await finished(self._fitting, plan)
            annotated = []
            for source, tokens in zip(plan.sources, all_tokens, strict=True):
                done = Annotated(source=source.name)
                steps = annotate(self._teacher, source.name, tokens, self._open_sink)
                async with aclosing(in_thread(steps)) as progress:
                    async for done in progress:
                        yield _annotated(done)
                annotated.append(done)
            await finished(self._record_annotation, plan, annotated)
        for done in annotated:
            yield _annotated(done, done=True)

    def _fitting(self, plan: Plan) -> Sequence[Tokens]:
        """The caches of a plan, all of whose rows are sound and fit the teacher.

        Said before the first row is scored: a job of hours must not fail at its end.
        """
        fitting = partial(require_fitting, plan, max_length=self._teacher.max_length)
        return self._caches.cured(plan, fitting)

    def _asked(self, request: wire.RehearseRequest) -> Rehearsing:
        """The settings of this rehearsal, with what the caller asked for."""
        if not 1 <= request.num_examples <= MAX_EXAMPLES:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"{request.num_examples} examples cannot be written.",
                where="num_examples",
                fix=f"Ask for 1 … {MAX_EXAMPLES}.",
            )
        if not request.temperature:
            return self._rehearsing
        if not 0 < request.temperature <= 2:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"A temperature of {request.temperature} cannot be used.",
                where="temperature",
                fix="Choose one above 0 and at most 2, or 0 for the configured one.",
            )
        return self._rehearsing.model_copy(update={"temperature": request.temperature})

    def _check_source(self, name: str) -> None:
        source = self._store.source(name)
        if source.role is not Role.SYNTHETIC:
            raise RecollectError(
                Reason.SOURCE_CONFLICT,
                f"The source has role {source.role.value}; the teacher writes into synthetic ones.",
                where=name,
                fix="Register a source of role synthetic and name it.",
            )

    def _destination(self, name: str, writer: SegmentWriter) -> Destination:
        return Destination(
            source=name,
            policy=self._deidentifier.policy.version,
            deidentify=self._deidentifier.deidentify,
            example_id=self._store.example_id_for,
            seal=self._deidentifier.place_seal.sealed,
            keep=writer.add,
        )

    def _conclude(
        self,
        writer: SegmentWriter,
        request: wire.RehearseRequest,
        rehearsing: Rehearsing,
        tally: Tally,
    ) -> None:
        """Commits and records in one thread: a call cancelled between the two leaves both."""
        writer.commit()
        self._record_rehearsal(request, rehearsing, tally)

    def _record_rehearsal(
        self, request: wire.RehearseRequest, rehearsing: Rehearsing, tally: Tally
    ) -> None:
        self._ledger.append(
            Kind.REHEARSED,
            {
                "source": request.source,
                "teacher_digest": self._teacher.digest,
                "prompt_id": PRE_QUERY,
                "seed": request.seed,
                "settings": rehearsing.model_dump(mode="json"),
                "num_asked": request.num_examples,
                "num_written": tally.num_written,
                "num_kept": tally.num_kept,
                "drops": dict(sorted(tally.drops.items())),
            },
            actor="teacher",
        )

    def _record_annotation(self, plan: Plan, annotated: Sequence[Annotated]) -> None:
        self._ledger.append(
            Kind.ANNOTATED,
            {
                "plan_id": plan.plan_id,
                "teacher_digest": self._teacher.digest,
                "sources": [
                    {
                        "source": done.source,
                        "num_examples": done.num_examples,
                        "num_tokens": done.num_tokens,
                        "mean_nll": done.mean_nll,
                    }
                    for done in annotated
                ],
            },
            actor="teacher",
        )


def _progress(tally: Tally, *, done: bool = False) -> wire.RehearseResponse:
    return wire.RehearseResponse(
        num_written=tally.num_written,
        num_kept=tally.num_kept,
        drops=[
            wire.DropCount(reason=reason, count=count)
            for reason, count in sorted(tally.drops.items())
        ],
        done=done,
    )


def _annotated(progress: Annotated, *, done: bool = False) -> wire.AnnotateResponse:
    return wire.AnnotateResponse(
        source=progress.source,
        num_examples=progress.num_examples,
        num_tokens=progress.num_tokens,
        mean_nll=progress.mean_nll,
        done=done,
    )
