"""What no mix may cost: told by what is refused and by how many positions are walked."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import outlook, walking
from recollect.mixer import schedule as room
from recollect.mixer.blocks import Stretch
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Purpose, Role
from recollect.mixer.mix import MOST_DENOMINATOR_BITS, Mix
from recollect.mixer.plan import Plan, SourceSnapshot, plan_id_of
from recollect.mixer.preview import preview
from recollect.mixer.releases import Lines
from recollect.mixer.schedule import Schedule
from recollect.mixer.sealing import LONGEST_PLAN, read_plan, seal
from recollect.mixer.seeking import seek
from recollect.mixer.timeline import END, Stage, Timeline

from .strategies import timelines

FINE = 10**18 - 11
"""A denominator of as many digits as are read, so that nothing repeats."""


def shares_over(denominator: int, num_sources: int) -> list[Fraction]:
    """Shares that differ from one another by up to a factor of some hundreds."""
    pick = random.Random(num_sources)
    parts = [pick.uniform(0.005, 1) for _ in range(num_sources)]
    weights = [int(part / sum(parts) * denominator) for part in parts]
    weights[0] += denominator - sum(weights)
    return [Fraction(weight, denominator) for weight in weights]


def named(shares: list[Fraction]) -> dict[str, str]:
    return {f"s{index}": str(share) for index, share in enumerate(shares)}


def mix_of(shares: list[Fraction], changes: object = (), **fields: Any) -> Mix:
    on_exhaustion = "repeat" if "num_steps" in fields else "stop"
    sources = [
        {"source": name, "role": "task", "share": share, "on_exhaustion": on_exhaustion}
        for name, share in named(shares).items()
    ]
    fixed = {"name": "costly", "batch_size": 1, "max_length": 64}
    return Mix.from_mapping({**fixed, "sources": sources, "changes": changes, **fields})


def sealed(mix: Mix, counts: list[int]) -> Plan:
    held = {
        f"s{index}": SourceSnapshot(
            name=f"s{index}",
            role=Role.TASK,
            purpose=Purpose.TRAIN,
            num_examples=count,
            content_digest="00",
        )
        for index, count in enumerate(counts)
    }
    return seal(mix, snapshot_id="first", sources=held, tokenizer_digest="f" * 64)


def coprime_changes(num_bits: int) -> list[dict[str, Any]]:
    """Changes whose denominators have a common multiple of at least so many bits."""
    changes: list[dict[str, Any]] = []
    common, denominator = 1, 10**9
    while common.bit_length() < num_bits:
        denominator += 1
        if math.gcd(common, denominator) == 1:
            common *= denominator
            half = Fraction(denominator // 2, denominator)
            shares = named([half, 1 - half])
            changes.append({"first_step": len(changes) + 1, "shares": shares})
    return changes


HALVES = [Fraction(1, 2)] * 2


# What follows from one walk or from none.


@given(timelines(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_first_of_many_examples_is_the_least_of_their_positions(
    timeline: Timeline, seed: int
) -> None:
    sources, ordinals = Schedule(timeline).at(np.arange(timeline.firsts[-1] + 300))
    rows = zip(sources.tolist(), ordinals.tolist(), strict=True)
    every = {(s, o): at for at, (s, o) in enumerate(rows)}
    pick = random.Random(seed)
    wanted = {
        source: pick.randrange(int((sources == source).sum()))
        for source in np.unique(sources).tolist()
    }
    places = {source: every[source, ordinal] for source, ordinal in wanted.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BLOCK_LENGTH", 97)
        assert Schedule(timeline).first_serving(wanted) == min(places.values())
        found = seek(Schedule(timeline), wanted)
    assert {source: bracket.low for source, bracket in found.items()} == places
    assert all(bracket.low == bracket.high for bracket in found.values())


def test_where_hundreds_of_sources_stop_is_found_by_few_walks() -> None:
    shares = shares_over(FINE, 200)
    schedule = Schedule(shares)
    wanted = {index: int(share * 10**9) for index, share in enumerate(shares)}
    first = schedule.first_serving(wanted)
    assert schedule.num_walked < 40 * room.BLOCK_LENGTH  # not one walk for each of them
    before, after = schedule.served(first), schedule.served(first + 1)
    assert all(before[index] <= wanted[index] for index in wanted)
    assert sum(after[index] > wanted[index] for index in wanted) == 1


def test_a_plan_is_sealed_and_previewed_by_few_walks() -> None:
    shares = shares_over(FINE, 200)
    plan = sealed(mix_of(shares), [int(share * 10**9) for share in shares])
    schedule = plan.schedule
    assert isinstance(schedule, Schedule)
    found = preview(plan)
    assert schedule.num_walked < 80 * room.BLOCK_LENGTH
    assert read_plan(plan.to_json()) == plan
    assert min(source.exhaustion_step for source in found.sources) >= -1
    assert any(source.exhaustion_step == plan.num_steps - 1 for source in found.sources)


def test_steps_are_known_without_a_walk_where_a_batch_holds_the_bracket() -> None:
    schedule = Schedule(shares_over(FINE, 20))
    found = seek(schedule, {3: 10**9}, grain=10**7)
    assert schedule.num_walked == 0
    assert found[3].low < found[3].high
    assert found[3].low <= schedule.position_of(3, 10**9) <= found[3].high


def test_a_preview_that_would_walk_too_far_says_that_a_step_is_an_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = shares_over(FINE, 40)
    plan = sealed(mix_of(shares, num_steps=10**9), [1000 + 10**5 * n for n in range(40)])
    exact = preview(plan).sources
    assert not any(source.is_estimate for source in exact)
    monkeypatch.setattr(outlook, "MOST_WALKED", 10 * walking.FIRST_LOOKBACK)
    rough = preview(plan).sources
    assert 20 < sum(source.is_estimate for source in rough) < 40
    for source, truth in zip(rough, exact, strict=True):
        slip = abs(source.exhaustion_step - truth.exhaustion_step)
        assert slip <= (1 / source.share if source.is_estimate else 0)


def test_stages_that_nobody_asks_for_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [shares_over(10_000, 5), shares_over(9_973, 5)]
    changes = [
        {"first_step": 100_000 * (index + 1), "shares": named(parts[index % 2])}
        for index in range(300)
    ]
    mix = mix_of(parts[1], changes, num_steps=40_000_000)
    looked_at: list[int] = []
    cut = Schedule._cut

    def noted(schedule: Schedule, stage: int) -> tuple[Stretch, ...]:
        looked_at.append(stage)
        return cut(schedule, stage)

    monkeypatch.setattr(Schedule, "_cut", noted)
    sealed(mix, [10**9] * 5).batch(17_000_000)
    assert len(set(looked_at)) <= 4


def resting(denominator: int, first: int, last: int) -> list[Stage]:
    """Eight sources, of which four rest from one position to another."""
    pick = random.Random(1)
    parts = [pick.randrange(100, 1000) for _ in range(8)]
    stages = []
    for position, some in ((0, parts), (first, parts[:4] + [0] * 4), (last, parts[::-1])):
        weights = [part * denominator // sum(some) for part in some]
        weights[0] += denominator - sum(weights)
        shares = tuple(Fraction(weight, denominator) for weight in weights)
        stages.append(Stage(first_position=position, shares=shares))
    return stages


@pytest.mark.parametrize("place", [5 * 10**11, 10**12 - 10, 10**12 + 5, 10**12 + 50_000])
def test_a_long_rest_is_not_walked_through(place: int) -> None:
    schedule = Schedule(Timeline(resting(10_000, 1000, 10**12)))
    sources, ordinals = schedule.at(np.arange(place, place + 3))
    assert schedule.num_walked < 60 * room.BLOCK_LENGTH
    assert int(schedule.served(place)[sources[0]]) == ordinals[0]


@given(st.integers(8, 400), st.integers(0, 2000), st.integers(4000, 9000))
@settings(max_examples=40, deadline=None)
def test_what_a_table_says_waits_is_what_history_says(
    denominator: int, first: int, last: int
) -> None:
    timeline = Timeline(resting(denominator, first + 1, last))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BLOCK_LENGTH", 97)
        patch.setattr(room, "LONGEST_LEAD", 0)
        known = Schedule(timeline)._known(0, last)
        assert known is not None and first + 400 < known[0] <= last
        patch.setattr(room, "LONGEST_TABLE", 0)
        patch.setattr(walking, "FIRST_LOOKBACK", last)  # from the very beginning
        history = Schedule(timeline)
        assert known[1] == history._waiting(known[0])


def test_a_long_rest_in_which_nothing_repeats_is_refused() -> None:
    for denominator, last, refused in (
        (FINE, 10**8, True),
        (FINE, 10**6, False),
        (10**4, 10**11, False),
    ):
        first, *rest = resting(denominator, 1000, last)
        changes = [
            {"first_step": stage.first_position, "shares": named(list(stage.shares))}
            for stage in rest
        ]
        mix = mix_of(list(first.shares), changes, num_steps=last + 10)
        if not refused:
            plan = sealed(mix, [10**9] * 8)
            assert len(plan.batch(last)) == 1
            continue
        with pytest.raises(RecollectError) as caught:
            sealed(mix, [10**9] * 8)
        assert caught.value.reason is Reason.MIX_INVALID
        assert caught.value.where == "changes[0].shares"


# Numbers of any size.


@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=6),
    st.integers(10**17, 10**18),
    st.integers(0, 10**14),
    st.integers(1, 3000),
)
@settings(max_examples=60, deadline=None)
def test_prefixes_estimated_in_floats_are_exact(
    parts: list[int], denominator: int, first: int, count: int
) -> None:
    weights = [part * denominator // (sum(parts) + 1) for part in parts]
    weights[0] += denominator - sum(weights)
    timeline = Timeline.constant([Fraction(weight, denominator) for weight in weights])
    slots = 2 * len(weights) - 2
    lines = Lines(timeline, 0, slots)
    assert lines._is_small
    found = lines.released(first, first + count)
    exact: list[tuple[int, int]] = []
    for source in range(len(weights)):
        ordinal = int(lines.num_released(first)[source])
        while True:
            release = timeline.first_prefix_owing(source, ordinal + Fraction(1, slots))
            if release > first + count:
                break
            due = timeline.last_prefix_owing(source, ordinal + Fraction(slots - 1, slots))
            exact.append((release, due * 1024 + source))
            ordinal += 1
    assert sorted(zip(found[0].tolist(), found[1].tolist(), strict=True)) == sorted(exact)
    lines._is_small = False
    large = lines.released(first, first + count)
    assert [column.tolist() for column in large] == [column.tolist() for column in found]


@given(st.integers(10**16, 10**18), st.integers(1, 10**5), st.integers(1, 3000), st.data())
@settings(max_examples=60, deadline=None)
def test_prefixes_next_to_a_whole_number_are_exact(
    denominator: int, rarity: int, count: int, data: st.DataObject
) -> None:
    weight = denominator // (rarity + 1)
    share = Fraction(weight, denominator)
    lines = Lines(Timeline.constant([share, 1 - share]), 0, 2)
    p, q = share.numerator, share.denominator
    step = data.draw(st.integers(0, count - 1))
    start = (step * q // p + 2) * p - step * q + data.draw(st.sampled_from([-1, 0, 1]))
    found = lines._floors(
        np.array([0]), np.array([start], dtype=object), np.array([count], dtype=np.int64)
    )
    assert found.tolist() == [(i * q + start) // p for i in range(count)]


# What is refused.


def test_shares_without_a_bearable_common_denominator_are_refused() -> None:
    allowed = coprime_changes(MOST_DENOMINATOR_BITS - 40)
    assert mix_of(HALVES, allowed, num_steps=10**4).changes
    with pytest.raises(RecollectError) as caught:
        mix_of(HALVES, coprime_changes(MOST_DENOMINATOR_BITS + 1), num_steps=10**4)
    assert caught.value.reason is Reason.MIX_INVALID
    assert caught.value.where.startswith("changes[") and caught.value.where.endswith(".shares")
    assert "hundredths" in caught.value.fix


def test_a_plan_of_such_shares_is_not_read_and_says_why() -> None:
    content = sealed(mix_of(HALVES, num_steps=10**4), [10, 10]).content()
    content["mix"]["changes"] = [
        {**change, "reason": ""} for change in coprime_changes(MOST_DENOMINATOR_BITS + 1)
    ]
    text = json.dumps({**content, "plan_id": plan_id_of(content)})
    with pytest.raises(RecollectError) as caught:
        read_plan(text)
    assert caught.value.reason is Reason.PLAN_TAMPERED
    assert "common denominator" in caught.value.message
    assert "changes[" in caught.value.where


@pytest.mark.parametrize(
    "shares",
    [
        shares_over(10**9, 1000),
        shares_over(10**8, 1000),
        shares_over(FINE, 1000),
        [Fraction(1, 3), Fraction(1, 7), Fraction(1, 11), Fraction(100, 231)],
    ],
    ids=["1e-9", "1e-8", "1e-18", "thirds"],
)
def test_mixes_as_people_write_them_are_accepted(shares: list[Fraction]) -> None:
    assert sealed(mix_of(shares, num_steps=10**6), [10**12] * len(shares)).num_positions == 10**6


def test_hundreds_of_changes_that_each_divide_anew_are_accepted() -> None:
    totals = range(10**6, 10**6 + 150)
    changes = [
        {"first_step": index + 1, "shares": named([Fraction(1, total), 1 - Fraction(1, total)])}
        for index, total in enumerate(range(10**4, 10**4 + len(totals)))
    ]
    assert len(mix_of(HALVES, changes, num_steps=10**4).timeline.stages) == 151


def test_no_plan_is_sealed_that_is_too_long_to_be_read() -> None:
    changes = [
        {"first_step": index + 1, "shares": named(HALVES), "reason": "x" * 1000}
        for index in range(LONGEST_PLAN // 1000)
    ]
    with pytest.raises(RecollectError) as caught:
        sealed(mix_of(HALVES, changes, num_steps=10**4), [10, 10])
    assert (caught.value.reason, caught.value.where) == (Reason.MIX_INVALID, "changes")
    plan = sealed(mix_of(HALVES, changes[:900], num_steps=10**4), [10, 10])
    assert read_plan(plan.to_json()) == plan
    assert plan.num_positions < END
