"""The log: a line for each call that ended, and nothing in it that a client wrote."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from recollect.services.access import Scope
from recollect.services.observing import logging_as, tell
from recollect.services.observing.calls import CallWatch
from recollect.services.observing.metrics import Metrics
from recollect.v1 import stream_pb2
from recollect.v1.connection import Credentials, open_channel
from recollect.v1.stream_pb2_grpc import StreamServiceStub

from .conftest import HOLDER, TENANT, Scene

if TYPE_CHECKING:
    from access.conftest import METHODS
else:
    from ..access.conftest import METHODS

SECRET = "xyzzy-Melanie-Tester-4111111111111111"


def told(errors: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in errors.splitlines()]


@pytest.mark.slow
def test_a_call_is_one_line_with_who_and_how_long(scene: Scene) -> None:
    acks = [one for one in scene.events() if one.get("method", "").endswith("StreamService/Ack")]
    # Other tests may have repeated the acknowledgements of the whole run.
    assert acks and len(acks) % len(scene.steps) == 0
    for event in acks:
        assert event["event"] == "call" and event["level"] == "info" and event["code"] == "OK"
        assert (event["tenant"], event["holder"]) == (TENANT, HOLDER)
        assert 0 < event["seconds"] < 60
    assert len({event["request_id"] for event in acks}) == len(acks)


@pytest.mark.slow
def test_who_lacked_a_scope_is_named_in_the_line_of_the_call(scene: Scene) -> None:
    _, token = scene.register.issue_token(
        holder="reader", tenant=TENANT, scopes=[Scope.AUDITOR], days=1, by="pytest"
    )
    shown = scene.credentials(token)
    with (
        open_channel(scene.server.address, shown, options=()) as channel,
        pytest.raises(grpc.RpcError),
    ):
        StreamServiceStub(channel).Ack(stream_pb2.AckRequest(), timeout=30)
    refused: list[dict[str, Any]] = []
    until = time.monotonic() + 10
    # The line is written after the answer.
    while not refused and time.monotonic() < until:
        refused = [one for one in scene.events() if one.get("holder") == "reader"]
    assert [(one["reason"], one["tenant"]) for one in refused] == [("SCOPE_MISSING", TENANT)]


def _fill(message: Message, depth: int = 0) -> None:
    """Puts the secret wherever there is room for text or bytes."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry:
            continue
        if field.type == FieldDescriptor.TYPE_STRING:
            _put(message, field, SECRET)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            _put(message, field, SECRET.encode())
        elif field.type == FieldDescriptor.TYPE_MESSAGE and depth < 4:
            below = getattr(message, field.name)
            _fill(below.add() if field.is_repeated else below, depth + 1)


def _put(message: Message, field: Any, value: str | bytes) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _requests(method: str) -> Iterator[bytes]:
    """A message with secrets in every field, secrets that are no message, and nothing."""
    request = GetMessageClass(METHODS[method].input_type)()
    _fill(request)
    yield request.SerializeToString()
    yield SECRET.encode()
    yield b""


def _outcomes(channel: grpc.Channel, method: str) -> Iterator[grpc.StatusCode]:
    """Calls a method in every way, all of them with secrets in what they carry."""
    described = METHODS[method]
    kind = (
        f"{'stream' if described.client_streaming else 'unary'}_"
        f"{'stream' if described.server_streaming else 'unary'}"
    )
    metadata = (
        ("x-request-id", SECRET),
        ("traceparent", SECRET),
        ("tracestate", f"vendor={SECRET}"),
        ("baggage", f"name={SECRET}"),
        ("secret-bin", SECRET.encode()),
    )
    for request in _requests(method):
        for timeout in (30.0, 0.0005):
            try:
                sent: Any = iter([request]) if described.client_streaming else request
                answer = getattr(channel, kind)(method)(sent, timeout=timeout, metadata=metadata)
                if described.server_streaming:
                    list(answer)
                yield grpc.StatusCode.OK
            except grpc.RpcError as error:
                assert isinstance(error, grpc.Call)
                yield error.code()


@pytest.mark.slow
def test_no_failing_call_writes_what_its_client_wrote(scene: Scene) -> None:
    seen: set[grpc.StatusCode] = set()
    shown = (scene.token, f"{scene.token}{SECRET}", SECRET, None)
    for token in shown:
        with open_channel(scene.server.address, scene.credentials(token), options=()) as channel:
            for method in METHODS:
                seen |= set(_outcomes(channel, method))
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/{SECRET}/{SECRET}", None, None)(SECRET.encode(), timeout=10)
            stream = StreamServiceStub(channel).Fetch(
                stream_pb2.FetchRequest(plan_id=scene.long_plan_id, world_size=1), timeout=30
            )
            stream.cancel()  # type: ignore[no-untyped-call]
    codes = grpc.StatusCode
    assert seen >= {
        codes.UNAUTHENTICATED,
        codes.INVALID_ARGUMENT,
        codes.NOT_FOUND,
        codes.DEADLINE_EXCEEDED,
    }
    time.sleep(1)
    logged = scene.server.log.read_text()
    for secret in ("xyzzy", "Melanie", "4111111111111111", scene.token, "chats.jsonl", "lorry"):
        assert secret not in logged, secret
        assert secret not in scene.scraped(), secret
    ended = [event for event in scene.events() if event["event"] == "call"]
    assert {event.get("reason") for event in ended} >= {
        "CREDENTIAL_MISSING",
        "CREDENTIAL_UNKNOWN",
        "INPUT_MALFORMED",
        "PLAN_UNKNOWN",
        "SOURCE_UNKNOWN",
        "MIX_INVALID",
    }
    allowed = {"time", "level", "event", "method", "code", "seconds", "request_id", "trace_id"}
    for event in ended:
        assert set(event) <= allowed | {"tenant", "holder", "reason"}


async def _fails(request: bytes, context: Any) -> bytes:
    raise ValueError(f"cannot parse {request.decode()}")


class _Failing(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def failing(requests: Any, context: Any) -> Any:
            async for request in requests:
                yield await _fails(request, context)

        return grpc.stream_stream_rpc_method_handler(failing, response_serializer=bytes)


def test_a_failure_that_nobody_foresaw_is_told_without_its_message(
    capfd: pytest.CaptureFixture[str],
) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        server = grpc.aio.server(interceptors=[CallWatch(metrics)])
        server.add_generic_rpc_handlers((_Failing(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/some/Method", None, None)(SECRET.encode(), timeout=10)
        await server.stop(None)

    with logging_as("json", "debug"):
        asyncio.run(scenario())
    errors = capfd.readouterr().err
    assert SECRET not in errors
    events = told(errors)
    [call] = [event for event in events if event["event"] == "call"]
    assert (call["code"], call["reason"], call["level"]) == ("UNKNOWN", "INTERNAL", "error")
    # gRPC logs the exception itself: that it did is told, and the type.
    assert "ValueError" in {event.get("exception") for event in events}
    found = metrics.calls.labels("some/Method", "UNKNOWN", "INTERNAL")
    assert next(iter(found.collect())).samples[0].value == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_of_what_others_log_only_place_and_type_are_told(
    capfd: pytest.CaptureFixture[str], form: Any
) -> None:
    with logging_as(form, "debug"):
        logger = logging.getLogger("somebody.else")
        logger.warning("the text was %s", SECRET)
        logger.warning(f"the text was {SECRET}")
        try:
            raise ValueError(SECRET)
        except ValueError:
            logger.exception(SECRET)
    errors = capfd.readouterr().err
    assert SECRET not in errors and len(errors.splitlines()) == 3
    assert errors.count("somebody.else") == 3 and errors.count("test_logs.py:") == 3
    assert errors.count("ValueError") == 1


def test_lines_are_lines_whatever_is_in_them(capfd: pytest.CaptureFixture[str]) -> None:
    with logging_as("text", "info"):
        tell("call", holder='a"b\n2026 error forged', code="OK")
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and 'holder="a\\"b\\n2026 error forged"' in errors


@pytest.mark.parametrize(
    ("level", "expected"), [("info", 3), ("warning", 2), ("error", 1), ("debug", 3)]
)
def test_the_level_is_the_least_that_is_told(
    capfd: pytest.CaptureFixture[str], level: str, expected: int
) -> None:
    with logging_as("json", level):
        for severity in (logging.INFO, logging.WARNING, logging.ERROR):
            tell("call", severity)
    assert len(told(capfd.readouterr().err)) == expected


def test_the_log_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with logging_as("json", "debug"):
        assert (root.handlers, root.level) != before
    assert (root.handlers, root.level) == before


def test_credentials_say_nothing_of_themselves() -> None:
    assert SECRET not in repr(Credentials(token=SECRET))
