"""What each rank asks the service for, and from which processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler
from transformers import default_data_collator

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.client import Client
from recollect.trainer.dataset import PlanRows, plan_dataset
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.sampler import PlanBatchSampler

if TYPE_CHECKING:
    import datasets
    from stream.replica import Replica, Server

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int, int]]]:
    """First step, number of steps, rank and world size of every stream of this process."""
    calls: list[tuple[int, int, int, int]] = []
    fetch = Client.fetch

    def recorded(self: Client, plan_id: str, first: int, num_steps: int, **named: Any) -> Any:
        calls.append((first, num_steps, named["rank"], named["world_size"]))
        return fetch(self, plan_id, first, num_steps, **named)

    monkeypatch.setattr(Client, "fetch", recorded)
    yield calls


def in_turns(dataset: datasets.Dataset, rank: int, world_size: int, rows: int) -> Iterator[Any]:
    """What Accelerate gives a rank: so many rows of every `rows * world_size`."""
    for first in range(rank * rows, len(dataset), rows * world_size):
        yield dataset[first : first + rows]


@pytest.mark.parametrize(("world_size", "micro_rows"), [(2, 10), (2, 5), (4, 5)])
def test_a_rank_fetches_its_own_rows_alone_and_each_of_them_once(
    server: Server,
    replica: Replica,
    asked: list[tuple[int, int, int, int]],
    world_size: int,
    micro_rows: int,
) -> None:
    plan = replica.plan
    for rank in range(world_size):
        asked.clear()
        dataset = plan_dataset(
            server.address,
            plan.plan_id,
            world_size=world_size,
            micro_rows=micro_rows,
            watched=True,
        )
        seen = [
            int(position)
            for rows in in_turns(dataset, rank, world_size, micro_rows)
            for position in rows["position"]
        ]
        expected = [plan.shard(step, rank, world_size).positions for step in range(plan.num_steps)]
        assert seen == [position for shard in expected for position in shard.tolist()]
        assert asked == [(step, 1, rank, world_size) for step in range(plan.num_steps)]


def test_a_resumed_rank_fetches_nothing_of_what_was_trained(
    server: Server, replica: Replica, asked: list[tuple[int, int, int, int]]
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id, world_size=2)
    sampler = PlanBatchSampler(replica.plan, 1, 2, first_step=27)
    for _ in DataLoader(dataset, batch_sampler=sampler, collate_fn=default_data_collator):
        pass
    assert asked == [(step, 1, 1, 2) for step in (27, 28, 29)]


def test_the_rows_of_ranks_are_those_that_a_loader_of_that_rank_gets(
    server: Server, replica: Replica
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id, world_size=3, watched=True)
    sampler = PlanBatchSampler(replica.plan, 2, 3)
    batches = DataLoader(dataset, batch_sampler=sampler, collate_fn=default_data_collator)
    with ReplayLoader(server.address, replica.plan.plan_id, rank=2, world_size=3) as loader:
        for batch, streamed in zip(batches, loader, strict=True):
            for name in ("input_ids", "labels", "attention_mask", "position_ids"):
                assert torch.equal(batch[name], getattr(streamed, name))
            assert torch.equal(batch["source"], streamed.sources)
            assert torch.equal(batch["num_tokens"], streamed.lengths)


def test_a_sampler_that_shuffles_or_strides_is_refused_in_words(
    server: Server, replica: Replica
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id)
    samplers: list[Any] = [
        RandomSampler(dataset),
        DistributedSampler(dataset, 2, 0, shuffle=False),
    ]
    for sampler in samplers:
        loader = DataLoader(dataset, batch_size=10, sampler=sampler)
        with pytest.raises(RecollectError, match="shuffles or strides the plan") as caught:
            next(iter(loader))
        assert caught.value.reason is Reason.CONFIG_INVALID
    of_two = plan_dataset(server.address, replica.plan.plan_id, world_size=2)
    with pytest.raises(RecollectError, match="shuffles or strides"):
        next(iter(DataLoader(of_two, batch_size=10)))


def test_one_row_may_be_looked_at_and_any_if_said(server: Server, replica: Replica) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id, world_size=2, micro_rows=5)
    one = dataset[7]["input_ids"]
    free = plan_dataset(
        server.address, replica.plan.plan_id, world_size=2, micro_rows=5, any_order=True
    )
    some = free[[599, 7, 7, 13]]["input_ids"]
    assert torch.equal(some[1][: len(one)], one) and torch.equal(some[1], some[2])


def test_a_data_set_that_is_none_of_a_plan_is_refused(server: Server, replica: Replica) -> None:
    made = plan_dataset(server.address, replica.plan.plan_id)
    assert PlanRows.of(made).plan.plan_id == replica.plan.plan_id
    for other in (made.with_format("numpy"), [1, 2, 3]):
        with pytest.raises(RecollectError, match="no plan_dataset"):
            PlanRows.of(other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("num_workers", [2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_workers_of_every_kind_give_the_same_batches(
    server: Server, replica: Replica, method: str, num_workers: int
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id, world_size=2)
    expected = batches_of(dataset, replica, 0, None)
    # By now this process has a channel of its own, which a fork finds open.
    assert PlanRows.of(dataset).client._channels.opened
    assert same(batches_of(dataset, replica, num_workers, method), expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_in_a_worker_comes_with_its_words(
    server: Server, replica: Replica, method: str
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id)
    loader = DataLoader(
        dataset,
        batch_size=10,
        sampler=RandomSampler(dataset),
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    with pytest.raises((RecollectError, RuntimeError), match="shuffles or strides the plan"):
        next(iter(loader))


def batches_of(
    dataset: datasets.Dataset, replica: Replica, num_workers: int, method: str | None
) -> list[dict[str, torch.Tensor]]:
    sampler = PlanBatchSampler(replica.plan, 0, 2, first_step=18)
    context = None if method is None else multiprocessing.get_context(method)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=default_data_collator,
        num_workers=num_workers,
        multiprocessing_context=context,
    )
    return list(loader)


def same(
    ones: Sequence[dict[str, torch.Tensor]], others: Sequence[dict[str, torch.Tensor]]
) -> bool:
    return all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(ones, others, strict=True)
    )
