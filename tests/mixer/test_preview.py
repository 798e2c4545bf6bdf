"""Previews, held against counting every row that the plan serves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.contents import RowContents, Totals, served_of
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.limits import RatioPolicy
from recollect.mixer.mix import Mix, Unit, canonical_json
from recollect.mixer.packing import Packing
from recollect.mixer.plan import Plan, SourceSnapshot, plan_id_of
from recollect.mixer.preview import SourcePreview, preview
from recollect.mixer.sealing import read_plan, seal

from .conftest import make_held, make_mapping
from .measured import CHANGES, NAMES, measured, measured_plan

Held = Callable[..., dict[str, SourceSnapshot]]
Sealed = Callable[..., Plan]
UNMEASURED = (Unit.EXAMPLES, Packing.NONE)
"""What depends on no measures, and is tested by itself."""


def brute_force(plan: Plan) -> list[dict[str, Any]]:
    """The same by going through all rows, each piece of each."""
    counts = [{"rows": [], "tokens": 0, "supervised": 0, "again": -1} for _ in plan.sources]
    for step in range(plan.num_steps):
        batch = plan.batch(step)
        pieces = plan.pieces(batch)
        tokens = np.zeros(len(batch), dtype=np.int64)
        supervised = np.zeros(len(batch), dtype=np.int64)
        for row, example, start, stop in zip(*(c.tolist() for c in pieces), strict=True):
            rows = plan.source_rows[batch.sources[row]]
            assert rows.measures is not None
            tokens[row] += stop - start
            supervised[row] += np.sum(
                rows.measures.supervised(np.array([example]), np.array([start]), np.array([stop]))
            )
        for row, source in enumerate(batch.sources.tolist()):
            count, key = counts[source], int(batch.examples[row])
            if key in count["rows"] and count["again"] < 0:
                count["again"] = step
            count["rows"].append(key)
            count["tokens"] += int(tokens[row])
            count["supervised"] += int(supervised[row])
    return counts


def check(plan: Plan) -> tuple[SourcePreview, ...]:
    """Compares a preview with what running the plan serves."""
    found = preview(plan)
    counted = brute_force(plan)
    for source, truth in zip(found.sources, counted, strict=True):
        times = np.bincount(truth["rows"]) if truth["rows"] else np.zeros(1)
        assert source.num_rows == len(truth["rows"])
        assert source.num_tokens == truth["tokens"]
        assert source.num_supervised_tokens == truth["supervised"]
        assert source.max_repeats == times.max()
        assert source.exhaustion_step == truth["again"]
        assert not source.is_estimate
    total = sum(truth["tokens"] for truth in counted)
    for source, truth in zip(found.sources, counted, strict=True):
        assert source.token_share == pytest.approx(truth["tokens"] / total)
    return found.sources


@pytest.mark.parametrize(
    ("unit", "packing"),
    [(unit, packing) for unit in Unit for packing in Packing if (unit, packing) != UNMEASURED],
)
def test_a_preview_is_what_running_the_plan_serves_in_every_unit_and_packing(
    unit: Unit, packing: Packing
) -> None:
    sources = check(
        measured_plan(unit=unit, packing=packing, num_steps=40, batch_size=8, changes=CHANGES)
    )
    if packing is Packing.NONE:
        lengths = [measured(name).lengths for name in NAMES]
        assert [s.num_truncated for s in sources] == [int((v > 64).sum()) for v in lengths]
        assert {source.padding for source in sources} == {0.0}
    else:
        for source in sources:
            slots = source.rows_per_pass * 64
            assert source.num_truncated == 0
            tokens = int(measured(source.source).lengths.sum())
            assert source.padding == pytest.approx(1 - tokens / slots)


@pytest.mark.parametrize("num_steps", [1, 12, 200])
def test_a_preview_of_unpacked_examples_is_what_running_the_plan_serves(
    sealed: Sealed, num_steps: int
) -> None:
    plan = sealed(num_steps=num_steps)
    generator = np.random.default_rng(1)
    contents = {
        s.name: RowContents(
            tokens=generator.integers(1, 65, s.num_examples, dtype=np.int32),
            supervised_tokens=generator.integers(0, 30, s.num_examples, dtype=np.int32),
            num_truncated=index,
        )
        for index, s in enumerate(plan.sources)
    }
    rows = plan.at(np.arange(plan.num_positions), step=0)
    for index, found in enumerate(preview(plan, contents).sources):
        examples = rows.examples[rows.sources == index]
        epochs = rows.epochs[rows.sources == index]
        repeats = np.flatnonzero((rows.sources == index) & (rows.epochs == 1))
        held = contents[found.source]
        assert found.num_rows == examples.size
        assert found.num_tokens == held.tokens[examples].sum()
        assert found.num_supervised_tokens == held.supervised_tokens[examples].sum()
        assert found.num_truncated == index
        assert found.max_repeats == np.bincount(examples).max() == epochs.max() + 1
        assert found.epochs == examples.size / found.num_examples
        assert found.exhaustion_step == (repeats[0] // 32 if repeats.size else -1)
        assert not found.is_estimate


@settings(max_examples=60, deadline=None)
@given(num_rows=st.lists(st.integers(0, 2000), min_size=4, max_size=4), most=st.integers(0, 400))
def test_what_is_not_counted_is_estimated_and_said_to_be(num_rows: list[int], most: int) -> None:
    plan = seal(
        Mix.from_mapping(make_mapping()),
        snapshot_id="first",
        sources=make_held(),
        tokenizer_digest="f" * 64,
    )
    contents = [
        RowContents(
            tokens=np.arange(s.num_examples) % 64 + 1,
            supervised_tokens=np.ones(s.num_examples, dtype=np.int64),
        )
        for s in plan.sources
    ]
    exact = served_of(plan, num_rows, contents)
    for index, found in enumerate(served_of(plan, num_rows, contents, most_counted=most)):
        assert not exact[index].is_estimate
        assert found.num_supervised_tokens == num_rows[index]
        size = plan.sources[index].num_examples
        if found.is_estimate:
            assert num_rows[index] % size
            assert abs(found.num_tokens - exact[index].num_tokens) < 64 * size
        else:
            assert found == exact[index]


@pytest.mark.parametrize("unit", [Unit.EXAMPLES, Unit.TOKENS])
def test_a_source_that_stops_the_plan_ends_in_the_last_step(unit: Unit) -> None:
    mapping = make_mapping(num_steps=None, unit=unit, packing="best_fit")
    mapping["sources"][2]["on_exhaustion"] = "stop"
    plan = measured_plan(**mapping)
    found = preview(plan).sources
    assert found[2].exhaustion_step == plan.num_steps - 1
    assert found[2].epochs == 1
    assert found[3].exhaustion_step < plan.num_steps - 1


def large(num_examples: int, **changes: Any) -> Plan:
    """A plan over 10^9 examples, which nobody holds."""
    policy = RatioPolicy.from_mapping(
        {"name": "house", "roles": {"refusal": {"floor": 300}, "task": {"ceiling": 8000}}}
    )
    return seal(
        Mix.from_mapping(make_mapping(batch_size=1024, num_steps=2_000_000, **changes)),
        snapshot_id="first",
        sources=make_held(**dict.fromkeys(NAMES, num_examples)),
        tokenizer_digest="f" * 64,
        policy=policy,
    )


def test_a_plan_over_a_thousand_million_examples_takes_no_array_of_them() -> None:
    totals = {
        name: Totals(num_tokens=40 * 250_000_000, num_supervised_tokens=9 * 250_000_000)
        for name in NAMES
    }
    preview(large(1000), totals, world_sizes=[8])
    tracemalloc.start()
    try:
        found = preview(large(250_000_000), totals, world_sizes=[1, 8])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20
    task = found.sources[0]
    assert task.num_rows == 1_433_600_000
    assert task.num_tokens == 40 * task.num_rows
    assert task.is_estimate
    assert task.exhaustion_step == 250_000_000 * 10 // 7 // 1024
    assert [limit.path for limit in found.limits] == ["roles.task", "roles.refusal"]
    assert [rank.worst_deviation < 1 for rank in found.ranks] == [True, True]


def without_measures(plan: Plan, **num_examples: int) -> Plan:
    """The plan as it is read back where nothing but its JSON is; sources may be made larger."""
    content = plan.content()
    for source in content["sources"]:
        factor = num_examples.get(source["name"], 1)
        source["num_examples"] *= factor
        source["num_rows"] *= factor
    content["num_positions"] *= max(num_examples.values(), default=1)
    content["mix"]["num_steps"] *= max(num_examples.values(), default=1)
    return read_plan(canonical_json({**content, "plan_id": plan_id_of(content)}))


@pytest.mark.parametrize("unit", [Unit.TOKENS, Unit.SUPERVISED_TOKENS])
def test_without_measures_shares_of_tokens_are_estimated_closely(unit: Unit) -> None:
    plan = measured_plan(
        unit=unit, packing="best_fit", num_steps=300, batch_size=16, changes=CHANGES
    )
    exact = preview(plan).sources
    totals = {
        rows.name: Totals(
            num_tokens=int(rows.tokens.sum()),
            num_supervised_tokens=int(rows.supervised_tokens.sum()),
        )
        for rows in plan.source_rows
    }
    estimated = preview(without_measures(plan), totals)
    assert sum(source.num_rows for source in estimated.sources) == plan.num_positions
    for found, truth in zip(estimated.sources, exact, strict=True):
        assert found.is_estimate
        assert found.num_rows == pytest.approx(truth.num_rows, rel=0.05, abs=3)
        assert found.num_tokens == pytest.approx(truth.num_tokens, rel=0.05)
        assert found.exhaustion_step == pytest.approx(truth.exhaustion_step, rel=0.1, abs=3)


def test_shares_of_tokens_over_a_thousand_million_examples_are_previewed() -> None:
    factor = 2_000_000
    plan = measured_plan(unit="tokens", packing="best_fit", num_steps=50)
    grown = without_measures(plan, **dict.fromkeys(NAMES, factor))
    assert sum(source.num_examples for source in grown.sources) > 10**9
    totals = {
        rows.name: Totals(
            num_tokens=int(rows.tokens.sum()) * factor,
            num_supervised_tokens=int(rows.supervised_tokens.sum()) * factor,
        )
        for rows in plan.source_rows
    }
    for found, small in zip(preview(grown, totals).sources, preview(plan).sources, strict=True):
        assert found.num_rows == pytest.approx(small.num_rows * factor, rel=0.05)


def test_a_source_without_tokens_cannot_have_a_share_of_them() -> None:
    plan = without_measures(measured_plan(unit="supervised_tokens", packing="split"))
    nothing = Totals(num_tokens=9, num_supervised_tokens=0)
    with pytest.raises(RecollectError) as caught:
        preview(plan, dict.fromkeys(NAMES, nothing))
    assert caught.value.reason is Reason.MIX_INVALID
    assert caught.value.where == "sources[0]"


POLICY = RatioPolicy.from_mapping(
    {
        "name": "house",
        "roles": {"refusal": {"floor": 300}, "task": {"floor": 1900, "ceiling": 8000}},
        "sources": {"general": {"ceiling": 3000}},
    }
)


@pytest.mark.parametrize("unit", list(Unit))
def test_the_window_of_a_limit_is_the_smallest_in_which_the_served_rows_keep_it(
    unit: Unit,
) -> None:
    changes: dict[str, Any] = dict(batch_size=12, num_steps=60, changes=CHANGES)
    plan = measured_plan(POLICY, unit=unit, packing="best_fit", **changes)
    found = preview(plan)
    amounts = np.zeros((plan.num_steps, len(NAMES)), dtype=np.int64)
    for step in range(plan.num_steps):
        batch = plan.batch(step)
        for source, row in zip(batch.sources.tolist(), batch.examples.tolist(), strict=True):
            rows = plan.source_rows[source]
            weights = {
                Unit.EXAMPLES: 1,
                Unit.TOKENS: int(rows.tokens[row]),
                Unit.SUPERVISED_TOKENS: int(rows.supervised_tokens[row]),
            }
            amounts[step, source] += weights[unit]
    members = {"roles.refusal": [3], "roles.task": [0], "sources.general": [1]}
    assert [limit.path for limit in found.limits] == [
        "roles.task",
        "roles.refusal",
        "sources.general",
    ]
    for limit in found.limits:
        own, total = amounts[:, members[limit.path]].sum(axis=1), amounts.sum(axis=1)
        for window, bad in (
            (limit.floor_window, 10_000 * own - limit.limit.floor * total),
            (limit.ceiling_window, limit.limit.ceiling * total - 10_000 * own),
        ):
            if window is None:
                continue
            kept = [
                bool((np.convolve(bad, np.ones(size, dtype=np.int64), "valid") >= 0).all())
                for size in range(1, plan.num_steps + 1)
            ]
            expected = kept.index(True) + 1 if any(kept) else None
            assert window.num_batches == expected
            assert window.examined
    task = found.limits[0]
    assert (task.least_share, task.greatest_share) == (Fraction(1, 5), Fraction(7, 10))
    assert [task.above_floor, task.below_ceiling] == [Fraction(100), Fraction(1000)]


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_the_worst_rank_is_the_worst_of_all_ranks_and_steps(unit: Unit, world_size: int) -> None:
    plan = measured_plan(
        unit=unit, packing="best_fit", num_steps=40, batch_size=10, changes=CHANGES
    )
    (found,) = preview(plan, world_sizes=[world_size]).ranks
    counts = np.zeros((world_size, len(NAMES)), dtype=np.int64)
    worst = Fraction(0)
    for step in range(plan.num_steps):
        for rank in range(world_size):
            counts[rank] += plan.shard(step, rank, world_size).counts(len(NAMES))
        for source in range(len(NAMES)):
            due = plan.mix.timeline.owed(source, (step + 1) * 10)
            if unit is not Unit.EXAMPLES:
                due = Fraction(int(counts[:, source].sum()))
            off = [abs(int(count) - due / world_size) for count in counts[:, source]]
            worst = max(worst, *off)
    assert found.worst_deviation == pytest.approx(float(worst))
    assert worst < found.bound
    assert found.num_steps == plan.num_steps


def test_more_ranks_than_rows_are_refused(sealed: Sealed) -> None:
    with pytest.raises(RecollectError) as caught:
        preview(sealed(), world_sizes=[33])
    assert caught.value.reason is Reason.RANK_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unit": "tokens", "packing": "none"},
        {"unit": "supervised_tokens", "packing": "best_fit"},
        {"packing": "split", "max_length": 2048},
        {"batch_size": 512, "num_steps": 1000, "unit": "tokens", "packing": "best_fit"},
    ],
)
def test_working_out_batches_takes_no_more_memory_than_was_said(changes: dict[str, Any]) -> None:
    plan = measured_plan(**changes)
    said = preview(plan, world_sizes=[8]).peak_bytes
    plan = measured_plan(**changes)
    tracemalloc.start()
    try:
        measures = {name: measured(name) for name in NAMES}
        fresh = read_plan(plan.to_json(), measures) if plan.needs_measures else plan
        for step in (0, plan.num_steps // 2, plan.num_steps - 1):
            for rank in range(8):
                shard = fresh.shard(step, rank, 8)
            if fresh.needs_measures:
                fresh.pieces(shard)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= said < 20 * peak
