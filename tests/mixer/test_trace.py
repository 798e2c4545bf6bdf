"""Traces, held against the batches and shards that the plan itself gives."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import read_plan
from recollect.mixer.trace import Columns, columns_of, trace

from .conftest import make_plan
from .measured import CHANGES, NAMES, measured_plan

PACKED = measured_plan(
    unit="supervised_tokens", packing="best_fit", batch_size=10, num_steps=40, changes=CHANGES
)
PLAIN = make_plan(batch_size=10, num_steps=40, changes=CHANGES)


def joined(chunks: Iterator[Columns]) -> dict[str, Any]:
    parts = list(chunks)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), is_packed=st.booleans())
def test_a_trace_says_what_the_shards_hold(data: st.DataObject, is_packed: bool) -> None:
    plan = PACKED if is_packed else PLAIN
    first = data.draw(st.integers(0, 399))
    last = data.draw(st.integers(first + 1, 400))
    world_size = data.draw(st.sampled_from([1, 3, 10]))
    erased = {"refusals": np.array([0, 3]), "tickets": np.arange(100)}
    erased = data.draw(st.sampled_from([{}, erased]))
    found = joined(trace(plan, first, last, world_size=world_size, erased=erased))
    assert tuple(found) == columns_of(plan, world_size=world_size)
    assert found["position"].tolist() == list(range(first, last))
    for step in range(first // 10, (last - 1) // 10 + 1):
        for rank in range(world_size):
            here = (found["step"] == step) & (found["rank"] == rank)
            shard = plan.shard(step, rank, world_size, erased)
            inside = (shard.positions >= first) & (shard.positions < last)
            for name, column in (
                ("position", shard.positions),
                ("source", shard.sources),
                ("ordinal", shard.ordinals),
                ("epoch", shard.epochs),
                ("example", shard.examples),
            ):
                assert found[name][here].tolist() == column[inside].tolist()


def test_a_trace_of_pieces_lists_each_piece_of_each_pack() -> None:
    erased = {"general": np.arange(0, 90, 2)}
    found = joined(trace(PACKED, 25, 300, world_size=3, pieces=True, erased=erased))
    assert tuple(found) == columns_of(PACKED, world_size=3, pieces=True)
    plain = joined(trace(PACKED, 25, 300, world_size=3, erased=erased))
    rows = dict(zip(plain["position"].tolist(), plain["example"].tolist(), strict=True))
    assert all(
        rows[p] == r for p, r in zip(found["position"].tolist(), found["row"].tolist(), strict=True)
    )
    entries = list(zip(*(found[name].tolist() for name in found), strict=True))
    expected = []
    for step in range(2, 30):
        batch = PACKED.batch(step, erased)
        for row, *piece in zip(*(c.tolist() for c in PACKED.pieces(batch, erased)), strict=True):
            expected.append((int(batch.positions[row]), int(batch.sources[row]), *piece))
    expected = [entry for entry in expected if 25 <= entry[0] < 300]
    assert [(e[0], e[1], *e[-5:-2]) for e in entries] == expected
    general = NAMES.index("general")
    assert not [e for e in entries if e[1] == general and e[-5] % 2 == 0]


@pytest.mark.parametrize("erased", [{}, {"general": np.arange(0, 90, 2)}])
def test_the_tokens_of_a_row_are_those_of_its_pieces(erased: dict[str, Any]) -> None:
    by_row = joined(trace(PACKED, 25, 300, erased=erased))
    by_piece = joined(trace(PACKED, 25, 300, pieces=True, erased=erased))
    assert (by_piece["tokens"] == by_piece["stop"] - by_piece["start"]).all()
    for name in ("tokens", "supervised_tokens"):
        sums = np.bincount(by_piece["position"] - 25, weights=by_piece[name])
        assert sums.tolist() == by_row[name].tolist()
    assert 0 < by_row["supervised_tokens"].sum() < by_row["tokens"].sum()


@pytest.mark.parametrize("unit", ["tokens", "supervised_tokens"])
def test_shares_of_tokens_can_be_checked_from_the_trace_alone(unit: str) -> None:
    plan = measured_plan(unit=unit, packing="none", batch_size=10, num_steps=40)
    found = joined(trace(plan))
    served = [found[unit][found["source"] == index].sum() for index in range(len(NAMES))]
    longest = found[unit].max()
    for source, amount in zip(plan.sources, served, strict=True):
        assert abs(amount - source.share * int(sum(served))) <= longest


def test_a_plan_that_knows_no_lengths_says_no_tokens() -> None:
    assert "tokens" not in columns_of(PLAIN, world_size=2)
    assert "tokens" not in joined(trace(PLAIN, 0, 5))


def test_a_trace_begins_and_ends_where_it_is_told() -> None:
    assert list(trace(PLAIN, 7, 7)) == []
    assert joined(trace(PLAIN))["position"].size == PLAIN.num_positions
    assert joined(trace(PLAIN, 399))["position"].tolist() == [399]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"first": -1}, Reason.PLAN_OUT_OF_RANGE),
        ({"last": 401}, Reason.PLAN_OUT_OF_RANGE),
        ({"first": 9, "last": 8}, Reason.PLAN_OUT_OF_RANGE),
        ({"world_size": 0}, Reason.RANK_INVALID),
        ({"world_size": 11}, Reason.RANK_INVALID),
        ({"pieces": True}, Reason.MIX_INVALID),
    ],
)
def test_what_cannot_be_traced_is_refused_before_anything_is_written(
    arguments: dict[str, Any], reason: Reason
) -> None:
    with pytest.raises(RecollectError) as caught:
        trace(PLAIN, **arguments)
    assert caught.value.reason is reason


def test_a_plan_without_its_measures_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        trace(read_plan(PACKED.to_json()))
    assert caught.value.reason is Reason.MEASURES_DIFFER


@pytest.mark.skipif(sys.gettrace() is not None, reason="tracing itself takes memory")
def test_a_long_trace_takes_no_more_memory_than_a_short_one() -> None:
    def peak(num_rows: int) -> int:
        plan = make_plan(batch_size=100, num_steps=20_000)
        tracemalloc.start()
        try:
            for _ in trace(plan, 1_000_000, 1_000_000 + num_rows, world_size=8):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Both are longer than what is worked out at once.
    assert peak(800_000) < 1.2 * peak(200_000)


def test_chunks_are_whole_batches_of_any_size() -> None:
    for batch_size in (1, 7, 20_000):
        plan: Plan = make_plan(batch_size=batch_size, num_steps=3)
        found = joined(trace(plan, world_size=1))
        assert found["step"].tolist() == [p // batch_size for p in range(3 * batch_size)]
