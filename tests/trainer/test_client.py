from __future__ import annotations

import pickle
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.shards import shards
from recollect.services.ledger import Ledger
from recollect.services.stream import MAX_FRAME_BYTES, SERVER_OPTIONS
from recollect.trainer import outage
from recollect.trainer.client import CHANNEL_OPTIONS, Client, Patience, connect
from recollect.trainer.frame import decode
from recollect.trainer.outage import MOST_BAD_ANSWERS
from recollect.v1 import mix_pb2, mix_pb2_grpc, stream_pb2, stream_pb2_grpc
from recollect.v1.envelope import checksum_of, signed

if TYPE_CHECKING:
    from stream.replica import Replica, Server

BRIEF = Patience(deadline_s=10.0, outage_s=0.5)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    connected = connect(server.address)
    yield connected
    connected.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def test_a_plan_arrives_as_it_was_sealed(client: Client, replica: Replica) -> None:
    assert client.plan(replica.plan.plan_id).to_json() == replica.plan.to_json()


def test_an_unknown_plan_is_the_error_of_the_service(client: Client) -> None:
    with pytest.raises(RecollectError) as caught:
        client.plan("00" * 32)
    assert caught.value.reason is Reason.PLAN_UNKNOWN
    assert caught.value.where == "00" * 32


def test_a_run_is_started_acknowledged_and_finished(client: Client, replica: Replica) -> None:
    plan = replica.plan
    assert client.start_run("client", plan.plan_id, base_digest="ab" * 32) == 0
    for step in range(3):
        [frame] = client.fetch(plan.plan_id, step, 1)
        [batch] = decode(frame, plan, shards(plan, step, 1))
        assert batch.digest == plan.shard(step, 0, 1).digest
        head = client.ack(
            "client",
            step=step,
            rank=0,
            world_size=1,
            digest=batch.digest,
            counts=batch.tallies,
        )
        entries = list(Ledger.read(replica.folder))
        assert head == (len(entries), bytes.fromhex(entries[-1].digest))
    assert client.start_run("client", plan.plan_id, base_digest="ab" * 32) == 3
    measured = stream_pb2.Measurement(metric="nll", subject="general", before=2.0, after=1.5)
    client.finish_run("client", tuned_digest="cd" * 32, measurements=[measured])


def test_an_acknowledgement_that_differs_is_one_error(client: Client, replica: Replica) -> None:
    client.start_run("wrong", replica.plan.plan_id, base_digest="ab" * 32)
    with pytest.raises(RecollectError) as caught:
        client.ack("wrong", step=0, rank=0, world_size=1, digest=bytes(32), counts={})
    assert caught.value.reason is Reason.BATCH_DIFFERS


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", "http://a:1", "a b:1", "unix:"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(RecollectError) as caught:
        connect(address)
    assert caught.value.reason is Reason.CONFIG_INVALID


@pytest.mark.parametrize("address", ["localhost:1", "10.0.0.1:7431", "[::1]:7431", "unix:/run/x"])
def test_hosts_and_sockets_are_addresses(address: str) -> None:
    assert connect(address).address == address


def test_nobody_there_is_one_error_within_the_stated_time(closed_port: int) -> None:
    client = connect(f"127.0.0.1:{closed_port}", patience=BRIEF)
    for call in (lambda: client.plan("00" * 32), lambda: next(client.fetch("00" * 32, 0, 1))):
        began = time.monotonic()
        with pytest.raises(RecollectError, match="recollect serve") as caught:
            call()
        assert caught.value.reason is Reason.SERVER_UNAVAILABLE
        assert caught.value.where == f"127.0.0.1:{closed_port}"
        assert 0.4 < time.monotonic() - began < 3.0
    client.close()


def test_a_service_that_never_answers_is_a_passed_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        client = connect(address, patience=Patience(deadline_s=0.5, outage_s=0.5))
        with pytest.raises(RecollectError) as caught:
            client.plan("00" * 32)
        assert caught.value.reason in (Reason.DEADLINE_PASSED, Reason.SERVER_UNAVAILABLE)
        client.close()


def test_a_pickled_client_opens_its_own_channel(client: Client, replica: Replica) -> None:
    client.plan(replica.plan.plan_id)
    copy: Client = pickle.loads(pickle.dumps(client))
    assert copy.address == client.address and copy.patience == client.patience
    assert copy._channels.opened == {}
    copy.plan(replica.plan.plan_id)
    assert next(iter(copy._channels.opened.values())) is not next(
        iter(client._channels.opened.values())
    )
    copy.close()


def test_closing_ends_what_other_threads_wait_for(closed_port: int) -> None:
    client = connect(f"127.0.0.1:{closed_port}", patience=Patience(outage_s=60.0))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.plan, "00" * 32)
        time.sleep(0.3)
        began = time.monotonic()
        client.close()
        with pytest.raises(RecollectError):
            waiting.result(timeout=10)
    assert time.monotonic() - began < 5.0


def test_both_sides_agree_on_pings_and_sizes() -> None:
    ours, theirs = dict(CHANNEL_OPTIONS), dict(SERVER_OPTIONS)
    least = theirs["grpc.http2.min_ping_interval_without_data_ms"]
    assert ours["grpc.keepalive_time_ms"] > least
    assert ours["grpc.max_receive_message_length"] >= MAX_FRAME_BYTES
    assert ours["grpc.max_receive_message_length"] >= theirs["grpc.max_send_message_length"]
    assert ours["grpc.max_send_message_length"] <= theirs["grpc.max_receive_message_length"]
    assert theirs["grpc.keepalive_permit_without_calls"] == 1


class Liar(mix_pb2_grpc.MixServiceServicer, stream_pb2_grpc.StreamServiceServicer):
    """A service that is not to be trusted."""

    def __init__(self, plan_json: str) -> None:
        self.plan_json = plan_json
        self.frames: list[stream_pb2.FetchResponse] = []

    def GetPlan(self, request: Any, context: Any) -> mix_pb2.GetPlanResponse:
        return mix_pb2.GetPlanResponse(plan_json=self.plan_json)

    def Fetch(self, request: Any, context: Any) -> Iterator[stream_pb2.FetchResponse]:
        yield from self.frames


@pytest.fixture
def liar(replica: Replica) -> Iterator[tuple[Liar, Client]]:
    service = Liar(replica.plan.to_json())  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(2))
    mix_pb2_grpc.add_MixServiceServicer_to_server(service, server)
    stream_pb2_grpc.add_StreamServiceServicer_to_server(service, server)
    client = connect(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", patience=BRIEF)
    server.start()
    yield service, client
    client.close()
    server.stop(None).wait()


def test_another_plan_under_the_same_id_is_found(
    liar: tuple[Liar, Client], replica: Replica
) -> None:
    _, client = liar
    with pytest.raises(RecollectError) as caught:
        client.plan("00" * 32)
    assert caught.value.reason is Reason.PLAN_TAMPERED
    liar[0].plan_json = replica.plan.to_json().replace('"batch_size":20', '"batch_size":10')
    with pytest.raises(RecollectError) as caught:
        client.plan(replica.plan.plan_id)
    assert caught.value.reason is Reason.PLAN_TAMPERED


@pytest.mark.parametrize("num_lost", [1, MOST_BAD_ANSWERS - 1, MOST_BAD_ANSWERS])
def test_a_call_that_ends_well_but_not_with_its_answer_is_made_again(
    monkeypatch: pytest.MonkeyPatch, num_lost: int
) -> None:
    """As when an answer is lost or changed on its way, and the status that follows it is not."""
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.001)
    client = connect("127.0.0.1:1", patience=BRIEF)
    sound = signed(stream_pb2.AckResponse(ledger_length=7, ledger_head=b"h" * 32))
    changed = stream_pb2.AckResponse()
    changed.CopyFrom(sound)
    changed.ledger_length = 5
    answers: list[Any] = [*[None, changed, None, changed, None][:num_lost], sound]

    def answered(request: object, timeout: float) -> Any:
        return answers.pop(0)

    if num_lost < MOST_BAD_ANSWERS:
        assert client._call(lambda channel: answered, object()).ledger_length == 7
        return
    with pytest.raises(RecollectError) as caught:
        client._call(lambda channel: answered, object())
    assert (caught.value.reason, caught.value.where) == (Reason.FRAME_DAMAGED, "127.0.0.1:1")


def message(*steps: int) -> stream_pb2.FetchResponse:
    held = [stream_pb2.StepFrame(step=step) for step in steps]
    return stream_pb2.FetchResponse(steps=held, checksum=checksum_of(held, b""))


@pytest.mark.parametrize(
    "steps",
    [
        *([[]], [[1]], [[0], [0]], [[0], [2]], [[0, 0]], [[0, 2]], [[1, 0]], [[0, 1], [1, 2]]),
        *([[0], []], [[0, 1], [3]], [[-1, 0]], [[2, 1, 0]]),
        # More than was asked for.
        *([[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0, 1, 2], [3]]),
        # Nothing, again and again.
        [],
    ],
    ids=str,
)
def test_a_stream_of_other_steps_is_found(
    liar: tuple[Liar, Client], steps: list[list[int]]
) -> None:
    service, client = liar
    service.frames = [message(*numbers) for numbers in steps]
    with pytest.raises(RecollectError) as caught:
        list(client.fetch("00" * 32, 0, 3))
    assert caught.value.reason is Reason.BATCH_DIFFERS


@pytest.mark.faults
def test_a_socket_file_serves_as_well_as_a_port(replicas: Any, tmp_path: Path) -> None:
    made = replicas.make_replica(tmp_path / "data")
    address = f"unix:{tmp_path}/socket"
    with replicas.Process("serve", made.folder, address) as process:
        process.line()
        client = connect(address)
        assert client.plan(made.plan.plan_id).plan_id == made.plan.plan_id
        [frame] = client.fetch(made.plan.plan_id, 0, 2)
        assert [step.step for step in frame.steps] == [0, 1]
        client.close()


def test_who_waits_for_a_service_is_told_so_once(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    for addresses in (f"127.0.0.1:{closed_port}", f"127.0.0.1:{closed_port},unix:/nowhere"):
        caplog.clear()
        client = connect(addresses, patience=BRIEF)
        with pytest.raises(RecollectError):
            client.plan("00" * 32)
        [told] = [record.getMessage() for record in caplog.records]
        assert addresses in told and "asking again" in told


def test_of_several_addresses_the_one_that_answers_is_asked(
    server: Server, replica: Replica, closed_port: int
) -> None:
    client = connect(f"127.0.0.1:{closed_port}, {server.address}", patience=BRIEF)
    assert client._channels.addresses == (f"127.0.0.1:{closed_port}", server.address)
    frames = list(client.fetch(replica.plan.plan_id, 0, 3))
    assert [step.step for frame in frames for step in frame.steps] == [0, 1, 2]
    # And stays the one that is asked.
    assert client.plan(replica.plan.plan_id).plan_id == replica.plan.plan_id
    assert client._channels.asked == server.address
    client.close()


def test_a_stream_goes_on_at_another_address_when_its_own_is_gone(
    replicas: Any, replica: Replica, server: Server, tmp_path: Path
) -> None:
    shutil.copytree(replica.folder, tmp_path / "copy")
    with replicas.Server(tmp_path / "copy", message_bytes=1) as first:
        client = connect(f"{first.address},{server.address}", patience=BRIEF)
        frames = client.fetch(replica.plan.plan_id, 0, 30)
        steps = [next(frames).steps[0].step for _ in range(3)]
        first.kill()
        steps += [step.step for frame in frames for step in frame.steps]
    assert steps == list(range(30))
    client.close()


def test_nobody_at_any_address_is_one_error(closed_port: int) -> None:
    address = f"127.0.0.1:{closed_port},unix:/nowhere/there"
    client = connect(address, patience=BRIEF)
    with pytest.raises(RecollectError) as caught:
        client.plan("00" * 32)
    assert caught.value.reason is Reason.SERVER_UNAVAILABLE
    assert caught.value.where == address
    client.close()


def test_one_bad_address_of_several_is_refused_at_once() -> None:
    with pytest.raises(RecollectError, match="'localhost'") as caught:
        connect("127.0.0.1:1,localhost")
    assert caught.value.reason is Reason.CONFIG_INVALID
