"""The batch service: answers "batch k of this plan" and keeps no position for anybody.

Whatever asks for a step gets the same bytes, from this server, its successor after a crash or its
twin: a stream is a loop over a pure function. Gathering runs in a bounded pool of threads, one step
ahead of what is being sent; flow control of HTTP/2 does the rest.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import grpc

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Purpose
from ...mixer.holding import Holding, holding
from ...mixer.plan import Batch, Plan
from ...v1 import stream_pb2, stream_pb2_grpc
from ..ledger import JSON
from ..status import answering
from .annotations import Annotations, AnnotationShelf
from .caches import TokenCaches
from .frames import encode_frame
from .runs import RunBook, RunLedger
from .tokens import DamagedCache, TokenCache

NUM_THREADS = 4
"""Threads that gather and fsync: enough to overlap disk and network, few enough to bound memory."""

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_SETTINGS_CHARACTERS = 64 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")

Answer = TypeVar("Answer")


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
    ) -> None:
        self._plans = plans
        self._caches = caches
        self._annotations = annotations
        self._runs = RunBook(ledger)
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="stream")

    def close(self) -> None:
        """Waits for what is being gathered or written, after the server has stopped."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def Fetch(
        self,
        request: stream_pb2.FetchRequest,
        context: grpc.aio.ServicerContext[stream_pb2.FetchRequest, stream_pb2.FetchResponse],
    ) -> AsyncIterator[stream_pb2.FetchResponse]:
        """Streams frames; the next one is gathered while one is being sent."""
        async with answering(context):
            plan = await self._call(self._plans.plan, request.plan_id)
            steps = _steps(plan, request)
            ahead: asyncio.Future[stream_pb2.FetchResponse] | None = None
            try:
                for step in steps:
                    frame = await (ahead or self._frame(plan, step, request))
                    ahead = self._frame(plan, step + 1, request) if step + 1 in steps else None
                    yield frame
            finally:
                # Cancelled by the client, or failed: nobody will wait for the next frame.
                if ahead is not None:
                    ahead.cancel()

    async def Ack(
        self,
        request: stream_pb2.AckRequest,
        context: grpc.aio.ServicerContext[stream_pb2.AckRequest, stream_pb2.AckResponse],
    ) -> stream_pb2.AckResponse:
        """Checks what was trained on against the plan, then writes it to the ledger."""
        async with answering(context):
            await self._call(self._acknowledge, request)
        return stream_pb2.AckResponse()

    async def StartRun(
        self,
        request: stream_pb2.StartRunRequest,
        context: grpc.aio.ServicerContext[stream_pb2.StartRunRequest, stream_pb2.StartRunResponse],
    ) -> stream_pb2.StartRunResponse:
        """Writes the run to the ledger, or finds it there, and says where it goes on."""
        async with answering(context):
            first_step = await self._call(self._start, request)
        return stream_pb2.StartRunResponse(first_step=first_step)

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
        return loop.run_in_executor(self._threads, function, *arguments)

    def _frame(
        self, plan: Plan, step: int, request: stream_pb2.FetchRequest
    ) -> asyncio.Future[stream_pb2.FetchResponse]:
        return self._call(self._gather, plan, step, request)

    def _gather(
        self, plan: Plan, step: int, request: stream_pb2.FetchRequest
    ) -> stream_pb2.FetchResponse:
        plan = self._caches.ready(plan)
        shard = plan.shard(step, request.rank, request.world_size)
        held = holding(plan, shard)
        return stream_pb2.FetchResponse(
            step=step,
            counts=self._counts(plan, shard, held),
            digest=held.digest,
            payload=self._payload(plan, shard, held, annotated=request.with_annotations),
        )

    def _payload(self, plan: Plan, shard: Batch, held: Holding, *, annotated: bool) -> bytes:
        annotations = self._annotations_of(plan) if annotated else None
        return self._cured(plan, lambda caches: encode_frame(shard, caches, annotations, held=held))

    def _annotations_of(self, plan: Plan) -> Sequence[Annotations]:
        if self._annotations is None:
            raise RecollectError(
                Reason.TEACHER_MISSING,
                "The service was started without a teacher.",
                fix="Ask for batches without annotations.",
            )
        return self._annotations.of(self._caches.of_plan(plan))

    def _counts(self, plan: Plan, shard: Batch, held: Holding) -> list[stream_pb2.SourceCount]:
        """What a shard has of each source, in the order of the plan; also of those without rows."""
        if held.num_tokens is not None and held.num_supervised_tokens is not None:
            tokens = list(
                zip(held.num_tokens.tolist(), held.num_supervised_tokens.tolist(), strict=True)
            )
        else:
            rows = [shard.examples[shard.sources == index] for index in range(len(plan.sources))]
            tokens = self._cured(
                plan,
                lambda caches: [
                    cache.counts(of_source) for cache, of_source in zip(caches, rows, strict=True)
                ],
            )
        counts = shard.counts(len(plan.sources)).tolist()
        return [
            stream_pb2.SourceCount(
                source=source.name,
                num_rows=num_rows,
                num_tokens=num_tokens,
                num_supervised_tokens=num_supervised,
            )
            for source, num_rows, (num_tokens, num_supervised) in zip(
                plan.sources, counts, tokens, strict=True
            )
        ]

    def _cured(self, plan: Plan, use: Callable[[Sequence[TokenCache]], Answer]) -> Answer:
        """Uses the caches of a plan; a damaged one is built again, once, and used then."""
        caches = self._caches.of_plan(plan)
        try:
            return use(caches)
        except DamagedCache:
            # Caches are not the truth: build them again from the segments.
            for cache in caches:
                self._caches.forget(cache)
            return use(self._caches.of_plan(plan))

    def _acknowledge(self, request: stream_pb2.AckRequest) -> None:
        plan = self._caches.ready(self._plans.plan(self._runs.get(request.run_id).plan_id))
        shard = plan.shard(request.step, request.rank, request.world_size)
        held = holding(plan, shard)
        counts = self._counts(plan, shard, held)
        if request.digest != held.digest or list(request.counts) != counts:
            what = "digest" if request.digest != held.digest else "counts"
            raise RecollectError(
                Reason.BATCH_DIFFERS,
                f"The {what} of step {request.step}, rank {request.rank} of {request.world_size}, "
                "is not what the plan prescribes.",
                where=what,
                fix="Stop the run: it was trained on something else than the plan.",
            )
        body: dict[str, JSON] = {
            "digest": request.digest.hex(),
            "counts": {count.source: count.num_rows for count in counts},
            "tokens": {count.source: count.num_tokens for count in counts},
            "supervised_tokens": {count.source: count.num_supervised_tokens for count in counts},
        }
        self._runs.acknowledge(
            request.run_id,
            step=request.step,
            rank=request.rank,
            world_size=request.world_size,
            body=body,
        )

    def _start(self, request: stream_pb2.StartRunRequest) -> int:
        _check_pattern(RUN_ID, request.run_id, "run_id")
        _check_pattern(DIGEST, request.base_digest, "base_digest")
        self._plans.plan(request.plan_id).require(Purpose.TRAIN)
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
