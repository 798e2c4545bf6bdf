"""The teacher over the wire: what it writes, scores and refuses."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import grpc
import numpy as np
import pytest

from recollect.services.ledger import JSON, Entry
from recollect.services.privacy import Policy
from recollect.services.stream import AnnotationShelf
from recollect.services.teacher.rehearsal import PRE_QUERY
from recollect.services.threads import in_thread
from recollect.v1 import teacher_pb2 as wire

from .house import House, annotate, refusal, rehearse


def test_the_teacher_describes_itself(house: House) -> None:
    async def ask() -> wire.DescribeTeacherResponse:
        async with house.serving() as stub:
            answer: wire.DescribeTeacherResponse = await stub.DescribeTeacher(  # type: ignore[misc]
                wire.DescribeTeacherRequest()
            )
            return answer

    answer = asyncio.run(ask())
    assert answer.digest == house.teacher.digest
    assert answer.tokenizer_digest == house.teacher.tokenizer_digest
    assert answer.num_parameters == house.teacher.num_parameters
    assert answer.max_length == 96


def test_a_rehearsal_is_stored_with_lineage_and_recorded(house: House) -> None:
    async def work() -> list[wire.RehearseResponse]:
        async with house.serving() as stub:
            return await rehearse(stub, source="dreams", num_examples=6, seed=5)

    answers = asyncio.run(work())
    last = answers[-1]
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert last.num_kept == 6
    assert last.num_written == 6 + sum(drop.count for drop in last.drops)
    stored = house.examples("dreams")
    assert len(stored) == 6
    for example in stored:
        assert example.lineage is not None
        assert example.lineage.teacher_digest == house.teacher.digest
        assert example.lineage.prompt_id == PRE_QUERY
        assert example.policy == Policy().version
    (entry,) = house.entries("rehearsed")
    assert entry["source"] == "dreams"
    assert (entry["num_kept"], entry["num_written"]) == (6, last.num_written)
    assert (entry["seed"], entry["teacher_digest"]) == (5, house.teacher.digest)


def test_the_same_rehearsal_again_adds_nothing_that_is_there(house: House) -> None:
    async def work() -> list[wire.RehearseResponse]:
        async with house.serving() as stub:
            await rehearse(stub, source="dreams", num_examples=4, seed=5)
            return await rehearse(stub, source="dreams", num_examples=4, seed=5)

    answers = asyncio.run(work())
    ids = [example.example_id for example in house.examples("dreams")]
    assert len(ids) == len(set(ids)) == 4 + answers[-1].num_kept
    assert {drop.reason: drop.count for drop in answers[-1].drops}["duplicate"] >= 4


@pytest.mark.parametrize(
    ("asked", "code", "reason"),
    [
        ({"source": "general", "num_examples": 2}, "FAILED_PRECONDITION", "SOURCE_CONFLICT"),
        ({"source": "nowhere", "num_examples": 2}, "NOT_FOUND", "SOURCE_UNKNOWN"),
        ({"source": "dreams", "num_examples": 0}, "INVALID_ARGUMENT", "INPUT_MALFORMED"),
        (
            {"source": "dreams", "num_examples": 2, "temperature": -1.0},
            "INVALID_ARGUMENT",
            "INPUT_MALFORMED",
        ),
        (
            {"source": "dreams", "num_examples": 2, "temperature": float("nan")},
            "INVALID_ARGUMENT",
            "INPUT_MALFORMED",
        ),
    ],
)
def test_what_cannot_be_rehearsed_is_refused_with_its_reason(
    house: House, asked: dict[str, object], code: str, reason: str
) -> None:
    async def work() -> tuple[grpc.StatusCode, str]:
        async with house.serving() as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rehearse(stub, **asked)
            return refusal(caught.value)

    assert asyncio.run(work()) == (grpc.StatusCode[code], reason)
    assert not house.entries("rehearsed")


def test_annotations_are_durable_and_those_of_the_model(house: House) -> None:
    house.fill(20)
    plan = house.sealed("general")

    async def work() -> list[wire.AnnotateResponse]:
        async with house.serving() as stub:
            return await annotate(stub, plan.plan_id)

    last = asyncio.run(work())[-1]
    assert last.done
    assert (last.source, last.num_examples) == ("general", 20)
    (cache,) = house.caches.of_plan(plan)
    (annotations,) = AnnotationShelf(house.tokens, teacher_digest=house.teacher.digest).of([cache])
    rows = np.arange(20)
    ids, masks = cache.gather(rows)
    total, count = 0.0, 0
    for row, mask, values in zip(ids, masks, annotations.gather(rows), strict=True):
        alone = house.teacher.log_probabilities([row.tolist()])[0]
        np.testing.assert_allclose(values, alone, atol=1e-5)
        total -= float(alone[mask].sum())
        count += int(mask.sum())
    assert last.num_tokens == count
    assert last.mean_nll == pytest.approx(total / count, rel=1e-4)
    (entry,) = house.entries("annotated")
    assert entry["plan_id"] == plan.plan_id


def test_every_source_of_a_plan_is_annotated(house: House) -> None:
    house.fill(5)

    async def work() -> list[wire.AnnotateResponse]:
        async with house.serving() as stub:
            await rehearse(stub, source="dreams", num_examples=3, seed=1)
            return await annotate(stub, house.sealed("general", "dreams").plan_id)

    answers = asyncio.run(work())
    finished = {answer.source: answer.num_examples for answer in answers if answer.done}
    assert finished == {"general": 5, "dreams": 3}


def test_an_unknown_plan_is_refused(house: House) -> None:
    async def work() -> tuple[grpc.StatusCode, str]:
        async with house.serving() as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await annotate(stub, "0" * 64)
            return refusal(caught.value)

    assert asyncio.run(work()) == (grpc.StatusCode.NOT_FOUND, "PLAN_UNKNOWN")


def test_a_cancelled_rehearsal_stores_nothing_and_frees_the_teacher(house: House) -> None:
    async def work() -> Sequence[wire.RehearseResponse]:
        async with house.serving() as stub:
            request = wire.RehearseRequest(source="dreams", num_examples=100_000, seed=9)
            call = stub.Rehearse(request)
            assert (await call.read()).num_kept > 0  # type: ignore[attr-defined]
            call.cancel()  # type: ignore[no-untyped-call]
            return await asyncio.wait_for(
                rehearse(stub, source="dreams", num_examples=2, seed=5), timeout=30
            )

    assert asyncio.run(work())[-1].num_kept == 2
    assert len(house.examples("dreams")) == 2
    assert len(house.entries("rehearsed")) == 1


def test_a_rehearsal_cancelled_in_its_commit_is_stored_and_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing = threading.Event()
    append = house.ledger.append

    def unhurried(kind: str, body: Mapping[str, JSON], *, actor: str) -> Entry:
        if kind == "segments_committed":
            committing.set()
            time.sleep(0.5)
        return append(kind, body, actor=actor)

    monkeypatch.setattr(house.ledger, "append", unhurried)

    async def work() -> None:
        async with house.serving() as stub:
            rehearsal = asyncio.create_task(rehearse(stub, source="dreams", num_examples=4, seed=5))
            assert await asyncio.to_thread(committing.wait, 60)
            rehearsal.cancel()
            with pytest.raises(asyncio.CancelledError):
                await rehearsal
            await rehearse(stub, source="dreams", num_examples=4, seed=5)

    asyncio.run(work())
    ids = [example.example_id for example in house.examples("dreams")]
    assert len(ids) == len(set(ids))
    assert [entry["num_kept"] for entry in house.entries("rehearsed")] == [4, len(ids) - 4]


def test_a_step_under_way_is_waited_for_before_the_generator_is_closed() -> None:
    events = []

    def steps() -> Iterator[int]:
        try:
            yield 1
            time.sleep(0.2)
            events.append("step ended")
            yield 2
        finally:
            events.append("closed")

    async def work() -> None:
        async def consume() -> None:
            async for _ in in_thread(steps()):
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert events == ["step ended", "closed"]
