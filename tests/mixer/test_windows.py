from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import windows
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import Stage, Timeline
from recollect.mixer.windows import (
    check_windows,
    guaranteed_window,
    prefix_bound,
    required_margin,
    smallest_window,
    smallest_window_below,
)

PARTS = st.lists(st.integers(1, 12), min_size=2, max_size=5)
SUPPORT = Schedule([Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20)])


def shares_of(parts: list[int]) -> list[Fraction]:
    return [Fraction(part, sum(parts)) for part in parts]


def counts_of(schedule: Schedule, members: list[int], num_rows: int) -> list[int]:
    sources, _ = schedule.at(np.arange(num_rows))
    counts: list[int] = np.concatenate(([0], np.cumsum(np.isin(sources, members)))).tolist()
    return counts


def brute(counts: list[int], floor: int, batch: int, starts: int, longest: int) -> int | None:
    """The definition, with Python's numbers."""
    limit = Fraction(floor, 10_000)
    last = (len(counts) - 1) // batch
    for width in range(1, longest + 1):
        begins = range(min(starts, last - width + 1))
        if all(
            counts[(i + width) * batch] - counts[i * batch] >= limit * width * batch for i in begins
        ):
            return width
    return None


@settings(max_examples=60, deadline=None)
@given(PARTS, st.integers(1, 9), st.integers(0, 10_000), st.data())
def test_the_window_is_the_smallest_that_always_holds(
    parts: list[int], batch: int, percent: int, data: st.DataObject
) -> None:
    schedule = Schedule(shares_of(parts))
    members = data.draw(st.lists(st.sampled_from(range(len(parts))), unique=True, min_size=1))
    share = sum(schedule.timeline.stages[0].shares[index] for index in members)
    floor = math.floor(share * percent)
    cycle = schedule.period // math.gcd(schedule.period, batch)
    counts = counts_of(schedule, members, 2 * cycle * batch)
    found = smallest_window(schedule, members, floor, batch)
    assert found.examined
    assert found.num_batches == brute(counts, floor, batch, cycle, cycle)
    assert found.num_batches is not None
    assert found.margin == min(
        counts[(i + found.num_batches) * batch]
        - counts[i * batch]
        - Fraction(floor, 10_000) * found.num_batches * batch
        for i in range(cycle)
    )


@settings(max_examples=60, deadline=None)
@given(PARTS, st.integers(1, 9), st.integers(0, 10_000), st.integers(1, 40), st.data())
def test_the_window_of_a_short_plan_lies_within_it(
    parts: list[int], batch: int, floor: int, num_batches: int, data: st.DataObject
) -> None:
    schedule = Schedule(shares_of(parts))
    members = data.draw(st.lists(st.sampled_from(range(len(parts))), unique=True, min_size=1))
    found = smallest_window(schedule, members, floor, batch, num_batches=num_batches)
    counts = counts_of(schedule, members, num_batches * batch)
    assert found.num_batches == brute(counts, floor, batch, num_batches + 1, num_batches)


@settings(max_examples=40, deadline=None)
@given(PARTS, PARTS, st.integers(1, 60), st.integers(1, 9), st.data())
def test_the_deviation_of_a_role_is_within_its_bound_also_where_shares_change(
    parts: list[int], later: list[int], change: int, batch: int, data: st.DataObject
) -> None:
    size = min(len(parts), len(later))
    stages = [
        Stage(first_position=0, shares=tuple(shares_of(parts[:size]))),
        Stage(first_position=change, shares=tuple(shares_of(later[:size]))),
    ]
    timeline = Timeline(stages)
    members = data.draw(st.lists(st.sampled_from(range(size)), unique=True, min_size=1))
    counts = counts_of(Schedule(timeline), members, 200)
    bound = prefix_bound(size, len(members))
    for rows, count in enumerate(counts):
        owed = sum((timeline.owed(index, rows) for index in members), Fraction(0))
        assert abs(count - owed) <= bound


@settings(max_examples=60, deadline=None)
@given(PARTS, st.integers(1, 9), st.integers(1, 500), st.data())
def test_every_window_at_least_as_long_as_the_guaranteed_one_holds(
    parts: list[int], batch: int, slack: int, data: st.DataObject
) -> None:
    schedule = Schedule(shares_of(parts))
    members = data.draw(st.lists(st.sampled_from(range(len(parts))), unique=True, min_size=1))
    share = sum((schedule.timeline.stages[0].shares[index] for index in members), Fraction(0))
    limit = share - Fraction(slack, 10_000)
    width = guaranteed_window(share - limit, prefix_bound(len(parts), len(members)), batch)
    assert width is not None
    counts = counts_of(schedule, members, (width + 60) * batch)
    for longer in (width, width + 1, width + 7):
        for begin in range(50):
            rows = counts[(begin + longer) * batch] - counts[begin * batch]
            assert rows >= limit * longer * batch


@settings(max_examples=40, deadline=None)
@given(PARTS, st.integers(1, 9), st.integers(1, 50))
def test_the_required_margin_is_enough_for_the_window(
    parts: list[int], batch: int, num_batches: int
) -> None:
    size = len(parts)
    margin = required_margin(num_batches, num_sources=size, num_members=1, batch_size=batch)
    width = guaranteed_window(margin, prefix_bound(size, 1), batch)
    assert width is not None and width <= num_batches


def test_a_share_equal_to_its_floor_holds_after_a_period_at_the_latest() -> None:
    found = smallest_window(SUPPORT, [3], 500, 32)
    assert found.num_batches == 5
    assert found.margin == 0
    assert smallest_window(SUPPORT, [3], 500, 20).num_batches == 1
    assert guaranteed_window(Fraction(0), prefix_bound(4, 1), 32) is None


def test_a_floor_above_the_share_never_holds() -> None:
    found = smallest_window(SUPPORT, [3], 501, 32)
    assert found.num_batches is None
    assert found.margin < 0


def test_all_sources_together_always_hold() -> None:
    assert smallest_window(SUPPORT, [0, 1, 2, 3], 10_000, 7).num_batches == 1
    assert prefix_bound(4, 4) == 0


@settings(max_examples=40, deadline=None)
@given(PARTS, st.integers(1, 9), st.integers(0, 300))
def test_a_ceiling_is_a_floor_for_the_others(parts: list[int], batch: int, slack: int) -> None:
    schedule = Schedule(shares_of(parts))
    ceiling = min(math.ceil(shares_of(parts)[0] * 10_000) + slack, 10_000)
    width = smallest_window_below(schedule, [0], ceiling, batch).num_batches
    assert width is not None
    cycle = schedule.period // math.gcd(schedule.period, batch)
    counts = counts_of(schedule, [0], (cycle + width) * batch)
    assert all(
        counts[(i + width) * batch] - counts[i * batch] <= Fraction(ceiling, 10_000) * width * batch
        for i in range(cycle)
    )


def test_long_periods_are_bounded_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = smallest_window(SUPPORT, [3], 450, 32)
    monkeypatch.setattr(windows, "LONGEST_EXAMINED", 10)
    bounded = smallest_window(SUPPORT, [3], 450, 32)
    assert exact.examined and not bounded.examined
    assert exact.num_batches is not None and bounded.num_batches is not None
    assert exact.num_batches <= bounded.num_batches == 5  # one period: the bound alone needs 11
    assert smallest_window(SUPPORT, [3], 300, 32).num_batches == 3
    assert smallest_window(SUPPORT, [3], 300, 32, num_batches=2).num_batches is None
    assert smallest_window(SUPPORT, [3], 501, 32).num_batches is None


def test_a_period_of_a_million_rows_is_examined_and_a_longer_one_is_not() -> None:
    million = [Fraction(50_001, 10**6), Fraction(349_999, 10**6), Fraction(6, 10)]
    assert smallest_window(Schedule(million), [0], 499, 32).examined
    longer = [Fraction(1, 20), Fraction(1, 1048583), 1 - Fraction(1, 20) - Fraction(1, 1048583)]
    found = smallest_window(Schedule(longer), [0], 499, 32)
    assert not found.examined
    assert found.num_batches == math.ceil(2 * Fraction(3, 4) / (Fraction(1, 10_000) * 32))


def test_where_shares_change_the_least_of_them_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LONGEST_EXAMINED", 10)
    stages = [
        Stage(first_position=0, shares=(Fraction(1, 2), Fraction(1, 2))),
        Stage(first_position=64, shares=(Fraction(1, 4), Fraction(3, 4))),
    ]
    found = smallest_window(Schedule(Timeline(stages)), [0], 2000, 8, num_batches=100)
    assert found.num_batches == math.ceil(2 * Fraction(1, 2) / (Fraction(1, 20) * 8))
    assert not found.examined
    assert smallest_window(Schedule(Timeline(stages)), [0], 2500, 8).num_batches is None


def test_served_batches_pass_with_the_smallest_window_and_no_shorter_one() -> None:
    sources, _ = SUPPORT.at(np.arange(32 * 40))
    counts = (sources.reshape(40, 32) == 3).sum(axis=1)
    rows = np.full(40, 32)
    width = smallest_window(SUPPORT, [3], 500, 32).num_batches
    assert width is not None
    check_windows(counts, rows, 500, width, where="roles.refusal")
    with pytest.raises(RecollectError) as caught:
        check_windows(counts, rows, 500, width - 1, where="roles.refusal", first_step=100)
    assert (caught.value.reason, caught.value.where) == (Reason.LIMIT_VIOLATED, "roles.refusal")
    assert "rows in steps 10" in caught.value.message


@pytest.mark.parametrize(("num_batches", "fails"), [(1, True), (2, True), (3, False), (9, False)])
def test_the_first_window_below_the_floor_is_named(num_batches: int, fails: bool) -> None:
    counts, rows = np.array([1, 1, 0, 0, 2, 1]), np.full(6, 10)
    if not fails:
        check_windows(counts, rows, 333, num_batches, where="sources.a")
        return
    with pytest.raises(RecollectError, match="in steps 2 to") as caught:
        check_windows(counts, rows, 333, num_batches, where="sources.a")
    assert f"0 of {10 * num_batches} rows" in caught.value.message
