from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.holding import holding
from recollect.mixer.plan import Plan
from recollect.mixer.shards import RankSteps, shards

from .corpus import plan

KINDS: dict[str, dict[str, Any]] = {
    "examples": {},
    "packs": {"packing": "best_fit"},
    "torn packs": {"packing": "split", "unit": "tokens"},
    "supervised tokens": {"unit": "supervised_tokens"},
}
ERASED = {"tickets": np.arange(0, 700, 3), "refusals": np.arange(59)}


@cache
def sealed(kind: str) -> Plan:
    return plan(**KINDS[kind])


@given(
    kind=st.sampled_from(sorted(KINDS)),
    world_size=st.integers(1, 5),
    numbers=st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20)),
    rank=st.integers(0, 4),
    erased=st.sampled_from([None, ERASED]),
)
@settings(max_examples=60, deadline=None)
def test_a_step_among_others_is_the_step_by_itself(
    kind: str,
    world_size: int,
    numbers: tuple[int, int],
    rank: int,
    erased: dict[str, Any] | None,
) -> None:
    made, rank = sealed(kind), rank % world_size
    first, last = sorted(number % made.num_steps for number in numbers)
    last = min(last, first + 40)
    together = shards(
        made, first, last - first + 1, rank=rank, world_size=world_size, erased=erased
    )
    assert together.num_steps == last - first + 1
    middle = together.num_steps // 2
    parts = [together.between(0, middle), together.between(middle, together.num_steps)]
    for place in range(0, together.num_steps, 3):
        part, within = (parts[0], place) if place < middle else (parts[1], place - middle)
        assert part[within].digest == together[place].digest
        assert part.digests[within] == together.digests[place]
        assert part.num_rows[within].tolist() == together.num_rows[place].tolist()
        for one, other in zip(
            part.pieces_of(within) or (), together.pieces_of(place) or (), strict=True
        ):
            assert one.tolist() == other.tolist()
        alone = made.shard(first + place, rank, world_size, erased)
        found = together[place]
        assert found.step == alone.step
        for column in ("positions", "sources", "ordinals", "examples", "epochs"):
            assert getattr(found, column).tolist() == getattr(alone, column).tolist()
        assert together.num_rows[place].tolist() == alone.counts(4).tolist()
        if erased is None:
            held = holding(made, alone)
            assert together.digests[place] == held.digest
            assert together.packed == held.packed
            if held.num_tokens is not None and held.num_supervised_tokens is not None:
                assert together.num_tokens is not None
                assert together.num_supervised_tokens is not None
                assert together.num_tokens[place].tolist() == held.num_tokens.tolist()
                supervised = together.num_supervised_tokens[place]
                assert supervised.tolist() == held.num_supervised_tokens.tolist()
            pieces = together.pieces_of(place)
            assert (pieces is None) == (held.pieces is None)
            for one, other in zip(pieces or (), held.pieces or (), strict=True):
                assert one.tolist() == other.tolist()


def test_steps_beyond_the_plan_and_ranks_beyond_the_world_are_refused() -> None:
    made = sealed("examples")
    with pytest.raises(RecollectError) as caught:
        shards(made, made.num_steps - 1, 2)
    assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE
    with pytest.raises(RecollectError) as caught:
        shards(made, 0, 1, rank=2, world_size=2)
    assert caught.value.reason is Reason.RANK_INVALID


@given(
    numbers=st.lists(st.tuples(st.integers(0, 119), st.integers(1, 9)), min_size=1, max_size=8),
    world_size=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_steps_are_the_same_in_whatever_order_they_are_asked_for(
    numbers: list[tuple[int, int]], world_size: int
) -> None:
    made = sealed("packs")
    steps = RankSteps(made, rank=world_size - 1, world_size=world_size)
    for first, count in numbers:
        first = min(first, made.num_steps - 1)
        last = min(first + count, made.num_steps)
        found = steps.between(first, last)
        expected = shards(made, first, last - first, rank=world_size - 1, world_size=world_size)
        assert (found.first_step, found.digests) == (expected.first_step, expected.digests)
        assert found.bounds.tolist() == expected.bounds.tolist()


def test_steps_beyond_the_end_are_refused_though_a_block_ends_with_the_plan() -> None:
    made = sealed("examples")
    steps = RankSteps(made)
    assert steps.between(made.num_steps - 1, made.num_steps).num_steps == 1
    with pytest.raises(RecollectError) as caught:
        steps.between(made.num_steps - 1, made.num_steps + 1)
    assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE
