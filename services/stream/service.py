"""The batch service: answers "batch k of this plan" and keeps no position for anybody.

Whatever asks for a step gets the same bytes, from this server, its successor after a crash or its
twin: a stream is a loop over a pure function. Gathering runs in a bounded pool of threads, one step
ahead of what is being sent; flow control of HTTP/2 does the rest.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NewType, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Purpose
from ...mixer.plan import Plan
from ...mixer.shards import shards
from ...v1 import stream_pb2, stream_pb2_grpc, tracing
from ...v1.envelope import signed
from ..ledger import JSON
from ..observing import Gathered, StreamMeter, unseen_meter
from ..status import answering
from .annotations import Annotations, AnnotationShelf
from .caches import TokenCaches
from .course import Course
from .frames import step_frames
from .places import places_of
from .runs import RunBook, RunLedger
from .standing import furthest_off

NUM_THREADS = 4
"""Threads that gather and fsync: enough to overlap disk and network, few enough to bound memory."""

CREDITS = 2
"""Messages under way on a stream whose client does not say: one being sent, one being made."""
MOST_CREDITS = 16

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_SETTINGS_CHARACTERS = 64 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")

Answer = TypeVar("Answer")
Encoded = NewType("Encoded", bytes)
"""A FetchResponse as it is sent."""
_Ahead: TypeAlias = "asyncio.Queue[asyncio.Future[Gathered | None]]"


def encode_response(message: Message | bytes) -> bytes:
    """A response as it is sent; those of a stream are encoded where they are made."""
    return message if isinstance(message, bytes) else message.SerializeToString()


class PlanBook(Protocol):
    """Where sealed plans are looked up."""

    def plan(self, plan_id: str, /) -> Plan:
        """The plan; raises PLAN_UNKNOWN."""
        ...


class StreamServicer(stream_pb2_grpc.StreamServiceServicer):
    """Serves `recollect.v1.StreamService`."""

    def __init__(
        self,
        plans: PlanBook,
        caches: TokenCaches,
        ledger: RunLedger,
        *,
        annotations: AnnotationShelf | None = None,
        meter: StreamMeter | None = None,
    ) -> None:
        self._plans = plans
        self._meter = meter or unseen_meter()
        self._caches = caches
        self._annotations = annotations
        self._runs = RunBook(ledger)
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="stream")

    def close(self) -> None:
        """Waits for what is being gathered or written, after the server has stopped."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def Fetch(  # type: ignore[override]  # encoded where they are made
        self,
        request: stream_pb2.FetchRequest,
        context: grpc.aio.ServicerContext[stream_pb2.FetchRequest, stream_pb2.FetchResponse],
    ) -> AsyncIterator[Encoded]:
        """Streams frames; the next ones are gathered while one is being sent."""
        async with answering(context):
            course = await self._call(self._course, request)
            credits = asyncio.Semaphore(min(request.credits or CREDITS, MOST_CREDITS))
            ahead: _Ahead = asyncio.Queue()
            gathering = asyncio.create_task(self._gather(course, credits, ahead))
            try:
                with self._meter.stream() as stream:
                    while (gathered := await (await ahead.get())) is not None:
                        stream.taken()
                        yield gathered.message
                        stream.sent(gathered)
                        credits.release()
            finally:
                # Cancelled by the client, or failed: nobody will wait for the next frame.
                gathering.cancel()

    async def Ack(
        self,
        request: stream_pb2.AckRequest,
        context: grpc.aio.ServicerContext[stream_pb2.AckRequest, stream_pb2.AckResponse],
    ) -> stream_pb2.AckResponse:
        """Checks what was trained on against the plan, then writes it to the ledger."""
        async with answering(context):
            length, head = await self._call(self._acknowledge, request)
        return signed(stream_pb2.AckResponse(ledger_length=length, ledger_head=head))

    async def StartRun(
        self,
        request: stream_pb2.StartRunRequest,
        context: grpc.aio.ServicerContext[stream_pb2.StartRunRequest, stream_pb2.StartRunResponse],
    ) -> stream_pb2.StartRunResponse:
        """Writes the run to the ledger, or finds it there, and says where it goes on."""
        async with answering(context):
            first_step = await self._call(self._start, request)
        return signed(stream_pb2.StartRunResponse(first_step=first_step))

    async def FinishRun(
        self,
        request: stream_pb2.FinishRunRequest,
        context: grpc.aio.ServicerContext[
            stream_pb2.FinishRunRequest, stream_pb2.FinishRunResponse
        ],
    ) -> stream_pb2.FinishRunResponse:
        """Writes the end of the run to the ledger."""
        async with answering(context):
            await self._call(self._finish, request)
        return stream_pb2.FinishRunResponse()

    def _call(self, function: Callable[..., Answer], *arguments: object) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        # The ledger names who made the call, so the thread has to know it.
        context = contextvars.copy_context()
        return loop.run_in_executor(self._threads, context.run, function, *arguments)

    async def _gather(
        self,
        course: Course,
        credits: asyncio.Semaphore,
        ahead: _Ahead,
    ) -> None:
        """Gathers one frame after the other, as long as there are credits."""
        fetch = tracing.followed()
        while True:
            await credits.acquire()
            gathered = self._call(self._gathered, course, fetch)
            ahead.put_nowait(gathered)
            # What went wrong is for whoever takes the frame.
            await asyncio.wait([gathered])
            if gathered.exception() is not None or gathered.result() is None:
                return

    def _gathered(self, course: Course, fetch: tracing.Span) -> Gathered | None:
        began = time.monotonic()
        span = fetch.part("recollect.gather")
        try:
            message = course.advance()
        finally:
            span.end()
        if message is None:
            return None
        ready_at = time.monotonic()
        self._meter.gather_seconds.observe(ready_at - began)
        return Gathered(Encoded(message), course.num_rows, course.num_tokens, ready_at)

    def _course(self, request: stream_pb2.FetchRequest) -> Course:
        if not 0 <= request.credits <= MOST_CREDITS:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"A stream has 1 … {MOST_CREDITS} credits, not {request.credits}.",
                where="credits",
            )
        plan = self._caches.ready(self._plans.plan(request.plan_id))
        return Course(
            plan,
            self._caches,
            _steps(plan, request),
            rank=request.rank,
            world_size=request.world_size,
            annotations=self._annotations_of(plan) if request.with_annotations else None,
        )

    def _annotations_of(self, plan: Plan) -> Sequence[Annotations]:
        if self._annotations is None:
            raise RecollectError(
                Reason.TEACHER_MISSING,
                "The service was started without a teacher.",
                fix="Ask for batches without annotations.",
            )
        return self._annotations.of(self._caches.of_plan(plan))

    def _acknowledge(self, request: stream_pb2.AckRequest) -> tuple[int, bytes]:
        plan = self._caches.ready(self._plans.plan(self._runs.get(request.run_id).plan_id))
        held = shards(plan, request.step, 1, rank=request.rank, world_size=request.world_size)
        places = self._caches.cured(plan, lambda caches: places_of(held, caches))
        [planned] = step_frames(held, places)
        columns = (
            planned.source_rows,
            planned.source_tokens,
            planned.source_supervised_tokens,
        )
        names = [source.name for source in plan.sources]
        rows, tokens, supervised = (dict(zip(names, column, strict=True)) for column in columns)
        counted = [
            (item.source, item.num_rows, item.num_tokens, item.num_supervised_tokens)
            for item in request.counts
        ]
        differs = request.digest != planned.digest
        if differs or counted != list(zip(names, *columns, strict=True)):
            what = "digest" if differs else "counts"
            raise RecollectError(
                Reason.BATCH_DIFFERS,
                f"The {what} of step {request.step}, rank {request.rank} of {request.world_size}, "
                "is not what the plan prescribes.",
                where=what,
                fix="Stop the run: it was trained on something else than the plan.",
            )
        body: dict[str, JSON] = {
            "digest": request.digest.hex(),
            "counts": rows,
            "tokens": tokens,
            "supervised_tokens": supervised,
        }
        is_new = self._runs.acknowledge(
            request.run_id,
            step=request.step,
            rank=request.rank,
            world_size=request.world_size,
            body=body,
        )
        if is_new:
            off = furthest_off(plan, self._runs.acknowledged(request.run_id))
            self._meter.acknowledged(_by_role(plan, tokens), str(plan.mix.unit), off)
        return self._runs.ledger_head

    def _start(self, request: stream_pb2.StartRunRequest) -> int:
        _check_pattern(RUN_ID, request.run_id, "run_id")
        _check_pattern(DIGEST, request.base_digest, "base_digest")
        self._plans.plan(request.plan_id).require(Purpose.TRAIN)
        self._runs.require(request.ledger_length, request.ledger_head)
        body: dict[str, JSON] = {
            "plan_id": request.plan_id,
            "base_digest": request.base_digest,
            "settings": _settings(request.settings_json),
        }
        return self._runs.start(request.run_id, body).progress.first_step

    def _finish(self, request: stream_pb2.FinishRunRequest) -> None:
        self._runs.get(request.run_id)
        _check_pattern(DIGEST, request.tuned_digest, "tuned_digest")
        body: dict[str, JSON] = {
            "measurements": [_measurement(item) for item in request.measurements],
            "tuned_digest": request.tuned_digest,
        }
        self._runs.finish(request.run_id, body)


def handlers_of(servicer: StreamServicer) -> Any:
    """What to add to a gRPC server that is to serve streams and nothing else, without a gate.

    The generated function would encode again what is encoded already.
    """
    service = stream_pb2.DESCRIPTOR.services_by_name["StreamService"]
    handlers = {}
    for method in service.methods:
        streams = method.server_streaming
        make = (
            grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        )
        handlers[method.name] = make(
            getattr(servicer, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=encode_response,
        )
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _by_role(plan: Plan, tokens: Mapping[str, int]) -> Mapping[str, int]:
    roles: dict[str, int] = {}
    for source in plan.sources:
        roles[str(source.role)] = roles.get(str(source.role), 0) + tokens[source.name]
    return roles


def _steps(plan: Plan, request: stream_pb2.FetchRequest) -> range:
    last = request.first_step + request.num_steps if request.num_steps else plan.num_steps
    if not 0 <= request.first_step < last <= plan.num_steps:
        raise RecollectError(
            Reason.PLAN_OUT_OF_RANGE,
            f"Steps {request.first_step} … {last - 1} were asked for; "
            f"the plan has steps 0 … {plan.num_steps - 1}.",
            where="first_step",
        )
    return range(request.first_step, last)


def _check_pattern(pattern: re.Pattern[str], value: str, field: str) -> None:
    if pattern.fullmatch(value) is None:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{value!r:.80} does not match {pattern.pattern}.",
            where=field,
        )


def _settings(text: str) -> JSON:
    try:
        if len(text) > MAX_SETTINGS_CHARACTERS:
            raise ValueError("too long")
        settings: JSON = json.loads(text or "{}", parse_constant=_refuse_constant)
        # Infinity also comes in as 1e999, and half a surrogate pair as an escape.
        json.dumps(settings, allow_nan=False, ensure_ascii=False).encode()
        if not isinstance(settings, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "The settings are no JSON object that can be recorded.",
            where="settings_json",
            fix="Send one object with finite numbers and whole characters.",
        ) from error
    return settings


def _refuse_constant(name: str) -> JSON:
    raise ValueError(name)


def _measurement(item: stream_pb2.Measurement) -> dict[str, JSON]:
    if not (math.isfinite(item.before) and math.isfinite(item.after)):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"The measurement {item.metric} of {item.subject} is not a finite number.",
            where="measurements",
        )
    return {
        "metric": item.metric,
        "subject": item.subject,
        "before": item.before,
        "after": item.after,
    }
