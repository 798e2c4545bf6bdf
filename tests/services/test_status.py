from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recollect.mixer.errors import CATALOG, Reason, RecollectError
from recollect.services.status import MAX_METADATA_CHARS, answering, to_status, translated
from recollect.trainer.outage import from_rpc_error
from recollect.v1 import stream_pb2, stream_pb2_grpc

SECRET = "Erika Mustermann, 0170 1234567"


class Refusing(stream_pb2_grpc.StreamServiceServicer):
    """Fails as it is told to."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    async def Ack(
        self,
        request: stream_pb2.AckRequest,
        context: grpc.aio.ServicerContext[stream_pb2.AckRequest, stream_pb2.AckResponse],
    ) -> stream_pb2.AckResponse:
        async with answering(context):
            raise self.failure


def answer_to(failure: Exception) -> grpc.RpcError:
    """What a client gets from a real server whose servicer fails."""

    async def serve() -> grpc.RpcError:
        server = grpc.aio.server()
        servicer = Refusing(failure)  # type: ignore[abstract]
        stream_pb2_grpc.add_StreamServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            return await asyncio.to_thread(ask, port)
        finally:
            await server.stop(None)

    def ask(port: int) -> grpc.RpcError:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = stream_pb2_grpc.StreamServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Ack(stream_pb2.AckRequest(), timeout=20)
            return caught.value

    return asyncio.run(serve())


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_status_that_exists(reason: Reason) -> None:
    status = to_status(RecollectError(reason, "no", where="here"))
    assert status.code.name == CATALOG[reason].status
    assert status.code is not grpc.StatusCode.OK


def test_an_error_crosses_the_wire_whole() -> None:
    sent = RecollectError(Reason.PLAN_UNKNOWN, "Es gibt keinen Plan „x“.", where="a[0].b", fix="Ä.")
    error = answer_to(sent)
    received = from_rpc_error(error, "somewhere")
    assert received.reason is Reason.PLAN_UNKNOWN
    assert (received.message, received.where, received.fix) == (sent.message, sent.where, sent.fix)
    assert cast(grpc.Call, error).details() == str(sent)


def test_an_argument_that_is_blamed_is_named_as_google_rpc_has_it() -> None:
    error = answer_to(RecollectError(Reason.MIX_INVALID, "too small", where="sources[2].share"))
    status = rpc_status.from_call(cast(grpc.Call, error))
    request = error_details_pb2.BadRequest()
    assert status is not None and status.details[1].Unpack(request)
    assert request.field_violations[0].field == "sources[2].share"
    assert request.field_violations[0].description == "too small"


@pytest.mark.parametrize("failure", [ValueError(SECRET), KeyError(SECRET), OSError(2, SECRET)])
def test_nothing_of_an_unforeseen_failure_leaves_or_is_logged(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error: Any = answer_to(failure)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert from_rpc_error(error, "somewhere").reason is Reason.INTERNAL
    seen = [error.details(), str(error.trailing_metadata()), caplog.text]
    assert not any(word in text for word in ("Erika", "0170") for text in seen)
    assert type(failure).__name__ in caplog.text


def test_a_message_that_is_too_long_for_the_trailers_is_cut() -> None:
    error = answer_to(RecollectError(Reason.MIX_INVALID, "x" * 100_000, where="y" * 9000, fix="z"))
    received = from_rpc_error(error, "somewhere")
    assert received.reason is Reason.MIX_INVALID
    assert len(received.message) == len(received.where) == MAX_METADATA_CHARS
    assert received.fix == "z"


def test_a_cancelled_call_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def cancelled() -> None:
        async with answering(cast(Any, None)):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert caplog.text == ""


def test_a_stream_that_is_left_is_closed_down_to_its_source() -> None:
    events = []

    class Servicer:
        @translated
        async def Count(self, request: object, context: object) -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                events.append("closed")

    async def work() -> None:
        stream = Servicer().Count(None, None)
        assert await anext(stream) == 1
        await stream.aclose()
        events.append("left")

    asyncio.run(work())
    assert events == ["closed", "left"]
