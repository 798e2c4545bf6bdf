"""The ledger over the wire: whole, in order, filtered, and answered beside other calls."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Pointer, Speaker
from recollect.mixer.measures import Measures
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import seal
from recollect.services import audit_service
from recollect.services.client import error_from
from recollect.services.ledger import Kind
from recollect.v1 import audit_pb2, store_pb2
from recollect.v1.audit_pb2_grpc import AuditServiceStub

from .house import House

EVEN, ODD = Kind.ANNOTATED, Kind.REHEARSED


async def _entries(stub: AuditServiceStub, **asked: Any) -> list[audit_pb2.ListEntriesResponse]:
    call: Any = stub.ListEntries(audit_pb2.ListEntriesRequest(**asked))
    return [entry async for entry in call]


def test_entries_come_whole_and_in_order_whatever_the_chunks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        house.ledger.append(EVEN if number % 2 == 0 else ODD, {"n": number}, actor="test")
    expected = list(house.ledger.entries())

    async def work() -> None:
        async with house.serving() as (_, stub):
            for first in (0, 3, len(expected), 99):
                answers = await _entries(stub, first_sequence=first)
                assert [a.digest for a in answers] == [e.digest for e in expected[first:]]
            odd = await _entries(stub, kind=ODD)
            assert [a.digest for a in odd] == [e.digest for e in expected if e.kind == ODD]

    for size in (1, 3, len(expected), 256):
        monkeypatch.setattr(audit_service, "CHUNK_ENTRIES", size)
        asyncio.run(work())
    monkeypatch.setattr(audit_service, "CHUNK_CHARACTERS", 10)
    asyncio.run(work())


def test_other_calls_are_answered_while_a_filter_finds_nothing(house: House) -> None:
    for number in range(100):
        house.ledger.append(Kind.ANNOTATED, {"n": number}, actor="test")

    async def work() -> int:
        async with house.serving() as (stub, audit):
            house.ledger.reading_nap = 0.01
            search = asyncio.create_task(_entries(audit, kind=Kind.REHEARSED))
            num_answers = 0
            while not search.done():
                await stub.ListSources(store_pb2.ListSourcesRequest())  # type: ignore[misc]
                await asyncio.sleep(0.01)
                num_answers += 1
            assert await search == []
            return num_answers

    assert asyncio.run(work()) >= 10


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do(house: House) -> None:
    async def work() -> RecollectError:
        async with house.serving() as (_, stub):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _entries(stub, kind="nonsense")
            return error_from(caught.value)

    error = asyncio.run(work())
    assert (error.reason, error.where) == (Reason.INPUT_MALFORMED, "kind")
    assert "nonsense" in error.message
    assert all(kind in error.fix for kind in Kind)


def _held_examples(house: House, num_examples: int) -> Plan:
    """Stores chats and seals a plan that packs them; how long each is taken to be is invented."""
    with house.store.writer("chats") as writer:
        for number in range(num_examples):
            messages = (
                Message(speaker=Speaker.USER, content=f"Parcel {number}?"),
                Message(speaker=Speaker.ASSISTANT, content="It is on its way."),
            )
            example_id = house.store.example_id_for("chats", messages)
            writer.add(
                Example(
                    example_id=example_id,
                    source="chats",
                    messages=messages,
                    pointer=Pointer(file="chats.jsonl", row=number + 1),
                    subject=None,
                    policy="none",
                    findings=(),
                )
            )
    snapshot = house.store.snapshot()
    lengths = np.arange(num_examples) + 2
    mix = {"name": "m", "batch_size": 2, "num_steps": 4, "max_length": 24, "packing": "split"}
    plan = seal(
        Mix.from_mapping({**mix, "sources": [{"source": "chats", "role": "task", "share": 1}]}),
        snapshot_id=snapshot.snapshot_id,
        sources=snapshot.sources,
        tokenizer_digest="t",
        measures={"chats": Measures.of_masks(lengths, np.ones(lengths.sum(), dtype=np.bool_))},
    )
    return plan


def test_the_origins_of_a_row_are_those_of_all_that_is_packed_into_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _held_examples(house, 20)
    house.planbook.seal(plan, actor="test")
    monkeypatch.setattr(house.planbook, "_ready", lambda _: plan)

    async def work() -> list[list[int]]:
        async with house.serving() as (_, stub):
            found = []
            for position in range(plan.num_positions):
                row = audit_pb2.PlanPosition(plan_id=plan.plan_id, position=position)
                request = audit_pb2.FindOriginsRequest(row=row)
                answer = await stub.FindOrigins(request)  # type: ignore[misc]
                found.append([origin.pointer.row for origin in answer.origins])
            for row in (
                audit_pb2.PlanPosition(plan_id=plan.plan_id, position=plan.num_positions),
                audit_pb2.PlanPosition(plan_id=plan.plan_id, position=-1),
                audit_pb2.PlanPosition(plan_id="00" * 32),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.FindOrigins(audit_pb2.FindOriginsRequest(row=row))  # type: ignore[misc]
                reason = error_from(caught.value).reason
                assert reason in (Reason.PLAN_OUT_OF_RANGE, Reason.PLAN_UNKNOWN)
            return found

    found = asyncio.run(work())
    for position, rows in enumerate(found):
        batch = plan.at(np.array([position]), step=position // 2)
        pieces = plan.pieces(batch)
        assert rows == [example + 1 for example in dict.fromkeys(pieces.examples.tolist())]
    assert max(map(len, found)) > 1
