"""The mix service when much is asked of it, and when its caches are damaged or very large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest

from recollect.services import mix_service
from recollect.services.ledger import Ledger
from recollect.services.mix_service import MixServicer
from recollect.services.planbook import PlanBook
from recollect.services.replay import ReplayStore, Snapshot
from recollect.services.stream import ChatTemplate, TokenCaches, measuring
from recollect.v1 import mix_pb2 as wire
from recollect.v1.mix_pb2_grpc import MixServiceStub, add_MixServiceServicer_to_server

MIX = """
name: support
batch_size: 20
num_steps: 30
max_length: 48
sources:
  - {source: support, role: task, share: 70%}
  - {source: general, role: general, share: 1/4}
  - {source: refusals, role: refusal, share: 5%}
"""


class SlowStore(ReplayStore):
    """The real one, whose snapshots may have to be waited for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gate = Event()
        self.gate.set()
        self.num_asked = 0

    def snapshot(self) -> Snapshot:
        self.num_asked += 1
        assert self.gate.wait(60)
        return super().snapshot()


class MixHouse:
    """A data folder, and how its mixes are served in this process."""

    def __init__(self, made: Any) -> None:
        self.ledger = Ledger.open(made.folder)
        self.store = SlowStore(made.folder, self.ledger)
        self.template = ChatTemplate.load(made.model)
        self.folder = made.folder / "cache"
        self.plan_id = made.plan.plan_id

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Any]:
        self.caches = TokenCaches(self.folder, store=self.store, template=self.template)
        book = PlanBook(self.ledger, ready=self.caches.ready)
        server = grpc.aio.server()
        servicer = MixServicer(store=self.store, caches=self.caches, planbook=book, max_length=4096)
        add_MixServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.store.num_asked = 0
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield MixServiceStub(channel)
        finally:
            self.store.gate.set()
            await server.stop(None)

    def previewed(self) -> wire.PreviewMixResponse:
        """What a service that was just started says of the mix."""

        async def work() -> wire.PreviewMixResponse:
            async with self.serving() as stub:
                answer: wire.PreviewMixResponse = await preview(stub)
                return answer

        return asyncio.run(work())


@pytest.fixture(scope="module")
def house(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MixHouse]:
    house = MixHouse(replicas.make_replica(tmp_path_factory.mktemp("mixes") / "data"))
    yield house
    house.ledger.close()


def preview(stub: Any, **options: Any) -> Any:
    return stub.PreviewMix(wire.PreviewMixRequest(mix_yaml=MIX), **options)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.01)


def test_many_previews_take_few_threads_wait_their_turn_and_are_refused_beyond(
    house: MixHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mix_service, "MOST_WAITING", 6)

    async def work() -> list[Any]:
        async with house.serving() as stub:
            house.store.gate.clear()
            calls = [asyncio.ensure_future(preview(stub)) for _ in range(20)]
            await until(lambda: sum(call.done() for call in calls) == 12)
            # What has nothing to do with mixes is answered as ever, and so are plans.
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
            assert await stub.GetPlan(wire.GetPlanRequest(plan_id=house.plan_id), timeout=10)
            assert house.store.num_asked == mix_service.NUM_THREADS
            house.store.gate.set()
            return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(work())
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(refused) == 12
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert all("8 calls are worked on or wait already" in str(e.details()) for e in refused)
    served = [answer for answer in answers if isinstance(answer, wire.PreviewMixResponse)]
    assert len(served) == 8
    assert len({answer.SerializeToString() for answer in served}) == 1


def test_a_call_that_is_cancelled_while_it_waits_never_starts(house: MixHouse) -> None:
    num_threads = mix_service.NUM_THREADS

    async def work() -> None:
        async with house.serving() as stub:
            house.store.gate.clear()
            first = [asyncio.ensure_future(preview(stub)) for _ in range(num_threads)]
            await until(lambda: house.store.num_asked == num_threads)
            request = wire.SealPlanRequest(mix_yaml=MIX.replace("support\n", "cancelled\n", 1))
            waiting = [stub.SealPlan(request) for _ in range(5)]
            late = stub.SealPlan(request, timeout=0.3)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await late
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            for call in waiting:
                call.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            # Calls on one connection arrive in order: what was cancelled is known by then.
            await stub.GetPlan(wire.GetPlanRequest(plan_id=house.plan_id), timeout=10)
            house.store.gate.set()
            await asyncio.gather(*first)
            assert house.store.num_asked == num_threads
            assert (await preview(stub, timeout=30)).num_steps == 30

    asyncio.run(work())
    assert not [
        entry
        for entry in house.ledger.entries()
        if entry.kind == "plan_sealed" and entry.body["mix"] == "cancelled"
    ]


def test_a_preview_builds_a_damaged_cache_again(house: MixHouse) -> None:
    good = house.previewed()
    path = damaged(house)
    assert house.previewed() == good
    assert path[0].read_bytes() == path[1]


def damaged(house: MixHouse) -> tuple[Path, bytes]:
    """Damages the tokens of the first row of a source; where they lie, and what was there."""

    async def find() -> tuple[Path, bytes, int]:
        async with house.serving() as stub:
            await preview(stub)
            (cache,) = (c for c in house.caches._open.values() if len(c) == 40)
            path = house.caches.path(cache.key)
            content = path.read_bytes()
            return path, content, content.index(cache.gather(np.arange(1))[0][0].tobytes())

    path, content, at = asyncio.run(find())
    changed = bytearray(content)
    changed[at] ^= 0x40
    path.write_bytes(changed)
    return path, content


def test_a_preview_of_a_very_large_source_reads_none_of_its_rows(
    house: MixHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = house.previewed()
    monkeypatch.setattr(measuring, "MOST_TOKENS_READ", 300)

    async def work() -> wire.PreviewMixResponse:
        async with house.serving() as stub:
            answer: wire.PreviewMixResponse = await preview(stub)
            read = {len(c): any(c._chunks) for c in house.caches._open.values()}
            assert read == {40: False, 25: False, 7: True}
            return answer

    told = asyncio.run(work())
    for source, truth in zip(told.sources, exact.sources, strict=True):
        assert source.num_tokens == pytest.approx(truth.num_tokens, rel=0.05)
        assert source.num_truncated == truth.num_truncated
        assert not truth.estimated
    # Whole passes are sums; only a broken one needs rows, and takes the mean of them.
    assert [source.estimated for source in told.sources] == [True, False, False]
