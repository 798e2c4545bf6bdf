"""What a failed call says, whichever client made it."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from recollect.mixer.errors import CATALOG, DOMAIN, Reason, RecollectError
from recollect.services.client import error_from
from recollect.trainer.outage import from_rpc_error
from recollect.v1 import mix_pb2, mix_pb2_grpc
from recollect.v1.failure import attached_info

Ask = Callable[[str, str], grpc.RpcError]

ENDINGS = {
    grpc.StatusCode.UNAVAILABLE: Reason.SERVER_UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Reason.SERVER_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_PASSED,
    grpc.StatusCode.UNKNOWN: Reason.INTERNAL,
    grpc.StatusCode.UNIMPLEMENTED: Reason.INTERNAL,
}


CHANGED = ("a detail", "the details")
"""What changed on its way to us, so that it can no longer be read."""


class Failing(mix_pb2_grpc.MixServiceServicer):
    """Ends every call as the plan id says: with a code alone, or with details of a domain."""

    def GetPlan(
        self, request: mix_pb2.GetPlanRequest, context: grpc.ServicerContext
    ) -> mix_pb2.GetPlanResponse:
        how = request.plan_id
        if how in grpc.StatusCode.__members__:
            context.abort(grpc.StatusCode[how], "as the transport would")
        info = error_details_pb2.ErrorInfo(
            reason="PLAN_UNKNOWN", domain=how, metadata={"message": "no.", "where": "x", "fix": "y"}
        )
        packed = any_pb2.Any()
        packed.Pack(info)
        if how in CHANGED:
            # No text in UTF-8, and no message.
            packed.value = b"\x0a\x02\xff\xff"
            if how == "the details":
                context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
                context.abort(grpc.StatusCode.NOT_FOUND, "no")
        status = status_pb2.Status(code=code_pb2.NOT_FOUND, message="no", details=[packed])
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    mix_pb2_grpc.add_MixServiceServicer_to_server(Failing(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def failure(address: str, how: str) -> grpc.RpcError:
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        stub = mix_pb2_grpc.MixServiceStub(channel)
        stub.GetPlan(mix_pb2.GetPlanRequest(plan_id=how), timeout=20)
    return caught.value


def awaited_failure(address: str, how: str) -> grpc.RpcError:
    async def ask() -> grpc.RpcError:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = mix_pb2_grpc.MixServiceStub(channel)
            request = mix_pb2.GetPlanRequest(plan_id=how)
            with pytest.raises(grpc.RpcError) as caught:
                await stub.GetPlan(request, timeout=20)
            return caught.value

    return asyncio.run(ask())


def both(error: grpc.RpcError) -> list[RecollectError]:
    """What the command line and the trainer make of it."""
    return [error_from(error), from_rpc_error(error, "there")]


@pytest.mark.parametrize("ask", [failure, awaited_failure])
@pytest.mark.parametrize("code", ENDINGS, ids=lambda code: code.name)
def test_every_client_takes_a_code_for_the_same_reason_and_says_what_to_do(
    address: str, ask: Ask, code: grpc.StatusCode
) -> None:
    for told in both(ask(address, code.name)):
        assert told.reason is ENDINGS[code]
        assert told.message and told.fix


def test_only_a_trainer_that_goes_on_after_an_outage_is_told_so(address: str) -> None:
    command_line, trainer = both(failure(address, "UNAVAILABLE"))
    assert (command_line.where, trainer.where) == ("", "there")
    assert "resumes" in trainer.fix and "resumes" not in command_line.fix


@pytest.mark.parametrize("ask", [failure, awaited_failure])
def test_details_are_believed_if_they_are_ours(address: str, ask: Ask) -> None:
    for told in both(ask(address, DOMAIN)):
        assert told.reason is Reason.PLAN_UNKNOWN
        assert (told.message, told.where, told.fix) == ("no.", "x", "y")
    for told in both(ask(address, "elsewhere.example")):
        assert told.reason is Reason.INTERNAL
        assert "NOT_FOUND" in told.message


def test_an_error_that_never_was_a_call_is_internal() -> None:
    for told in both(grpc.RpcError()):
        assert told.reason is Reason.INTERNAL
        assert told.fix == CATALOG[Reason.INTERNAL].advice


@pytest.mark.parametrize("ask", [failure, awaited_failure])
@pytest.mark.parametrize("what", CHANGED)
def test_details_that_changed_on_their_way_are_no_details(
    address: str, ask: Ask, what: str
) -> None:
    error = ask(address, what)
    assert attached_info(error, DOMAIN) is None
    for told in both(error):
        assert told.reason is Reason.INTERNAL and "NOT_FOUND" in told.message
