from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Purpose, Role
from recollect.mixer.mix import Mix, canonical_json
from recollect.mixer.plan import Plan, SourceSnapshot, batch_digest, plan_id_of
from recollect.mixer.sealing import read_plan, seal

Mapping = Callable[..., dict[str, Any]]
Held = Callable[..., dict[str, SourceSnapshot]]
Sealed = Callable[..., Plan]


def sources_with(mapping: Mapping, name: str, **changes: object) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = mapping()["sources"]
    return [{**entry, **(changes if entry["source"] == name else {})} for entry in entries]


@given(st.integers(0, 199))
@settings(max_examples=30, deadline=None)
def test_a_batch_is_a_pure_function(sealed: Sealed, step: int) -> None:
    plan = sealed()
    again = read_plan(plan.to_json())
    again.batch((step * 7) % 200)  # whatever was asked before
    one, other = plan.batch(step), again.batch(step)
    for column in ("positions", "sources", "ordinals", "examples", "epochs"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist()
    assert one.digest == other.digest
    assert one.positions.tolist() == list(range(step * 32, step * 32 + 32))
    assert len(one) == 32


@given(st.integers(0, 199), st.integers(1, 32))
@settings(max_examples=40, deadline=None)
def test_the_union_of_shards_is_the_batch(sealed: Sealed, step: int, world_size: int) -> None:
    plan = sealed()
    batch = plan.batch(step)
    shards = [plan.shard(step, rank, world_size) for rank in range(world_size)]
    assert sorted(p for shard in shards for p in shard.positions.tolist()) == (
        batch.positions.tolist()
    )
    for shard in shards:
        places = np.searchsorted(batch.positions, shard.positions)
        assert shard.examples.tolist() == batch.examples[places].tolist()
        assert shard.sources.tolist() == batch.sources[places].tolist()
        assert (np.diff(shard.positions) > 0).all()
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_each_example_is_served_once_per_epoch(sealed: Sealed) -> None:
    plan = sealed()
    rows = [plan.batch(step) for step in range(plan.num_steps)]
    for index, source in enumerate(plan.sources):
        keys = [
            (epoch, example)
            for batch in rows
            for epoch, example in zip(
                batch.epochs[batch.sources == index].tolist(),
                batch.examples[batch.sources == index].tolist(),
                strict=True,
            )
        ]
        assert len(keys) == len(set(keys))
        for epoch in range(max(keys)[0]):
            served = {example for number, example in keys if number == epoch}
            assert served == set(range(source.num_examples))


def test_epochs_have_different_orders(sealed: Sealed) -> None:
    plan = sealed()
    rows = plan.at(np.arange(32 * 200), step=0)
    tickets = rows.examples[rows.sources == 0]
    assert tickets[:500].tolist() != tickets[500:1000].tolist()


def test_a_far_step_is_served_like_the_first(sealed: Sealed) -> None:
    plan = sealed(num_steps=10**9)
    batch = plan.batch(10**9 - 1)
    assert batch.counts(4).sum() == 32
    assert int(batch.positions[-1]) == 32 * 10**9 - 1


def test_counts_are_of_the_sources(sealed: Sealed) -> None:
    plan = sealed()
    counts = np.sum([plan.batch(step).counts(4) for step in range(200)], axis=0)
    assert counts.tolist() == [4480, 960, 640, 320]


def test_the_digest_is_of_plan_and_restore_keys(sealed: Sealed) -> None:
    plan = sealed()
    batch = plan.batch(3)
    columns = (batch.positions, batch.sources.astype(np.int16), batch.examples.astype(np.int32))
    assert batch_digest(plan.plan_id, *columns) == batch.digest
    others = {plan.batch(4).digest, plan.shard(3, 0, 2).digest, sealed(seed=6).batch(3).digest}
    assert len({batch.digest, *others}) == 4


def test_the_plan_id_changes_when_anything_changes(
    sealed: Sealed, held: Held, mapping: Mapping
) -> None:
    changed = dataclasses.replace(held()["general"], content_digest="0")
    mix = Mix.from_mapping(mapping())
    plans = [
        sealed(),
        sealed(seed=6),
        sealed(name="other"),
        sealed(description="other"),
        sealed(batch_size=31),
        sealed(num_steps=199),
        sealed(max_length=63),
        sealed(held(tickets=501)),
        sealed({**held(), "general": changed}),
        sealed(sources=mapping()["sources"][::-1]),
        seal(mix, snapshot_id="second", sources=held(), tokenizer_digest="f" * 64),
        seal(mix, snapshot_id="first", sources=held(), tokenizer_digest="e" * 64),
    ]
    assert len({plan.plan_id for plan in plans}) == len(plans)
    assert sealed().plan_id == plans[0].plan_id


def test_sources_outside_the_mix_do_not_change_the_plan(sealed: Sealed, held: Held) -> None:
    more = {**held(), "other": dataclasses.replace(held()["general"], name="other")}
    assert sealed(more).plan_id == sealed().plan_id


def test_json_gives_the_same_plan(sealed: Sealed) -> None:
    plan = sealed()
    assert read_plan(plan.to_json()) == plan
    assert canonical_json(json.loads(plan.to_json())) == plan.to_json()


def test_any_change_of_the_json_is_noticed(sealed: Sealed) -> None:
    text = sealed().to_json()
    for old, new in (('"seed":5', '"seed":6'), ("7/10", "8/10"), ('"first"', '"First"')):
        with pytest.raises(RecollectError) as caught:
            read_plan(text.replace(old, new))
        assert caught.value.reason is Reason.PLAN_TAMPERED


@pytest.mark.parametrize(
    "change",
    [
        {"num_positions": 32},
        {"snapshot_id": 5},
        {"tokenizer_digest": None},
        {"sources": []},
        {"sources": [{"name": "tickets", "num_examples": 5.5, "content_digest": "0"}]},
        {"sources": [{"name": "unknown", "num_examples": 5, "content_digest": "0"}]},
        {"mix": {}},
        {"more": 1},
    ],
)
def test_a_forged_plan_with_a_fitting_id_is_noticed(
    sealed: Sealed, change: dict[str, object]
) -> None:
    content = {**json.loads(sealed().to_json()), **change}
    del content["plan_id"]
    forged = canonical_json({**content, "plan_id": plan_id_of(content)})
    with pytest.raises(RecollectError) as caught:
        read_plan(forged)
    assert caught.value.reason is Reason.PLAN_TAMPERED


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"plan_id":"x"}', "5", "[" * 100_000,
     '{"plan_id":"x","version":1,"a":"\\ud800"}'],
)  # fmt: skip
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(RecollectError) as caught:
        read_plan(text)
    assert caught.value.reason is Reason.PLAN_TAMPERED


def test_an_unknown_version_is_refused(sealed: Sealed) -> None:
    with pytest.raises(RecollectError) as caught:
        read_plan(sealed().to_json().replace('"version":2}', '"version":3}'))
    assert caught.value.reason is Reason.VERSION_UNKNOWN


@pytest.mark.parametrize("step", [-1, 200])
def test_steps_outside_the_plan_are_refused(sealed: Sealed, step: int) -> None:
    for call in (sealed().batch, lambda number: sealed().shard(number, 0, 2)):
        with pytest.raises(RecollectError) as caught:
            call(step)
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE
        assert "0 … 199" in caught.value.message


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0), (0, 33)])
def test_ranks_outside_the_world_are_refused(sealed: Sealed, rank: int, world_size: int) -> None:
    with pytest.raises(RecollectError) as caught:
        sealed().shard(0, rank, world_size)
    assert caught.value.reason is Reason.RANK_INVALID


def reason_of(call: Callable[[], object]) -> tuple[Reason, str]:
    with pytest.raises(RecollectError) as caught:
        call()
    return caught.value.reason, caught.value.where


def test_a_source_that_the_store_lacks_is_refused(sealed: Sealed, held: Held) -> None:
    rest = {name: source for name, source in held().items() if name != "written"}
    assert reason_of(lambda: sealed(rest)) == (Reason.MIX_UNKNOWN_SOURCE, "sources[2].source")
    assert reason_of(lambda: sealed({}))[0] is Reason.MIX_UNKNOWN_SOURCE


def test_a_share_of_an_empty_source_is_refused(sealed: Sealed, held: Held) -> None:
    refused = reason_of(lambda: sealed(held(refusals=0)))
    assert refused == (Reason.MIX_EMPTY_SOURCE, "sources[3].source")


def test_purposes_do_not_mix(sealed: Sealed, held: Held) -> None:
    assert reason_of(lambda: sealed(purpose="evaluate"))[0] is Reason.MIX_PURPOSE
    measured = dataclasses.replace(held()["general"], purpose=Purpose.EVALUATE)
    refused = reason_of(lambda: sealed({**held(), "general": measured}))
    assert refused == (Reason.MIX_PURPOSE, "sources[1].source")


def test_a_role_that_the_source_does_not_have_is_refused(sealed: Sealed, held: Held) -> None:
    other = dataclasses.replace(held()["general"], role=Role.TASK)
    refused = reason_of(lambda: sealed({**held(), "general": other}))
    assert refused == (Reason.MIX_INVALID, "sources[1].role")


@pytest.mark.parametrize(
    "change", [{"on_exhaustion": "error"}, {"on_exhaustion": "repeat", "max_epochs": 2}]
)
def test_a_source_that_would_run_out_is_refused(
    sealed: Sealed, mapping: Mapping, change: dict[str, object]
) -> None:
    sources = sources_with(mapping, "written", **change)
    refused = reason_of(lambda: sealed(sources=sources))
    assert refused == (Reason.MIX_EXHAUSTED, "sources[2].on_exhaustion")
    assert sealed(sources=sources, num_steps=12).num_steps == 12


@pytest.mark.parametrize(("max_epochs", "num_rows"), [(None, 40), (3, 120)])
def test_a_plan_stops_before_its_source_starts_anew(
    sealed: Sealed, mapping: Mapping, max_epochs: int | None, num_rows: int
) -> None:
    sources = sources_with(mapping, "written", on_exhaustion="stop", max_epochs=max_epochs)
    plan = sealed(sources=sources, num_steps=None)
    assert plan.schedule.served(plan.num_positions)[2] == num_rows
    assert plan.schedule.at(np.array([plan.num_positions]))[0][0] == 2
    last = plan.batch(plan.num_steps - 1)
    assert len(last) == plan.num_positions - 32 * (plan.num_steps - 1)
    assert 1 <= len(last) <= 32
    shards = [plan.shard(plan.num_steps - 1, rank, 3) for rank in range(3)]
    assert sum(len(shard) for shard in shards) == len(last)
    assert read_plan(plan.to_json()) == plan


def test_steps_that_are_set_end_a_plan_that_would_stop_later(
    sealed: Sealed, mapping: Mapping
) -> None:
    sources = sources_with(mapping, "written", on_exhaustion="stop")
    assert sealed(sources=sources, num_steps=3).num_positions == 96
    assert sealed(sources=sources, num_steps=200).num_steps == 13


def test_the_global_batch_does_not_know_the_world_size(sealed: Sealed) -> None:
    plan = sealed()
    for world_size in (1, 2, 5, 32):
        rows = [plan.shard(11, rank, world_size) for rank in range(world_size)]
        pairs = sorted(
            pair
            for shard in rows
            for pair in zip(shard.positions.tolist(), shard.examples.tolist(), strict=True)
        )
        assert [example for _, example in pairs] == plan.batch(11).examples.tolist()
