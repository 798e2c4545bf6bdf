"""Messages that change or are lost on their way: fetched again, and never taken for the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import torch

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.client import CHANNEL_OPTIONS, Patience, connect
from recollect.trainer.loader import ReplayLoader, TrainBatch
from recollect.trainer.outage import MOST_BAD_ANSWERS
from recollect.v1 import mix_pb2, mix_pb2_grpc, stream_pb2, stream_pb2_grpc
from recollect.v1.envelope import DamagedMessage, checksum_of, enclosed, opened

if TYPE_CHECKING:
    from stream.replica import Replica, Server

Frame = stream_pb2.FetchResponse
Way = Callable[[int, int, Frame], Frame | None]
"""What becomes of a message, by the number of the stream and of the message in it; None ends the
stream."""


def untouched(stream: int, place: int, frame: Frame) -> Frame:
    return frame


class Proxy(mix_pb2_grpc.MixServiceServicer, stream_pb2_grpc.StreamServiceServicer):
    """Stands between a trainer and a real service, and is not to be trusted."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._mixes = mix_pb2_grpc.MixServiceStub(channel)
        self._streams = stream_pb2_grpc.StreamServiceStub(channel)
        self.way: Way = untouched
        self.asked: list[int] = []
        """First step of every stream."""

    def GetPlan(self, request: Any, context: Any) -> mix_pb2.GetPlanResponse:
        return self._mixes.GetPlan(request)

    def Fetch(self, request: Any, context: Any) -> Iterator[Frame]:
        number = len(self.asked)
        self.asked.append(request.first_step)
        for place, frame in enumerate(self._streams.Fetch(request)):
            passed = self.way(number, place, frame)
            if passed is None:
                return
            yield passed


@pytest.fixture(scope="module")
def made(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    replica: Replica = replicas.make_replica(tmp_path_factory.mktemp("tampering") / "data")
    return replica


@pytest.fixture(scope="module")
def small(replicas: Any, made: Replica) -> Iterator[Server]:
    """Messages of a few steps."""
    with replicas.Server(made.folder, message_bytes=6_000) as running:
        yield running


@pytest.fixture(scope="module")
def expected(small: Server, made: Replica) -> list[TrainBatch]:
    with ReplayLoader(small.address, made.plan.plan_id) as loader:
        batches = list(loader)
    assert len(batches) == 30
    return batches


@pytest.fixture
def proxied(small: Server) -> Iterator[tuple[Proxy, str]]:
    with grpc.insecure_channel(small.address, options=CHANNEL_OPTIONS) as channel:
        proxy = Proxy(channel)  # type: ignore[abstract]
        server = grpc.server(ThreadPoolExecutor(2))
        mix_pb2_grpc.add_MixServiceServicer_to_server(proxy, server)
        stream_pb2_grpc.add_StreamServiceServicer_to_server(proxy, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield proxy, address
        server.stop(None).wait()


def flipped(frame: Frame, *, at: int = -100) -> Frame:
    payload = bytearray(frame.payload)
    payload[at] ^= 1
    changed = Frame()
    changed.CopyFrom(frame)
    changed.payload = bytes(payload)
    return changed


def received(address: str, made: Replica) -> list[TrainBatch]:
    with ReplayLoader(address, made.plan.plan_id, patience=Patience(outage_s=5)) as loader:
        batches = list(loader)
        assert len(loader) == 0
        return batches


def require_same(batches: list[TrainBatch], expected: list[TrainBatch]) -> None:
    assert [batch.step for batch in batches] == [batch.step for batch in expected]
    for one, other in zip(batches, expected, strict=True):
        assert one.digest == other.digest
        for name in ("input_ids", "loss_mask", "lengths", "sources"):
            assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("times", [1, MOST_BAD_ANSWERS - 1])
def test_a_message_that_changed_on_its_way_is_fetched_again(
    proxied: tuple[Proxy, str], made: Replica, expected: list[TrainBatch], times: int
) -> None:
    proxy, address = proxied
    # The third message of the first stream, and the first of the next few.
    proxy.way = lambda stream, place, frame: (
        flipped(frame) if place == (2 if stream == 0 else 0) and stream < times else frame
    )
    require_same(received(address, made), expected)
    assert len(proxy.asked) == times + 1
    # It goes on where it was, not from the beginning.
    assert len(set(proxy.asked[1:])) == 1 and 0 < proxy.asked[1] < 30


def test_one_sound_message_between_bad_ones_is_enough_to_go_on(
    proxied: tuple[Proxy, str], made: Replica, expected: list[TrainBatch]
) -> None:
    proxy, address = proxied
    proxy.way = lambda stream, place, frame: flipped(frame) if place == 1 else frame
    require_same(received(address, made), expected)
    assert len(proxy.asked) > MOST_BAD_ANSWERS


@pytest.mark.parametrize("what", ["payload", "checksum", "cut", "longer", "empty"])
def test_what_is_damaged_again_and_again_is_one_error(
    proxied: tuple[Proxy, str], made: Replica, what: str
) -> None:
    proxy, address = proxied

    def damaged(stream: int, place: int, frame: Frame) -> Frame:
        match what:
            case "payload":
                return flipped(frame, at=len(frame.payload) // 2)
            case "checksum":
                frame.checksum ^= 1 << 63
            case "cut":
                frame.payload = frame.payload[:-8]
            case "longer":
                frame.payload += b"\0"
            case "empty":
                frame.payload = b""
        return frame

    proxy.way = damaged
    with pytest.raises(RecollectError) as caught:
        received(address, made)
    assert caught.value.reason is Reason.FRAME_DAMAGED
    assert caught.value.where == address
    assert "step 0" in str(caught.value)
    assert proxy.asked == [0] * MOST_BAD_ANSWERS


def test_a_flipped_bit_anywhere_in_a_payload_is_found(small: Server, made: Replica) -> None:
    client = connect(small.address)
    frame = next(client.fetch(made.plan.plan_id, 0, 2))
    client.close()
    message = enclosed(frame.steps, frame.payload)
    assert opened(message).payload == frame.payload
    for at in range(len(message) - len(frame.payload), len(message)):
        changed = message[:at] + bytes((message[at] ^ 1 << at % 8,)) + message[at + 1 :]
        with pytest.raises(DamagedMessage):
            opened(changed)


@pytest.mark.parametrize("num_messages", [1, 3])
def test_a_stream_that_ends_early_goes_on_at_its_step(
    proxied: tuple[Proxy, str], made: Replica, expected: list[TrainBatch], num_messages: int
) -> None:
    proxy, address = proxied
    proxy.way = lambda stream, place, frame: frame if place < num_messages else None
    require_same(received(address, made), expected)
    assert len(proxy.asked) > 2
    assert proxy.asked == sorted(set(proxy.asked))


def test_a_stream_that_ends_at_once_again_and_again_is_no_end_of_the_data(
    proxied: tuple[Proxy, str], made: Replica
) -> None:
    proxy, address = proxied
    # Everything up to some step, and from there on nothing.
    proxy.way = lambda stream, place, frame: frame if stream == 0 and place < 2 else None
    batches = []
    with ReplayLoader(address, made.plan.plan_id) as loader:
        with pytest.raises(RecollectError, match="without sending step") as caught:
            for batch in loader:
                batches.append(batch.step)
        assert len(loader) == 30 - len(batches)
    assert caught.value.reason is Reason.BATCH_DIFFERS
    assert batches == list(range(proxy.asked[-1])) and 0 < len(batches) < 30
    assert proxy.asked == [0] + [len(batches)] * (MOST_BAD_ANSWERS - 1)


def test_steps_that_were_left_out_on_the_way_are_found(
    proxied: tuple[Proxy, str], made: Replica
) -> None:
    proxy, address = proxied

    def shortened(stream: int, place: int, frame: Frame) -> Frame:
        del frame.steps[-1]
        frame.checksum = checksum_of(frame.steps, frame.payload)
        return frame

    proxy.way = shortened
    with pytest.raises(RecollectError) as caught:
        received(address, made)
    assert caught.value.reason is Reason.BATCH_DIFFERS


@pytest.mark.parametrize("what", ["digest", "rows", "number"])
def test_what_is_said_of_steps_is_asked_for_again_where_it_changed_on_its_way(
    proxied: tuple[Proxy, str], made: Replica, expected: list[TrainBatch], what: str
) -> None:
    proxy, address = proxied

    def flipped(stream: int, place: int, frame: Frame) -> Frame:
        if stream == 0 and place == 1:
            match what:
                case "digest":
                    frame.steps[0].digest = bytes(32)
                case "rows":
                    frame.steps[0].source_rows[0] ^= 1
                case "number":
                    frame.steps[0].step ^= 1 << 7
        return frame

    proxy.way = flipped
    require_same(received(address, made), expected)
    assert len(proxy.asked) == 2
