"""Errors on the wire: a `RecollectError` with its details, and of anything else nothing.

What is not ours may carry example text in its message, so it is logged by type alone and leaves the
server as INTERNAL.
"""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ..mixer.errors import CATALOG, DOMAIN, Reason, RecollectError

_log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""What grpc hands to a call."""

MAX_METADATA_CHARS = 800
"""Longest value of an error's metadata: all of it has to fit into the 8 KiB of HTTP/2 trailers."""


def to_status(error: RecollectError) -> grpc.Status:
    """The status of an error: ErrorInfo always, BadRequest as well when it blames an argument."""
    code = CATALOG[error.reason].status
    metadata = {key: _short(value) for key, value in error.to_metadata().items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=metadata)
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=_short(str(error)))
    status.details.append(_pack(info))
    if code == "INVALID_ARGUMENT" and error.where:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=metadata["where"], description=metadata["message"]
        )
        status.details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    return rpc_status.to_status(status)


@asynccontextmanager
async def answering(context: Context) -> AsyncIterator[None]:
    """Runs the body of an RPC and ends the RPC with the status of whatever it raises."""
    try:
        yield
    except RecollectError as error:
        await context.abort_with_status(to_status(error))  # type: ignore[attr-defined]  # not in the stubs
    except Exception as error:  # asyncio.CancelledError is no Exception, and passes
        # grpc.aio ends an RPC by raising AbortError, which is not a failure.
        if isinstance(error, grpc.aio.AbortError):
            raise
        _log.error("internal error: %s at %s", type(error).__name__, _place(error))
        hidden = RecollectError(Reason.INTERNAL, CATALOG[Reason.INTERNAL].public)
        await context.abort_with_status(to_status(hidden))  # type: ignore[attr-defined]


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _short(text: str) -> str:
    return text if len(text) <= MAX_METADATA_CHARS else text[: MAX_METADATA_CHARS - 1] + "…"


def translated(call: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a method of a servicer end its RPC with the status of whatever it raises."""
    if inspect.isasyncgenfunction(call):

        @functools.wraps(call)
        async def streamed(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            # Closed here and not by the garbage collector: what it holds is free when the RPC ends.
            async with answering(context), aclosing(call(self, request, context)) as responses:
                async for response in responses:
                    yield response

        return streamed

    @functools.wraps(call)
    async def answered(self: Any, request: Any, context: Any) -> Any:
        async with answering(context):
            return await call(self, request, context)

    return answered
