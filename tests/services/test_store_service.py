"""The services around store and ledger, in this process: calls that end early, and odd requests."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Purpose, Role
from recollect.services import audit_service
from recollect.services.audit_service import AuditServicer
from recollect.services.client import connect, error_from
from recollect.services.ledger import JSON, Entry, Ledger
from recollect.services.planbook import PlanBook
from recollect.services.privacy import Deidentified, Deidentifier, Policy
from recollect.services.replay import ReplayStore, SegmentWriter, Source
from recollect.services.replay.catalog import Catalog
from recollect.services.roles import (
    purpose_from_wire,
    purpose_to_wire,
    role_from_wire,
    role_to_wire,
)
from recollect.services.status import translated
from recollect.services.store_service import MAX_POINTERS, StoreServicer
from recollect.services.threads import finished
from recollect.v1 import audit_pb2, store_pb2
from recollect.v1.audit_pb2_grpc import AuditServiceStub, add_AuditServiceServicer_to_server
from recollect.v1.store_pb2_grpc import StoreServiceStub, add_StoreServiceServicer_to_server

NUM_ROWS = 60
GROUP = 20
TOO_LONG = 500


class Unhurried(Deidentifier):
    """The real one, which takes its time."""

    nap = 0.0

    def deidentify(
        self, messages: Sequence[Message], known_values: Sequence[str] = ()
    ) -> Deidentified:
        time.sleep(self.nap)
        return super().deidentify(messages, known_values)


class UnhurriedLedger(Ledger):
    """The real one, which naps before it writes one kind of entry, and at every entry it reads."""

    napping_kind = ""
    reading_nap = 0.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_napping = threading.Event()

    def append(self, kind: str, body: Mapping[str, JSON], *, actor: str) -> Entry:
        if kind == self.napping_kind:
            self.is_napping.set()
            time.sleep(0.5)
        return super().append(kind, body, actor=actor)

    def entries(self, first: int = 0) -> Iterator[Entry]:
        for entry in super().entries(first):
            time.sleep(self.reading_nap)
            yield entry


class UnhurriedStore(ReplayStore):
    """The real one, which takes its time to open a writer."""

    nap = 0.0

    def writer(self, source: str, **options: Any) -> SegmentWriter:
        writer = super().writer(source, **options)
        time.sleep(self.nap)
        return writer


class House:
    """Store and ledger in one data folder, and how they are served."""

    def __init__(self, folder: Path, deidentifier: Unhurried) -> None:
        ledger = UnhurriedLedger.open(folder / "ledger")
        assert isinstance(ledger, UnhurriedLedger)
        self.ledger = ledger
        self.store = UnhurriedStore(folder, ledger)
        self.deidentifier = deidentifier
        self.store.register(
            Source(
                name="chats",
                role=Role.TASK,
                purpose=Purpose.TRAIN,
                licence="CC0-1.0",
                legal_basis="consent",
            )
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[StoreServiceStub, AuditServiceStub]]:
        server = grpc.aio.server()
        self.servicer = StoreServicer(
            store=self.store, deidentifier=self.deidentifier, near_duplicate_threshold=0.9
        )
        add_StoreServiceServicer_to_server(self.servicer, server)
        audit = AuditServicer(
            ledger=self.ledger,
            planbook=PlanBook(self.ledger),
            catalog=Catalog(self.store),
            deidentifier=self.deidentifier,
        )
        add_AuditServiceServicer_to_server(audit, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.address = f"127.0.0.1:{port}"
        try:
            async with grpc.aio.insecure_channel(self.address) as channel:
                yield StoreServiceStub(channel), AuditServiceStub(channel)
        finally:
            await server.stop(None)

    def num_stored(self) -> int:
        """Distinct examples; fails where one is there twice."""
        ids = self.store.example_ids(self.store.snapshot(), "chats")
        assert len(ids) == len(set(ids))
        return len(ids)

    def entries(self, kind: str) -> list[Mapping[str, Any]]:
        return [entry.body for entry in self.ledger.entries() if entry.kind == kind]


@pytest.fixture(scope="module")
def warm() -> Unhurried:
    deidentifier = Unhurried(Policy(max_characters=TOO_LONG), b"k" * 32)
    deidentifier.prove()
    return deidentifier


@pytest.fixture
def house(tmp_path: Path, warm: Unhurried) -> Iterator[House]:
    warm.nap = 0.0
    house = House(tmp_path / "data", warm)
    yield house
    house.ledger.close()


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
    return error_from(caught.value)  # type: ignore[arg-type]


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


def test_roles_and_purposes_survive_the_wire() -> None:
    assert [role_from_wire(role_to_wire(role)) for role in Role] == list(Role)
    assert [purpose_from_wire(purpose_to_wire(p)) for p in Purpose] == list(Purpose)


async def _entries(stub: AuditServiceStub, **asked: Any) -> list[audit_pb2.ListEntriesResponse]:
    call: Any = stub.ListEntries(audit_pb2.ListEntriesRequest(**asked))
    return [entry async for entry in call]


def test_entries_come_whole_and_in_order_whatever_the_chunks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        house.ledger.append("even" if number % 2 == 0 else "odd", {"n": number}, actor="test")
    expected = list(house.ledger.entries())

    async def work() -> None:
        async with house.serving() as (_, stub):
            for first in (0, 3, len(expected), 99):
                answers = await _entries(stub, first_sequence=first)
                assert [a.digest for a in answers] == [e.digest for e in expected[first:]]
            odd = await _entries(stub, kind="odd")
            assert [a.digest for a in odd] == [e.digest for e in expected if e.kind == "odd"]

    for size in (1, 3, len(expected), 256):
        monkeypatch.setattr(audit_service, "CHUNK_ENTRIES", size)
        asyncio.run(work())
    monkeypatch.setattr(audit_service, "CHUNK_CHARACTERS", 10)
    asyncio.run(work())


def test_other_calls_are_answered_while_a_filter_finds_nothing(house: House) -> None:
    for number in range(100):
        house.ledger.append("common", {"n": number}, actor="test")

    async def work() -> int:
        async with house.serving() as (stub, audit):
            house.ledger.reading_nap = 0.01
            search = asyncio.create_task(_entries(audit, kind="rare"))
            num_answers = 0
            while not search.done():
                await stub.ListSources(store_pb2.ListSourcesRequest())  # type: ignore[misc]
                await asyncio.sleep(0.01)
                num_answers += 1
            assert await search == []
            return num_answers

    assert asyncio.run(work()) >= 10


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


def test_a_thread_is_waited_for_however_often_its_call_is_cancelled() -> None:
    events = []

    def step() -> None:
        time.sleep(0.3)
        events.append("step")
        raise ValueError("dropped")

    async def work() -> None:
        task = asyncio.create_task(finished(step))
        for _ in range(3):
            await asyncio.sleep(0.05)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("call")

    asyncio.run(work())
    assert events == ["step", "call"]


def test_what_a_thread_returns_or_raises_reaches_its_call() -> None:
    async def work() -> None:
        assert await finished(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await finished(divmod, 7, 0)

    asyncio.run(work())
