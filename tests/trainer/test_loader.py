from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import AnnotationWriter, ChatTemplate, TokenCaches
from recollect.trainer.client import Patience
from recollect.trainer.guard import RatioGuard
from recollect.trainer.loader import IGNORED, ReplayLoader, TrainBatch

if TYPE_CHECKING:
    from stream.replica import Replica, Server

LONG_MIX_STEPS = 1500
MESSAGE_BYTES = [1, 6_000]
"""A step to a message, and a few: what is interrupted is then in the middle of a stream."""


@pytest.fixture(scope="module", params=MESSAGE_BYTES)
def small(
    replicas: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """A server of small messages, over the data of the replica."""
    made = replicas.make_replica(tmp_path_factory.mktemp("small") / "data")
    with replicas.Server(made.folder, message_bytes=request.param) as running:
        yield running


@pytest.fixture
def loader(server: Server, replica: Replica) -> Iterator[ReplayLoader]:
    with ReplayLoader(server.address, replica.plan.plan_id) as opened:
        yield opened


@pytest.fixture(scope="module")
def long_replica(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    """A plan that takes long enough to be interrupted."""
    mix = replicas.MIX.replace("num_steps: 30", f"num_steps: {LONG_MIX_STEPS}")
    made: Replica = replicas.make_replica(tmp_path_factory.mktemp("long") / "data", mix=mix)
    return made


def threads() -> int:
    return sum(thread.name == "recollect-prefetch" for thread in threading.enumerate())


def same(one: TrainBatch, other: TrainBatch) -> bool:
    return (
        one.step == other.step
        and one.digest == other.digest
        and all(
            torch.equal(getattr(one, name), getattr(other, name))
            for name in ("input_ids", "labels", "attention_mask", "sources")
        )
    )


def test_tensors_are_the_rendered_examples_of_the_plan(
    loader: ReplayLoader, replica: Replica, replicas: Any
) -> None:
    template = ChatTemplate.load(replica.model)
    names = [source.name for source in replica.plan.sources]
    for batch in loader:
        planned = replica.plan.batch(batch.step)
        assert batch.sources.tolist() == planned.sources.tolist()
        for row, (source, example) in enumerate(
            zip(planned.sources.tolist(), planned.examples.tolist(), strict=True)
        ):
            messages = replicas.example(names[source], example).messages
            rendered = template.render(messages, max_length=48)
            length = len(rendered.input_ids)
            assert batch.input_ids[row, :length].tolist() == rendered.input_ids.tolist()
            assert batch.input_ids[row, length:].eq(0).all()
            labels = np.where(rendered.loss_mask, rendered.input_ids, IGNORED).tolist()
            assert batch.labels[row, :length].tolist() == labels
            assert batch.labels[row, length:].eq(IGNORED).all()
            assert batch.attention_mask[row].tolist() == [1] * length + [0] * (
                batch.input_ids.shape[1] - length
            )
        assert (batch.input_ids.dtype, batch.labels.dtype) == (torch.int32, torch.int64)
    assert batch.step == replica.plan.num_steps - 1


def test_the_guard_accepts_what_the_service_streams(server: Server, replica: Replica) -> None:
    for rank in range(3):
        guard = RatioGuard(replica.plan, rank, 3)
        with ReplayLoader(server.address, replica.plan.plan_id, rank=rank, world_size=3) as loader:
            for batch in loader:
                guard.observe(batch)
    assert guard.max_deviation > 0


def test_a_loader_goes_on_from_its_state(small: Server, replica: Replica) -> None:
    plan_id = replica.plan.plan_id
    with ReplayLoader(small.address, plan_id) as loader:
        whole = list(loader)
    with ReplayLoader(small.address, plan_id) as loader:
        for batch in loader:
            if batch.step == 11:
                break
        state = json.loads(json.dumps(loader.state_dict()))
    assert len(json.dumps(state)) <= 512
    with ReplayLoader(small.address, plan_id) as loader:
        loader.load_state_dict(state)
        assert len(loader) == 18
        rest = list(loader)
    assert [batch.step for batch in rest] == list(range(12, 30))
    assert all(map(same, rest, whole[12:]))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_memory_is_pinned_for_an_accelerator_alone(server: Server, replica: Replica) -> None:
    with pytest.raises(RecollectError) as caught:
        ReplayLoader(server.address, replica.plan.plan_id, pin_memory=True)
    assert (caught.value.reason, caught.value.where) == (Reason.CONFIG_INVALID, "pin_memory")


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator")
def test_pinned_batches_are_the_same(server: Server, replica: Replica) -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    plan_id = replica.plan.plan_id
    with (
        ReplayLoader(server.address, plan_id) as plain,
        ReplayLoader(server.address, plan_id, pin_memory=True) as pinned,
    ):
        for one, other in zip(plain, pinned, strict=True):
            assert other.input_ids.is_pinned() and other.loss_mask.is_pinned()
            there = other.to(device, non_blocking=True)
            assert torch.equal(there.labels.cpu(), one.labels)
            assert torch.equal(there.position_ids.cpu(), one.position_ids)


def test_iterating_again_goes_on(loader: ReplayLoader) -> None:
    first = next(iter(loader))
    assert [first.step, *(batch.step for batch in loader)] == list(range(30))
    assert list(loader) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"plan_id": "00" * 32}, Reason.CONFIG_INVALID),
        ({"version": 2}, Reason.VERSION_UNKNOWN),
        ({"version": None}, Reason.VERSION_UNKNOWN),
        *(({"next_step": step}, Reason.CONFIG_INVALID) for step in (None, "3", 3.0, True, [3])),
        ({"next_step": 3, "ledger_length": "long"}, Reason.CONFIG_INVALID),
        *(
            ({"next_step": 3, "ledger_head": head}, Reason.CONFIG_INVALID)
            for head in (7, None, "x")
        ),
    ],
)
def test_a_state_of_something_else_is_refused(
    loader: ReplayLoader, change: dict[str, Any], reason: Reason
) -> None:
    before = loader.state_dict()
    with pytest.raises(RecollectError) as caught:
        loader.load_state_dict(before | change)
    assert caught.value.reason is reason
    assert loader.state_dict() == before


@pytest.mark.parametrize("name", ["version", "plan_id", "next_step"])
def test_a_state_without_a_part_is_refused(loader: ReplayLoader, name: str) -> None:
    state = {key: value for key, value in loader.state_dict().items() if key != name}
    with pytest.raises(RecollectError):
        loader.load_state_dict(state)


@pytest.mark.parametrize("step", [-1, 31, 5000])
def test_a_step_that_the_plan_does_not_have_is_no_end_of_the_data(
    loader: ReplayLoader, step: int
) -> None:
    loader.load_state_dict({**loader.state_dict(), "next_step": step})
    with pytest.raises(RecollectError) as caught:
        next(iter(loader))
    assert (caught.value.reason, caught.value.where) == (Reason.PLAN_OUT_OF_RANGE, "first_step")


def test_messages_change_nothing_of_the_batches(
    server: Server, small: Server, replica: Replica
) -> None:
    for rank in range(2):
        with (
            ReplayLoader(server.address, replica.plan.plan_id, rank=rank, world_size=2) as large,
            ReplayLoader(small.address, replica.plan.plan_id, rank=rank, world_size=2) as loader,
        ):
            assert all(map(same, large, loader))
            assert len(large) == len(loader) == 0


def test_leaving_early_stops_the_thread(small: Server, replica: Replica) -> None:
    before = threads()
    with ReplayLoader(small.address, replica.plan.plan_id, prefetch=1) as loader:
        for batch in loader:
            if batch.step == 2:
                break
    deadline = time.monotonic() + 5
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads() == before


def test_a_loader_reads_no_further_ahead_than_told(small: Server, replica: Replica) -> None:
    with ReplayLoader(small.address, replica.plan.plan_id, prefetch=2) as loader:
        fetched: list[list[int]] = []
        fetch = loader._fetch

        def counted() -> Iterator[list[TrainBatch]]:
            for batches in fetch():
                fetched.append([batch.step for batch in batches])
                yield batches

        loader._fetch = counted  # type: ignore[method-assign]
        for batch in loader:
            time.sleep(0.1)
            [at] = [place for place, steps in enumerate(fetched) if batch.step in steps]
            # One with the trainer, two in the queue, one with the thread that waits to queue it.
            assert len(fetched) - 1 <= at + 3
            if batch.step == 4:
                break
        assert len(fetched) >= 3 and sum(map(len, fetched)) < 30


def test_an_acknowledged_run_is_resumed_by_the_service(server: Server, replica: Replica) -> None:
    plan_id = replica.plan.plan_id
    with ReplayLoader(server.address, plan_id) as loader:
        assert loader.client.start_run("loaded", plan_id, base_digest="ab" * 32) == 0
        for batch in loader:
            loader.ack("loaded", batch)
            if batch.step == 4:
                break
        assert loader.client.start_run("loaded", plan_id, base_digest="ab" * 32) == 5


def test_annotations_arrive_aligned(replicas: Any, tmp_path: Path) -> None:
    made = replicas.make_replica(tmp_path / "data")
    ledger = Ledger.open(made.folder)
    store = ReplayStore.open(made.folder, ledger)
    caches = TokenCaches(
        made.folder / "cache", store=store, template=ChatTemplate.load(made.model)
    ).of_plan(made.plan)
    for cache in caches:
        with AnnotationWriter(made.folder / "cache", cache, replicas.TEACHER) as writer:
            for row in range(len(cache)):
                ids = cache.rows(np.array([row])).column("input_ids").to_pylist()[0]
                # Invented, but a function of the token: alignment shows.
                writer.write([np.array(ids, dtype=np.float32) * np.float32(-0.125)])
    ledger.close()
    with (
        replicas.Server(made.folder) as server,
        ReplayLoader(server.address, made.plan.plan_id, with_annotations=True) as loader,
    ):
        for batch in loader:
            assert batch.teacher_logprobs is not None
            assert batch.teacher_logprobs.dtype == torch.float32
            expected = -batch.input_ids.float() / 8
            expected[:, 0] = 0  # what nothing precedes nothing predicts
            assert torch.equal(batch.teacher_logprobs, expected)


def test_two_processes_get_disjoint_shards_whose_union_is_the_batch(
    replicas: Any, server: Server, replica: Replica
) -> None:
    plan = replica.plan
    ranks = [replicas.Process("rank", server.address, plan.plan_id, 0, r, 2) for r in range(2)]
    received = [[json.loads(line) for line in rank.lines()] for rank in ranks]
    for step in range(plan.num_steps):
        shards = [received[rank][step]["positions"] for rank in range(2)]
        assert received[0][step]["step"] == received[1][step]["step"] == step
        assert set(shards[0]).isdisjoint(shards[1])
        assert sorted(shards[0] + shards[1]) == plan.batch(step).positions.tolist()


@pytest.mark.faults
@pytest.mark.parametrize("message_bytes", MESSAGE_BYTES)
def test_a_killed_trainer_gets_the_same_bytes_again(
    replicas: Any, long_replica: Replica, message_bytes: int
) -> None:
    plan_id = long_replica.plan.plan_id
    with replicas.Server(long_replica.folder, message_bytes=message_bytes) as server:
        with replicas.Process("rank", server.address, plan_id, 1470, 1, 2) as trainer:
            before = [trainer.line() for _ in range(10)]
        trainer = replicas.Process("rank", server.address, plan_id, 1470, 1, 2)
        again = trainer.lines()
    assert again[:10] == [line.strip() for line in before]
    assert len(again) == 30
    # Asked for from another step on, or in other messages, the rows are the same.
    with replicas.Server(long_replica.folder) as server:
        other = replicas.Process("rank", server.address, plan_id, 1475, 1, 2).lines()
    steps = [{**json.loads(line), "payload": None} for line in (*again[5:], *other)]
    assert steps[:25] == steps[25:]


@pytest.mark.faults
def test_a_loader_outlives_a_killed_server(replicas: Any, long_replica: Replica) -> None:
    plan = long_replica.plan
    small = {"message_bytes": 6_000}
    with replicas.Server(long_replica.folder, **small) as first:
        loader = ReplayLoader(first.address, plan.plan_id, patience=Patience(outage_s=60))
        guard = RatioGuard(plan)
        with loader:
            for batch in loader:
                guard.observe(batch)
                if batch.step == 100:
                    first.kill()
                    second = replicas.Server(long_replica.folder, port=first.port, **small)
                if batch.step == 700:
                    second.kill()
                    third = replicas.Server(long_replica.folder, port=first.port, **small)
    third.kill()
    assert batch.step == plan.num_steps - 1
    assert guard.counts["refusals"] * 20 == plan.num_positions


@pytest.mark.faults
def test_a_server_that_is_gone_for_good_is_one_clear_error(
    replicas: Any, long_replica: Replica
) -> None:
    patience = Patience(outage_s=1.0)
    with replicas.Server(long_replica.folder, message_bytes=1) as server:
        address, plan_id = server.address, long_replica.plan.plan_id
        with ReplayLoader(address, plan_id, patience=patience) as loader:
            with pytest.raises(RecollectError, match="recollect serve") as caught:
                for batch in loader:
                    if batch.step == 10:
                        server.kill()
                        killed = time.monotonic()
            assert time.monotonic() - killed < 10
    assert caught.value.reason is Reason.SERVER_UNAVAILABLE
    assert caught.value.where == address
    assert loader.state_dict()["next_step"] == batch.step + 1


def test_a_loader_of_a_rank_that_cannot_be_is_refused(server: Server, replica: Replica) -> None:
    with ReplayLoader(server.address, replica.plan.plan_id, rank=2, world_size=2) as loader:
        with pytest.raises(RecollectError) as caught:
            next(iter(loader))
        assert caught.value.reason is Reason.RANK_INVALID
