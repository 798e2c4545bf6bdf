"""Calls as they are watched: counted, timed, traced and logged, whoever answers them.

The watch stands before everything else that a server does with a call, so that what is refused for
want of a credential is seen as well. Health checks are let through unseen.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from ...mixer.errors import DOMAIN, Reason
from ...v1 import tracing
from ..access import acting_principal
from ..access.scopes import OPEN_METHODS
from ..status import Context
from .logs import tell
from .metrics import Metrics

UNKNOWN_METHOD = "unknown"
"""What stands for every method that there is none of: a caller may invent any number of them."""
_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_EXPECTED = (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
_OURS_TO_MEND = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)


class CallWatch(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # no generics at run time
    """Watches every call of a server; the first of its interceptors."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._meters: dict[str, _Meter] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a method, watched."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            self._meter(UNKNOWN_METHOD).unanswered()
            return None
        if method in OPEN_METHODS:
            return handler
        meter = self._meter(method.removeprefix("/"))
        return grpc.stream_stream_rpc_method_handler(
            _watched(meter, handler.stream_stream),
            request_deserializer=handler.request_deserializer,
            response_serializer=meter.measuring(handler.response_serializer),
        )

    def _meter(self, method: str) -> _Meter:
        meter = self._meters.get(method)
        if meter is None:
            meter = self._meters[method] = _Meter(self._metrics, method)
        return meter


def _watched(meter: _Meter, behaviour: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    async def watched(requests: Any, context: Context) -> AsyncIterator[Any]:
        call = _Call(meter, context)
        try:
            async with aclosing(behaviour(requests, context)) as answers:
                async for answer in answers:
                    yield answer
        except BaseException as error:
            call.failed(error)
            raise
        call.ended(_code(context) or grpc.StatusCode.OK)

    return watched


class _Meter:
    """What is counted of one method."""

    def __init__(self, metrics: Metrics, method: str) -> None:
        self.method = method
        self._ended = metrics.calls
        self.seconds = metrics.call_seconds.labels(method)
        self.in_flight = metrics.calls_in_flight.labels(method)
        self._bytes = metrics.sent_bytes.labels(method)

    def count(self, code: grpc.StatusCode, reason: str) -> None:
        """A call has ended."""
        self._ended.labels(self.method, code.name, reason).inc()

    def unanswered(self) -> None:
        """A call was made of a method that there is none of."""
        self.count(grpc.StatusCode.UNIMPLEMENTED, "")
        tell("call", logging.WARNING, method=self.method, code="UNIMPLEMENTED")

    def measuring(self, serialise: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        """A serialiser that counts what it makes: asking a message for its size would make it."""

        def serialised(message: Any) -> bytes:
            made = serialise(message)
            self._bytes.inc(len(made))
            return made

        return serialised


class _Call:
    """One call, from when it came in."""

    def __init__(self, meter: _Meter, context: Context) -> None:
        self._meter = meter
        self._context = context
        self._began = time.perf_counter()
        meter.in_flight.inc()
        parent = tracing.parent_in(context.invocation_metadata() or ())
        self._span = tracing.begin(meter.method, tracing.Side.SERVER, parent=parent)
        tracing.follow(self._span)

    def failed(self, error: BaseException) -> None:
        """It was refused or given up, or failed."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            left = self._context.time_remaining()
            late = left is not None and left <= 0
            codes = grpc.StatusCode
            self.ended(codes.DEADLINE_EXCEEDED if late else codes.CANCELLED)
        elif isinstance(error, grpc.aio.AbortError):
            code = _code(self._context) or grpc.StatusCode.UNKNOWN
            self.ended(code, _reason(self._context))
        else:
            self.ended(grpc.StatusCode.UNKNOWN, Reason.INTERNAL.name)

    def ended(self, code: grpc.StatusCode, reason: str = "") -> None:
        """It ended."""
        seconds = time.perf_counter() - self._began
        meter = self._meter
        meter.in_flight.dec()
        meter.seconds.observe(seconds)
        meter.count(code, reason)
        self._span.end("" if code in _EXPECTED else reason or code.name)
        principal = acting_principal()
        # Named by us: what a client calls its request could be anything.
        told = {"request_id": secrets.token_hex(8)}
        if self._span.trace_id:
            told["trace_id"] = self._span.trace_id
        if principal is not None:
            told |= {"tenant": principal.tenant, "holder": principal.holder}
        if reason:
            told["reason"] = reason
        tell(
            "call",
            _level(code),
            method=meter.method,
            code=code.name,
            seconds=round(seconds, 6),
            **told,
        )


def _level(code: grpc.StatusCode) -> int:
    if code in _EXPECTED:
        return logging.INFO
    return logging.ERROR if code in _OURS_TO_MEND else logging.WARNING


def _code(context: Context) -> grpc.StatusCode | None:
    code: Any = context.code()
    return _CODES.get(code) if isinstance(code, int) else code


def _reason(context: Context) -> str:
    """The reason among the details that a call was ended with."""
    for key, value in context.trailing_metadata() or ():
        if key != _DETAILS:
            continue
        try:
            details = Status.FromString(value).details
        except DecodeError:
            return ""
        info = ErrorInfo()
        for detail in details:
            if detail.Unpack(info) and info.domain == DOMAIN and info.reason in Reason.__members__:
                return str(info.reason)
    return ""
