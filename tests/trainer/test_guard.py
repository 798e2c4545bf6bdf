from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Purpose, Role
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal
from recollect.trainer.guard import RatioGuard, served_before
from recollect.trainer.loader import TrainBatch

SHARES = [[1, 1], [7, 2, 1], [14, 5, 1], [701, 199, 97, 3]]


def sealed(weights: Sequence[int], *, batch_size: int = 12, num_steps: int = 400) -> Plan:
    names = [f"s{index}" for index in range(len(weights))]
    mix = Mix.from_mapping(
        {
            "name": "guarded",
            "batch_size": batch_size,
            "num_steps": num_steps,
            "max_length": 16,
            "sources": [
                {"source": name, "role": "task", "share": f"{weight}/{sum(weights)}"}
                for name, weight in zip(names, weights, strict=True)
            ],
        }
    )
    held = {
        name: SourceSnapshot(
            name=name, role=Role.TASK, purpose=Purpose.TRAIN, num_examples=50, content_digest="c"
        )
        for name in names
    }
    return seal(mix, snapshot_id="s", sources=held, tokenizer_digest="t")


def batch_of(step: int, sources: Sequence[int]) -> TrainBatch:
    num_rows = len(sources)
    return TrainBatch(
        step=step,
        input_ids=torch.zeros(num_rows, 4, dtype=torch.int32),
        loss_mask=torch.zeros(num_rows, 4, dtype=torch.bool),
        lengths=torch.full((num_rows,), 4),
        pieces=np.full(num_rows, 4),
        packed=False,
        sources=torch.tensor(sources, dtype=torch.int64),
        names=(),
        counts_by_source=np.zeros((3, 0), dtype=np.int64),
        digest=b"",
    )


def received(plan: Plan, step: int, rank: int = 0, world_size: int = 1) -> list[int]:
    sources: list[int] = plan.shard(step, rank, world_size).sources.tolist()
    return sources


@settings(max_examples=20, deadline=None)
@given(
    weights=st.sampled_from(SHARES),
    world_size=st.integers(1, 5),
    first_step=st.integers(0, 350),
    data=st.data(),
)
def test_what_the_plan_prescribes_passes_on_every_rank_from_every_step(
    weights: list[int], world_size: int, first_step: int, data: st.DataObject
) -> None:
    plan = sealed(weights)
    rank = data.draw(st.integers(0, world_size - 1))
    guard = RatioGuard(plan, rank, world_size, first_step=first_step)
    for step in range(first_step, first_step + 40):
        guard.observe(batch_of(step, received(plan, step, rank, world_size)))
    assert guard.max_deviation < (1 if world_size == 1 else 2)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SHARES), st.integers(1, 4), st.integers(0, 60), st.data())
def test_a_resumed_guard_knows_what_an_uninterrupted_one_counted(
    weights: list[int], world_size: int, step: int, data: st.DataObject
) -> None:
    plan = sealed(weights)
    rank = data.draw(st.integers(0, world_size - 1))
    guard = RatioGuard(plan, rank, world_size)
    for earlier in range(step):
        guard.observe(batch_of(earlier, received(plan, earlier, rank, world_size)))
    resumed = RatioGuard(plan, rank, world_size, first_step=step)
    assert resumed.counts == guard.counts


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("step", [0, 399, 400])
def test_ranks_together_have_what_the_plan_served(world_size: int, step: int) -> None:
    plan = sealed([14, 5, 1])
    counts = [served_before(plan, step, rank, world_size) for rank in range(world_size)]
    assert np.sum(counts, axis=0).tolist() == plan.schedule.served(step * 12).tolist()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHARES), st.integers(0, 30), st.integers(0, 11), st.integers(1, 3))
def test_one_row_of_another_source_is_refused(
    weights: list[int], step: int, row: int, other: int
) -> None:
    plan = sealed(weights)
    guard = RatioGuard(plan, first_step=step)
    sources = received(plan, step)
    sources[row] = (sources[row] + other) % len(weights)
    if sources == received(plan, step):
        return
    with pytest.raises(RecollectError) as caught:
        guard.observe(batch_of(step, sources))
    assert caught.value.reason is Reason.RATIO_VIOLATED
    assert f"step {step}" in caught.value.where


def test_the_right_counts_in_a_wrong_order_are_refused_where_the_prefix_shows_it() -> None:
    plan = sealed([1, 1])
    guard = RatioGuard(plan)
    with pytest.raises(RecollectError, match="rows"):
        guard.observe(batch_of(0, sorted(received(plan, 0))))


@pytest.mark.parametrize("step", [0, 2])
def test_a_step_that_is_repeated_or_left_out_is_refused(step: int) -> None:
    plan = sealed([7, 2, 1])
    guard = RatioGuard(plan)
    guard.observe(batch_of(0, received(plan, 0)))
    with pytest.raises(RecollectError, match="Step 1 was expected") as caught:
        guard.observe(batch_of(step, received(plan, step)))
    assert caught.value.reason is Reason.RATIO_VIOLATED


@pytest.mark.parametrize("change", ["dropped", "doubled", "unknown", "unnamed"])
def test_rows_that_are_not_the_plans_are_refused(change: str) -> None:
    plan = sealed([7, 2, 1])
    sources = received(plan, 0)
    batch = {
        "dropped": batch_of(0, sources[:-1]),
        "doubled": batch_of(0, sources + sources[-1:]),
        "unknown": batch_of(0, [*sources[:-1], 3]),
        "unnamed": batch_of(0, [*sources[:-1], -1]),
    }[change]
    guard = RatioGuard(plan)
    with pytest.raises(RecollectError) as caught:
        guard.observe(batch)
    assert caught.value.reason is Reason.RATIO_VIOLATED
    assert set(guard.counts.values()) == {0}


def test_realised_fractions_are_exact() -> None:
    plan = sealed([14, 5, 1], batch_size=20, num_steps=10)
    guard = RatioGuard(plan)
    assert set(guard.realised().values()) == {0}
    for step in range(10):
        guard.observe(batch_of(step, received(plan, step)))
    assert guard.realised() == {"s0": Fraction(7, 10), "s1": Fraction(1, 4), "s2": Fraction(1, 20)}
