from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.client import connect
from recollect.trainer.order import RowOrder
from recollect.trainer.sampler import PlanBatchSampler

if TYPE_CHECKING:
    from stream.replica import Replica, Server

SHAPES = [(1, 20), (1, 5), (2, 10), (2, 5), (4, 5), (5, 2), (10, 1)]
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(("world_size", "micro_rows"), SHAPES)
def test_whoever_takes_rows_in_turn_gets_the_shards_of_the_plan(
    replica: Replica, world_size: int, micro_rows: int
) -> None:
    plan = replica.plan
    order = RowOrder(plan, world_size, micro_rows)
    assert order.num_rows == plan.num_positions
    turns = order.positions(np.arange(order.num_rows)).reshape(-1, world_size, micro_rows)
    for rank in range(world_size):
        mine = turns[:, rank].reshape(plan.num_steps, -1)
        for step, positions in enumerate(mine):
            assert positions.tolist() == plan.shard(step, rank, world_size).positions.tolist()


@pytest.mark.parametrize("name", ["packed", "weighed"])
def test_plans_that_count_tokens_are_dealt_by_position_as_well(
    server: Server, replica: Replica, name: str
) -> None:
    with closing(connect(server.address)) as client:
        plan = client.plan(replica.weighed[name].plan_id)
    order = RowOrder(plan, 3, 2)
    turns = order.positions(np.arange(order.num_rows)).reshape(-1, 3, 2)
    for step in (0, 13, plan.num_steps - 1):
        for rank in range(3):
            mine = turns[2 * step : 2 * step + 2, rank].ravel()
            assert mine.tolist() == order.plan.shard(step, rank, 3).positions.tolist()


@quick
@given(data=st.data())
def test_only_consecutive_rows_of_one_rank_are_in_turn(
    replica: Replica, data: st.DataObject
) -> None:
    plan = replica.plan
    world_size = data.draw(st.sampled_from([1, 2, 3, 4]))
    order = RowOrder(plan, world_size)
    step, rank = data.draw(st.integers(0, 29)), data.draw(st.integers(0, world_size - 1))
    shard = plan.shard(step, rank, world_size).positions
    first = data.draw(st.integers(0, len(shard) - 1))
    last = data.draw(st.integers(first + 1, len(shard)))
    assert order.are_in_turn(shard[first:last])
    shuffled = np.array(data.draw(st.permutations(shard.tolist())))
    assert order.are_in_turn(shuffled) == (shuffled.tolist() == shard.tolist())
    if len(shard) > 2:
        assert not order.are_in_turn(np.delete(shard, 1))
        assert not order.are_in_turn(np.insert(shard, 1, shard[0]))


@pytest.mark.parametrize(("world_size", "micro_rows"), [(1, 7), (3, 5), (2, 20), (2, 0), (1, -5)])
def test_parts_that_make_up_no_step_are_refused(
    replica: Replica, world_size: int, micro_rows: int
) -> None:
    for make in (RowOrder, lambda p, w, m: PlanBatchSampler(p, 0, w, micro_rows=m)):
        with pytest.raises(RecollectError) as caught:
            make(replica.plan, world_size, micro_rows)
        assert caught.value.reason is Reason.CONFIG_INVALID


def test_a_row_outside_the_plan_is_refused(replica: Replica) -> None:
    for rows in ([600], [-1]):
        with pytest.raises(RecollectError) as caught:
            RowOrder(replica.plan, 2, 5).positions(np.array(rows))
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE


def test_a_shorter_last_batch_is_left_out_where_ranks_would_be_given_rows_of_the_beginning(
    replica: Replica,
) -> None:
    plan = replica.held_out
    assert plan.num_positions % plan.mix.batch_size == 2
    assert RowOrder(plan, 2, 4).num_rows == plan.num_positions - 2
    assert RowOrder(plan, 1, 4).num_rows == RowOrder(plan, 2).num_rows == plan.num_positions


@quick
@given(data=st.data())
def test_a_sampler_goes_through_the_shards_of_its_rank_from_any_step(
    replica: Replica, data: st.DataObject
) -> None:
    plan = data.draw(st.sampled_from([replica.plan, replica.held_out]))
    world_size = data.draw(st.integers(1, 4))
    rank = data.draw(st.integers(0, world_size - 1))
    micro_rows = None
    if plan.mix.batch_size % world_size == 0:
        share = plan.mix.batch_size // world_size
        parts = [n for n in range(1, share + 1) if share % n == 0]
        micro_rows = data.draw(st.sampled_from([None, *parts]))
    first = data.draw(st.integers(0, plan.num_steps))
    sampler = PlanBatchSampler(plan, rank, world_size, first_step=first, micro_rows=micro_rows)
    num_lists = len(sampler)
    lists = list(sampler)
    assert len(lists) == num_lists and all(lists) and len(sampler) == 0
    expected = [
        position
        for step in range(first, sampler.num_steps)
        for position in plan.shard(step, rank, world_size).positions.tolist()
    ]
    assert [position for positions in lists for position in positions] == expected


@quick
@given(data=st.data())
def test_a_sampler_goes_on_where_its_state_was_taken(replica: Replica, data: st.DataObject) -> None:
    micro_rows = data.draw(st.sampled_from([None, 5, 2]))
    whole = list(PlanBatchSampler(replica.plan, 1, 2, micro_rows=micro_rows))
    sampler = PlanBatchSampler(replica.plan, 1, 2, micro_rows=micro_rows)
    cut = data.draw(st.integers(0, len(whole)))
    lists = iter(sampler)
    before = [next(lists) for _ in range(cut)]
    sampler.set_epoch(3)
    again = PlanBatchSampler(replica.plan, 1, 2, micro_rows=micro_rows)
    again.load_state_dict(sampler.state_dict())
    assert len(again) == len(whole) - cut
    assert before + list(again) == whole


def test_the_state_of_another_plan_or_version_is_refused(replica: Replica) -> None:
    sampler = PlanBatchSampler(replica.plan)
    state = sampler.state_dict()
    changes: list[tuple[dict[str, Any], Reason]] = [
        ({"plan_id": "0" * 64}, Reason.CONFIG_INVALID),
        ({"version": 99}, Reason.VERSION_UNKNOWN),
        ({"next_step": None}, Reason.CONFIG_INVALID),
        ({"next_part": "1"}, Reason.CONFIG_INVALID),
        # It would look like the end of the data.
        ({"next_step": replica.plan.num_steps + 1}, Reason.PLAN_OUT_OF_RANGE),
        ({"next_step": -1}, Reason.PLAN_OUT_OF_RANGE),
    ]
    for change, reason in changes:
        with pytest.raises(RecollectError) as caught:
            sampler.load_state_dict({**state, **change})
        assert caught.value.reason is reason
        assert sampler.state_dict() == state


def test_a_first_step_that_the_plan_does_not_have_is_refused(replica: Replica) -> None:
    assert list(PlanBatchSampler(replica.plan, first_step=replica.plan.num_steps)) == []
    for step in (-1, replica.plan.num_steps + 1):
        with pytest.raises(RecollectError) as caught:
            PlanBatchSampler(replica.plan, first_step=step)
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE


def test_a_rank_that_there_is_not_is_refused(replica: Replica) -> None:
    for rank, world_size in ((2, 2), (-1, 2), (0, 21)):
        with pytest.raises(RecollectError) as caught:
            PlanBatchSampler(replica.plan, rank, world_size)
        assert caught.value.reason is Reason.RANK_INVALID
