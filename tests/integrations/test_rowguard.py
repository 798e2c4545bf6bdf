from __future__ import annotations

import logging
from contextlib import closing
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import pad
from torch.utils.data import DataLoader
from transformers import default_data_collator

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.client import connect
from recollect.trainer.dataset import WATCHED, PlanRows, plan_dataset
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.rowguard import RowGuard
from recollect.trainer.sampler import PlanBatchSampler

if TYPE_CHECKING:
    from stream.replica import Replica, Server

    from recollect.mixer.plan import Plan

Parts = list[dict[str, torch.Tensor]]


def parts_of(
    address: str, plan: Plan, rank: int, world_size: int, *, micro_rows: int | None, steps: int
) -> tuple[Plan, Parts]:
    """What a DataLoader gives a rank, and the plan as the service tells it."""
    dataset = plan_dataset(address, plan.plan_id, world_size=world_size, watched=True)
    told = PlanRows.of(dataset).plan
    sampler = PlanBatchSampler(told, rank, world_size, micro_rows=micro_rows)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=default_data_collator)
    num_parts = steps * (told.mix.batch_size // world_size // (micro_rows or told.mix.batch_size))
    return told, [part for _, part in zip(range(num_parts or steps), loader, strict=False)]


@pytest.fixture(scope="module")
def parts(server: Server, replica: Replica) -> tuple[Plan, Parts]:
    """Four steps of one rank of two, five rows at a time."""
    return parts_of(server.address, replica.plan, 1, 2, micro_rows=5, steps=4)


@pytest.mark.parametrize("name", ["plan", "packed", "split", "weighed"])
@pytest.mark.parametrize(("world_size", "micro_rows"), [(1, None), (1, 4), (2, 2), (5, None)])
def test_parts_of_steps_are_counted_as_a_loader_of_whole_steps_counts_them(
    server: Server, replica: Replica, name: str, world_size: int, micro_rows: int | None
) -> None:
    sealed = replica.plan if name == "plan" else replica.weighed[name]
    rank = world_size - 1
    plan, parts = parts_of(server.address, sealed, rank, world_size, micro_rows=micro_rows, steps=3)
    guard = RowGuard(plan, rank, world_size)
    wholes = []
    for part in parts:
        kept = guard.take(part)
        assert kept.keys() == part.keys() - set(WATCHED)
        if guard.is_between_steps:
            wholes.append(guard.last)
    assert guard.next_step == len(wholes) == 3
    with ReplayLoader(server.address, plan.plan_id, rank=rank, world_size=world_size) as loader:
        for whole, streamed in zip(wholes, loader, strict=False):
            assert whole is not None
            assert (whole.step, whole.digest) == (streamed.step, streamed.digest)
            assert dict(whole.tallies) == dict(streamed.tallies)
    unit = plan.mix.unit
    amounts = {name: tally.amount(unit) for name, tally in guard.tallies.items()}
    assert sum(guard.realised().values()) == 1
    assert guard.realised() == {
        name: Fraction(amount, sum(amounts.values())) for name, amount in amounts.items()
    }


def swapped(parts: Parts) -> Parts:
    return [parts[1], parts[0], *parts[2:]]


def left_out(parts: Parts) -> Parts:
    return parts[1:]


def repeated(parts: Parts) -> Parts:
    return [parts[0], parts[0], *parts[1:]]


def of_another_source(parts: Parts) -> Parts:
    return [{**parts[0], "source": (parts[0]["source"] + 1) % 3}, *parts[1:]]


def reversed_rows(parts: Parts) -> Parts:
    return [{name: column.flip(0) for name, column in parts[0].items()}, *parts[1:]]


def of_no_source(parts: Parts) -> Parts:
    return [{**parts[0], "source": parts[0]["source"] + 3}, *parts[1:]]


def past_the_step(parts: Parts) -> Parts:
    ids = [parts[1]["input_ids"], parts[2]["input_ids"]]
    length = max(rows.shape[1] for rows in ids)
    joined = {
        name: torch.cat([pad(part[name], (0, length - part[name].shape[1])) for part in parts[1:3]])
        for name in ("input_ids", "labels")
    }
    watched = {name: torch.cat([part[name] for part in parts[1:3]]) for name in WATCHED}
    return [parts[0], {**joined, **watched}]


def too_many(parts: Parts) -> Parts:
    columns = {name: torch.cat([parts[1][name][:1]] * 6) for name in WATCHED}
    return [parts[0], {**parts[1], **columns}]


@pytest.mark.parametrize(
    "change",
    [
        *(swapped, left_out, repeated, reversed_rows),
        *(of_another_source, of_no_source, past_the_step, too_many),
    ],
)
def test_rows_that_are_not_the_next_ones_are_refused_before_the_model_sees_them(
    parts: tuple[Plan, Parts], change: Any
) -> None:
    plan, right = parts
    guard = RowGuard(plan, 1, 2)
    with pytest.raises(RecollectError) as caught:
        for part in change(right):
            guard.take(part)
    assert caught.value.reason is Reason.RATIO_VIOLATED
    assert guard.next_step == 0


def test_labels_that_were_changed_are_refused_where_tokens_count(
    server: Server, replica: Replica
) -> None:
    plan, parts = parts_of(
        server.address, replica.weighed["weighed"], 0, 1, micro_rows=None, steps=1
    )
    changed = {**parts[0], "labels": parts[0]["labels"].roll(1, 0)}
    RowGuard(plan).take(parts[0])
    with pytest.raises(RecollectError, match="supervised tokens") as caught:
        RowGuard(plan).take(changed)
    assert caught.value.reason is Reason.RATIO_VIOLATED


def test_what_is_refused_is_logged_and_counted_where_it_is_only_observed(
    parts: tuple[Plan, Parts], caplog: pytest.LogCaptureFixture
) -> None:
    plan, right = parts
    guard = RowGuard(plan, 1, 2, mode="observe")
    with caplog.at_level(logging.WARNING):
        for part in swapped(right):
            kept = guard.take(part)
            assert kept.keys() == part.keys() - set(WATCHED)
    assert guard.num_violations == 2 == len(caplog.records)
    assert "are next" in caplog.text
    # What came is counted all the same, and the steps after it are right again.
    assert sum(tally.num_rows for tally in guard.tallies.values()) == 40
    assert guard.next_step == 4


def test_rows_that_were_not_watched_are_refused(parts: tuple[Plan, Parts]) -> None:
    plan, right = parts
    for name in WATCHED:
        part = {key: column for key, column in right[0].items() if key != name}
        with pytest.raises(RecollectError, match="watched=True") as caught:
            RowGuard(plan, 1, 2).take(part)
        assert caught.value.reason is Reason.CONFIG_INVALID
    with pytest.raises(RecollectError, match="nothing to acknowledge"):
        RowGuard(plan).ack(connect("127.0.0.1:1"), "run")


def test_a_guard_goes_on_where_its_state_was_taken(parts: tuple[Plan, Parts]) -> None:
    plan, right = parts
    guard = RowGuard(plan, 1, 2)
    for part in right[:5]:
        guard.take(part)
    # The third step was begun: what counts is what is whole.
    state = guard.state_dict()
    assert state["next_step"] == 2
    again = RowGuard(plan, 1, 2)
    again.load_state_dict(state)
    for part in right[4:]:
        again.take(part)
    assert again.next_step == 4
    with pytest.raises(RecollectError):
        again.load_state_dict({**state, "plan_id": "0" * 64})


def test_steps_in_parts_are_acknowledged_like_whole_ones(replicas: Any, tmp_path: Any) -> None:
    made: Replica = replicas.make_replica(tmp_path / "data")
    with (
        replicas.Server(made.folder) as own,
        closing(connect(own.address)) as client,
    ):
        for run_id, micro_rows in (("whole", None), ("parts", 5)):
            client.start_run(run_id, made.plan.plan_id, base_digest="ab" * 32)
            for rank in range(2):
                plan, parts = parts_of(
                    own.address, made.plan, rank, 2, micro_rows=micro_rows, steps=2
                )
                guard = RowGuard(plan, rank, 2)
                for part in parts:
                    guard.take(part)
                    if guard.is_between_steps:
                        guard.ack(client, run_id)
            assert client.start_run(run_id, made.plan.plan_id, base_digest="ab" * 32) == 2
