"""The gate: every call is authenticated and authorised before anything of it is read.

It stands before every handler of the server, whoever added it. Each call is taken as a stream, so
that not even a request is received, let alone parsed, before the principal is known.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ...mixer.errors import Reason, RecollectError
from ..status import Context, answering
from .authentication import Authenticator
from .principal import act_as
from .scopes import OPEN_METHODS

Behaviour = Callable[[AsyncIterator[bytes], Context], AsyncIterator[Any]]


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # no generics at run time
    """Lets a call through to its handler, or ends it with a typed refusal."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a method, behind the gate."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method in OPEN_METHODS:
            return handler
        return grpc.stream_stream_rpc_method_handler(
            self._guarded(method, handler), response_serializer=handler.response_serializer
        )

    def _guarded(self, method: str, handler: Any) -> Behaviour:
        authenticator = self._authenticator

        async def guarded(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            async with answering(context):
                principal = authenticator.principal(context)
                # First, so that the log names whom it was that lacked a scope.
                act_as(principal)
                authenticator.require(principal, method)
                async with aclosing(_answers(handler, requests, context)) as answers:
                    async for answer in answers:
                        # A stream may be long: what was revoked meanwhile gets nothing more.
                        authenticator.confirm(principal)
                        yield answer

        return guarded


async def _answers(
    handler: Any, requests: AsyncIterator[bytes], context: Context
) -> AsyncGenerator[Any, None]:
    """What a handler of any kind answers, as a stream."""
    request = (
        _parsed(requests, handler)
        if handler.request_streaming
        else _parse(await context.read(), handler)
    )
    async with aclosing(answers_of(_behaviour(handler)(request, context))) as answers:
        async for item in answers:
            yield item


async def answers_of(answer: Any) -> AsyncGenerator[Any, None]:
    """The items of what a behaviour returned: a generator, or a coroutine.

    A coroutine belongs to a unary answer, or to a stream that writes to its context.
    """
    if not inspect.isasyncgen(answer):
        result = await answer
        if result is not None:
            yield result
        return
    async with aclosing(answer):
        async for item in answer:
            yield item


def _behaviour(handler: Any) -> Any:
    return (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )


async def _parsed(requests: AsyncIterator[bytes], handler: Any) -> AsyncIterator[Any]:
    async for raw in requests:
        yield _parse(raw, handler)


def _parse(raw: Any, handler: Any) -> Any:
    """A request from its bytes."""
    if raw is grpc.aio.EOF:  # type: ignore[attr-defined]  # not in the stubs
        raise RecollectError(Reason.INPUT_MALFORMED, "the call holds no request.")
    try:
        return raw if handler.request_deserializer is None else handler.request_deserializer(raw)
    except DecodeError:
        raise RecollectError(
            Reason.INPUT_MALFORMED, "a request does not follow the wire contract."
        ) from None
