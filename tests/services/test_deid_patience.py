"""How long DeidService waits for a client that sends nothing, and works for one that has left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from presidio_analyzer import EntityRecognizer, RecognizerResult

from recollect.services.deid_engines import Engines
from recollect.services.deid_service import NUM_THREADS, DeidServicer
from recollect.services.ledger import Kind, Ledger
from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.deadline import keep_to_deadline
from recollect.services.privacy.detector import Detector
from recollect.v1 import deid_pb2 as wire
from recollect.v1 import store_pb2
from recollect.v1.deid_pb2_grpc import DeidServiceStub, add_DeidServiceServicer_to_server

KEY = b"k" * 32
HEADER = wire.DeidentifyRequest(header=wire.DeidentifyHeader())


class Endless(EntityRecognizer):
    """Never done with a text that says "endless", as long as somebody waits for it."""

    def __init__(self) -> None:
        super().__init__(["ORDER_ID"], name="Endless")
        self.num_begun = threading.Semaphore(0)

    def load(self) -> None: ...

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        if "endless" in text:
            self.num_begun.release()
            while True:
                keep_to_deadline()
                time.sleep(0.01)
        return []


@asynccontextmanager
async def serving(
    folder: Path, recognizer: Endless | None = None, **options: float
) -> AsyncIterator[tuple[DeidServiceStub, Ledger]]:
    without = frozenset({"tagger"})
    policy = Policy(text_timeout_seconds=3600)
    engine = Deidentifier(policy, KEY, without)
    if recognizer is not None:
        vars(engine)["_detector"] = Detector(policy, [recognizer], without)
    ledger = Ledger.open(folder / "ledger")
    server = grpc.aio.server()
    servicer = DeidServicer(deidentifier=engine, key=KEY, ledger=ledger, **options)
    add_DeidServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call,unused-ignore]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield DeidServiceStub(channel), ledger  # type: ignore[no-untyped-call,unused-ignore]
    finally:
        await server.stop(None)
        ledger.close()


def _open(stub: Any) -> Any:
    return stub.Deidentify(timeout=60)


def group(content: str) -> wire.DeidentifyRequest:
    message = store_pb2.Message(speaker="text", content=content)
    record = wire.RawRecord(id="1", messages=[message])
    return wire.DeidentifyRequest(records=wire.RawRecords(records=[record]))


def test_a_call_that_sends_nothing_loses_its_place_and_is_on_record(tmp_path: Path) -> None:
    async def work() -> list[Any]:
        async with serving(tmp_path, idle_seconds=0.3) as (stub, ledger):
            opening_only: Any = _open(stub)
            silent: Any = _open(stub)
            await opening_only.write(HEADER)
            await opening_only.write(group("write to rosa@mail.example.com"))
            await opening_only.read()
            answer = await opening_only.read()
            assert answer.results.results[0].deidentified.findings[0].count == 1
            ends = [await call.code() for call in (silent, opening_only)]
            assert ends == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
            assert "has sent nothing for 0.3 seconds" in await silent.details()
            return [e.body for e in ledger.entries() if e.kind == Kind.RECORDS_DEIDENTIFIED]

    (body,) = asyncio.run(work())
    assert (body["num_records"], body["is_whole"]) == (1, False)


def test_records_of_clients_that_left_do_not_keep_the_threads(tmp_path: Path) -> None:
    async def work() -> str:
        endless = Endless()
        async with serving(tmp_path, endless) as (stub, _):
            calls: list[Any] = [_open(stub) for _ in range(NUM_THREADS)]
            for call in calls:
                await call.write(HEADER)
                await call.write(group("endless"))
            for _ in calls:
                assert await asyncio.to_thread(endless.num_begun.acquire, timeout=60)
            for call in calls:
                call.cancel()
            other: Any = stub.Deidentify(iter([HEADER, group("hello")]), timeout=60)
            _, answer, _ = [part async for part in other]
            return str(answer.results.results[0].deidentified.messages[0].content)

    assert asyncio.run(work()) == "hello"


@pytest.mark.parametrize(
    "one_field",
    ["score_threshold: 0.9", "operators: {PERSON: tag}", "text_timeout_seconds: 7",
     "propagate: false", "phone_regions: [FR]", "chunk_overlap: 600"],
)  # fmt: skip
def test_policies_of_one_name_and_version_share_no_engine(one_field: str) -> None:
    engines = Engines(Deidentifier(Policy(), KEY), KEY)
    named = "name: mine\nversion: '1'\nentities: [EMAIL_ADDRESS, PERSON]\n"
    plain = engines.of(wire.DeidentifyHeader(policy_yaml=named))
    other = engines.of(wire.DeidentifyHeader(policy_yaml=named + one_field))
    assert other is not plain and other.policy != plain.policy
    assert engines.of(wire.DeidentifyHeader(policy_yaml=named)) is plain
