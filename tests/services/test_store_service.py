"""The store over the wire, in this process: calls that end early, and odd requests."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.client import connect, error_from
from recollect.services.tally import MAX_POINTERS
from recollect.v1 import store_pb2
from recollect.v1.store_pb2_grpc import StoreServiceStub

from .house import TOO_LONG, House

NUM_ROWS = 60
GROUP = 20


def row(number: int, content: str) -> store_pb2.RawExample:
    return store_pb2.RawExample(
        messages=[store_pb2.Message(speaker="user", content=content)],
        pointer=store_pb2.Pointer(file="chats.jsonl", row=number),
    )


def requests(
    rows: Sequence[store_pb2.RawExample], source: str = "chats"
) -> Iterator[store_pb2.IngestRequest]:
    yield store_pb2.IngestRequest(header=store_pb2.IngestHeader(source=source))
    for first in range(0, len(rows), GROUP):
        group = store_pb2.RawExamples(examples=rows[first : first + GROUP])
        yield store_pb2.IngestRequest(examples=group)


ROWS = [row(number, f"how do i take step {number} of the course") for number in range(NUM_ROWS)]


async def ingest(
    stub: StoreServiceStub, rows: Sequence[store_pb2.RawExample] = ROWS
) -> list[store_pb2.IngestResponse]:
    call: Any = stub.Ingest(requests(rows))
    return [answer async for answer in call]


async def cancelled(stub: StoreServiceStub, moment: Callable[[], None]) -> None:
    """Begins an ingestion and goes away at a moment."""
    call: Any = stub.Ingest(requests(ROWS))

    async def read() -> list[store_pb2.IngestResponse]:
        return [answer async for answer in call]

    reading = asyncio.create_task(read())
    await asyncio.to_thread(moment)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def refusal(call: Any) -> RecollectError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from(caught.value)


def test_rows_of_a_cancelled_ingestion_are_stored_when_they_are_sent_again(house: House) -> None:
    house.deidentifier.nap = 0.03

    async def work() -> list[store_pb2.IngestResponse]:
        async with house.serving() as (stub, _):
            await cancelled(stub, lambda: time.sleep(0.3))
            return await ingest(stub)

    last = asyncio.run(work())[-1]
    assert (last.done, last.num_read, last.num_stored) == (True, NUM_ROWS, NUM_ROWS)
    assert house.num_stored() == NUM_ROWS
    assert len(house.entries("ingest_finished")) == 1
    with house.store.writer("chats"):
        pass


def test_an_ingestion_cancelled_in_its_commit_is_stored_once_and_recorded(house: House) -> None:
    house.ledger.napping_kind = "segments_committed"

    async def work() -> list[store_pb2.IngestResponse]:
        async with house.serving() as (stub, _):
            await cancelled(stub, lambda: _happens(house.ledger.is_napping))
            return await ingest(stub)

    last = asyncio.run(work())[-1]
    assert (last.num_stored, last.num_duplicates) == (0, NUM_ROWS)
    assert house.num_stored() == NUM_ROWS
    assert [entry["num_stored"] for entry in house.entries("ingest_finished")] == [NUM_ROWS, 0]


def _happens(event: threading.Event) -> None:
    assert event.wait(timeout=30)


def test_an_ingestion_cancelled_while_its_writer_is_opened_lets_the_next_one_in(
    house: House,
) -> None:
    house.store.nap = 0.5

    async def work() -> list[store_pb2.IngestResponse]:
        async with house.serving() as (stub, _):
            await cancelled(stub, lambda: time.sleep(0.2))
            return await ingest(stub)

    assert asyncio.run(work())[-1].num_stored == NUM_ROWS


def test_other_calls_are_answered_while_a_writer_is_opened(house: House) -> None:
    house.store.nap = 1.0

    async def work() -> float:
        async with house.serving() as (stub, _):
            ingestion = asyncio.create_task(ingest(stub))
            answered, longest = time.monotonic(), 0.0
            while not ingestion.done():
                await stub.ListSources(store_pb2.ListSourcesRequest())  # type: ignore[misc]
                await asyncio.sleep(0.01)
                now = time.monotonic()
                answered, longest = now, max(longest, now - answered)
            await ingestion
            return longest

    assert asyncio.run(work()) < 0.9


def test_the_ledger_points_to_the_first_quarantined_and_counts_them_all(house: House) -> None:
    num_rows = MAX_POINTERS + 2 * GROUP + 1
    rows = [row(number, "x" * (TOO_LONG + 1)) for number in range(1, num_rows + 1)]
    rows[0].pointer.file = "f" * 100_000

    async def work() -> list[store_pb2.IngestResponse]:
        async with house.serving() as (stub, _):
            return await ingest(stub, [*rows, *ROWS])

    answers = asyncio.run(work())
    assert answers[-1].num_quarantined == num_rows
    assert answers[-1].num_stored == NUM_ROWS
    named = [item.pointer.row for answer in answers for item in answer.quarantined]
    assert named == list(range(1, num_rows + 1))
    (entry,) = house.entries("ingest_finished")
    assert entry["num_quarantined"] == num_rows
    assert [item["row"] for item in entry["quarantined"]] == list(range(1, MAX_POINTERS + 1))
    assert len(entry["quarantined"][0]["file"]) == 255
    assert house.store.sources()[0].num_quarantined == num_rows


def test_unknown_names_are_refused_and_leave_nothing_behind(house: House) -> None:
    def ask(source: str) -> None:
        with pytest.raises(RecollectError) as caught, connect(house.address) as client:
            list(client.store.Ingest(requests(ROWS, source), timeout=20))
        assert caught.value.reason is Reason.SOURCE_UNKNOWN

    async def work() -> None:
        async with house.serving():
            for number in range(3):
                await asyncio.to_thread(ask, f"nowhere_{number}")

    asyncio.run(work())
    assert not house.servicer._ingesting


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("field", ["role", "purpose"])
def test_a_role_or_purpose_that_is_not_said_or_unknown_is_refused(
    house: House, field: str, number: int
) -> None:
    asked = store_pb2.Source(
        name="held_out",
        role=store_pb2.ROLE_TASK,
        purpose=store_pb2.PURPOSE_EVALUATE,
        licence="CC0-1.0",
        legal_basis="consent",
    )
    setattr(asked, field, number)

    async def work() -> RecollectError:
        async with house.serving() as (stub, _):
            request = store_pb2.RegisterSourceRequest(source=asked)
            return await refusal(stub.RegisterSource(request))

    error = asyncio.run(work())
    assert (error.reason, error.where) == (Reason.INPUT_MALFORMED, f"source.{field}")
    assert [summary.source.name for summary in house.store.sources()] == ["chats"]
