"""Streams: messages of a few steps each, as many under way as there are credits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from recollect.mixer.errors import Reason
from recollect.services.ledger import Ledger
from recollect.services.planbook import PlanBook
from recollect.services.replay import ReplayStore
from recollect.services.stream import ChatTemplate, StreamServicer, TokenCaches, course
from recollect.services.stream.course import Course
from recollect.services.stream.service import CREDITS, MOST_CREDITS
from recollect.trainer.client import CHANNEL_OPTIONS
from recollect.v1 import stream_pb2 as pb
from recollect.v1 import stream_pb2_grpc
from recollect.v1.envelope import checksum_of

from .framing import steps_of
from .refusal import refused

if TYPE_CHECKING:
    from stream.replica import Replica, Server

MESSAGE_BYTES = 6_000
"""A few steps of the replica."""


@pytest.fixture(scope="module")
def made(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    replica: Replica = replicas.make_replica(tmp_path_factory.mktemp("streams") / "data")
    return replica


@pytest.fixture(scope="module")
def small(replicas: Any, made: Replica) -> Iterator[Server]:
    with replicas.Server(made.folder, message_bytes=MESSAGE_BYTES) as running:
        yield running


@pytest.fixture(scope="module")
def stub(small: Server) -> Iterator[Any]:
    with grpc.insecure_channel(small.address, options=CHANNEL_OPTIONS) as channel:
        yield stream_pb2_grpc.StreamServiceStub(channel)


def fetch(stub: Any, made: Replica, **fields: Any) -> list[pb.FetchResponse]:
    request = pb.FetchRequest(plan_id=made.plan.plan_id, **{"world_size": 1, **fields})
    return list(stub.Fetch(request, timeout=30))


def numbers(frames: list[pb.FetchResponse]) -> list[int]:
    return [step.step for frame in frames for step in frame.steps]


def test_a_message_says_which_steps_it_holds(stub: Any, made: Replica) -> None:
    frames = fetch(stub, made, first_step=4, num_steps=23, rank=1, world_size=2)
    assert numbers(frames) == list(range(4, 27))
    assert 1 < len(frames) < 23
    for frame in frames:
        assert frame.checksum == checksum_of(frame.steps, frame.payload)
        assert len(frame.payload) < 2 * MESSAGE_BYTES
    for step, rows in steps_of(*frames):
        shard = made.plan.shard(step.step, 1, 2)
        assert step.digest == shard.digest
        assert list(step.source_rows) == shard.counts(3).tolist()
        assert [row["position"] for row in rows] == shard.positions.tolist()


def test_no_more_than_was_asked_for_is_sent(stub: Any, made: Replica) -> None:
    for num_steps in (1, 2, 3, 7):
        assert numbers(fetch(stub, made, num_steps=num_steps)) == list(range(num_steps))


def test_zero_steps_mean_all_that_remain(stub: Any, made: Replica) -> None:
    assert numbers(fetch(stub, made, first_step=27)) == [27, 28, 29]


def test_a_step_does_not_depend_on_what_was_asked_before(stub: Any, made: Replica) -> None:
    in_one = list(steps_of(*fetch(stub, made)))
    for first, num_steps in ((29, 1), (3, 1), (0, 1), (11, 9)):
        again = list(steps_of(*fetch(stub, made, first_step=first, num_steps=num_steps)))
        assert again == in_one[first : first + num_steps]


def test_the_same_request_is_answered_with_the_same_bytes(stub: Any, made: Replica) -> None:
    answers = [fetch(stub, made, first_step=5, rank=2, world_size=3) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"plan_id": "00" * 32}, Reason.PLAN_UNKNOWN),
        ({"first_step": -1}, Reason.PLAN_OUT_OF_RANGE),
        ({"first_step": 30}, Reason.PLAN_OUT_OF_RANGE),
        ({"first_step": 29, "num_steps": 2}, Reason.PLAN_OUT_OF_RANGE),
        ({"num_steps": -1}, Reason.PLAN_OUT_OF_RANGE),
        ({"num_steps": 2**62}, Reason.PLAN_OUT_OF_RANGE),
        ({"world_size": 0}, Reason.RANK_INVALID),
        ({"world_size": -1}, Reason.RANK_INVALID),
        ({"world_size": 21}, Reason.RANK_INVALID),
        ({"rank": 2, "world_size": 2}, Reason.RANK_INVALID),
        ({"rank": -1, "world_size": 2}, Reason.RANK_INVALID),
        ({"with_annotations": True}, Reason.TEACHER_MISSING),
        ({"credits": -1}, Reason.CONFIG_INVALID),
        ({"credits": MOST_CREDITS + 1}, Reason.CONFIG_INVALID),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_refused_with_its_reason(
    stub: Any, made: Replica, fields: dict[str, Any], reason: Reason
) -> None:
    chosen: dict[str, Any] = {"plan_id": made.plan.plan_id, "world_size": 1} | fields
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Fetch(pb.FetchRequest(**chosen), timeout=30))
    found, _, metadata = refused(caught.value)
    assert found is reason
    if "credits" in fields:
        assert metadata["where"] == "credits"


@pytest.mark.parametrize("credits", [0, 1, 2, MOST_CREDITS])
def test_credits_change_nothing_of_what_is_sent(stub: Any, made: Replica, credits: int) -> None:
    assert fetch(stub, made, credits=credits) == fetch(stub, made)


def test_a_cancelled_stream_leaves_the_service_well(stub: Any, made: Replica) -> None:
    request = pb.FetchRequest(plan_id=made.plan.plan_id, world_size=1, credits=MOST_CREDITS)
    for _ in range(30):
        stream = stub.Fetch(request, timeout=30)
        next(stream)
        stream.cancel()
    assert numbers(fetch(stub, made)) == list(range(30))


def test_streams_that_nobody_reads_do_not_stop_the_others(stub: Any, made: Replica) -> None:
    request = pb.FetchRequest(plan_id=made.plan.plan_id, world_size=1, credits=1)
    stalled = [stub.Fetch(request, timeout=30) for _ in range(40)]
    assert numbers(fetch(stub, made)) == list(range(30))
    for stream in stalled:
        stream.cancel()


@pytest.fixture
def advanced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of every message that was made in this process."""
    made: list[int] = []
    advance = Course.advance

    def counted(self: Course) -> bytes | None:
        message = advance(self)
        if message is not None:
            made.append(self.num_steps)
        return message

    monkeypatch.setattr(Course, "advance", counted)
    monkeypatch.setattr(course, "TARGET_BYTES", 1)
    return made


@pytest.fixture
def servicer(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    replica = replicas.make_replica(tmp_path_factory.mktemp("credits") / "data")
    ledger = Ledger.open(replica.folder)
    store, template = ReplayStore.open(replica.folder, ledger), ChatTemplate.load(replica.model)
    caches = TokenCaches(replica.folder / "cache", store=store, template=template)
    opened = StreamServicer(PlanBook(ledger, ready=caches.ready), caches, ledger)
    yield opened, replica.plan.plan_id
    opened.close()
    ledger.close()


async def settled(made: list[int], *, least: int) -> int:
    """Messages made once no more are: some time after there are as many as there may be."""
    deadline = time.monotonic() + 20
    while len(made) < least and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    return len(made)


@pytest.mark.parametrize(("credits", "under_way"), [(0, CREDITS), (1, 1), (5, 5), (16, 16)])
def test_credits_bound_what_is_under_way(
    servicer: Any, advanced: list[int], credits: int, under_way: int
) -> None:
    opened, plan_id = servicer
    request = pb.FetchRequest(plan_id=plan_id, world_size=1, credits=credits)

    async def stalling() -> None:
        stream: AsyncIterator[bytes] = opened.Fetch(request, None)
        # Who asks for the next message has had the one before taken over.
        for num_asked in range(1, 6):
            frame = pb.FetchResponse.FromString(await anext(stream))
            assert [step.step for step in frame.steps] == [num_asked - 1]
            bound = num_asked - 1 + under_way
            assert await settled(advanced, least=bound) == bound
        await stream.aclose()  # type: ignore[attr-defined]
        made = len(advanced)
        await asyncio.sleep(0.2)
        assert len(advanced) == made

    asyncio.run(stalling())


def test_a_stream_whose_steps_are_few_ends_with_credits_left(
    servicer: Any, advanced: list[int]
) -> None:
    opened, plan_id = servicer
    request = pb.FetchRequest(plan_id=plan_id, world_size=1, num_steps=3, credits=MOST_CREDITS)

    async def whole() -> list[int]:
        frames = [pb.FetchResponse.FromString(sent) async for sent in opened.Fetch(request, None)]
        return [frame.steps[0].step for frame in frames]

    assert asyncio.run(whole()) == [0, 1, 2]
    assert advanced == [1, 1, 1]
