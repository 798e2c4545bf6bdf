from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import colouring
from recollect.mixer import dealing as room
from recollect.mixer.colouring import edge_colours
from recollect.mixer.dealing import Dealing
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.ratio import schedule_bound
from recollect.mixer.schedule import Integers, Schedule
from recollect.mixer.timeline import Timeline

from .strategies import timelines

SUPPORT = [Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20)]


@st.composite
def shares(draw: st.DrawFn) -> list[Fraction]:
    parts = draw(st.lists(st.integers(1, 60), min_size=1, max_size=6))
    return [Fraction(part, sum(parts)) for part in parts]


def rank_counts(dealing: Dealing, num_steps: int) -> Integers:
    """Rows served by the end of each step: steps by ranks by sources."""
    batch_size, num_sources = dealing.batch_size, dealing.schedule.num_sources
    sources, _ = dealing.schedule.at(np.arange(num_steps * batch_size))
    ranks = np.concatenate([dealing.ranks(step) for step in range(num_steps)])
    cells = ranks * num_sources + sources
    hits = cells[:, None] == np.arange(dealing.world_size * num_sources)
    counts = np.cumsum(hits, axis=0)[batch_size - 1 :: batch_size]
    return counts.reshape(num_steps, dealing.world_size, num_sources)


def worst_deviation(counts: Integers, parts: list[Fraction]) -> float:
    """Largest distance of a rank from its share of its own rows."""
    rows = counts.sum(axis=2, keepdims=True)
    return float(np.abs(counts - rows * np.array([float(part) for part in parts])).max())


def worst_from_fair(counts: Integers, dealing: Dealing) -> Fraction:
    """Largest distance of a rank, in rows, from its share of what each source is owed."""
    timeline, world_size = dealing.schedule.timeline, dealing.world_size
    return max(
        abs(int(count) - timeline.owed(source, step * dealing.batch_size) / world_size)
        for step, ranks in enumerate(counts, start=1)
        for row in ranks
        for source, count in enumerate(row)
    )


@given(shares(), st.integers(1, 9), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_every_rank_is_within_one_row_of_its_share(
    parts: list[Fraction], world_size: int, more: int
) -> None:
    dealing = Dealing(Schedule(parts), world_size + more, world_size)
    assert dealing.is_exact
    assert dealing.bound == 1
    assert worst_from_fair(rank_counts(dealing, min(dealing.lap_steps + 3, 40)), dealing) < 1


@given(timelines(), st.integers(1, 7), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_every_rank_is_within_one_row_across_changes(
    timeline: Timeline, world_size: int, more: int
) -> None:
    batch_size = world_size + more
    num_positions = min(timeline.firsts[-1] + 100, 900)
    dealing = Dealing(Schedule(timeline), batch_size, world_size, num_positions)
    assert dealing.bound == 1
    assert worst_from_fair(rank_counts(dealing, -(-num_positions // batch_size)), dealing) < 1


@given(shares(), st.integers(1, 9), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_the_distance_from_a_share_of_its_own_rows_is_below_one_and_the_share(
    parts: list[Fraction], world_size: int, more: int
) -> None:
    dealing = Dealing(Schedule(parts), world_size + more, world_size)
    counts = rank_counts(dealing, min(dealing.lap_steps, 60))
    limit = 1 if more % world_size == 0 else 1 + float(max(parts))
    assert worst_deviation(counts, parts) < limit


@given(shares(), st.integers(1, 9), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_no_rank_is_ever_two_rows_ahead_of_another(
    parts: list[Fraction], world_size: int, more: int
) -> None:
    dealing = Dealing(Schedule(parts), world_size + more, world_size)
    rows = rank_counts(dealing, min(dealing.lap_steps + 3, 60)).sum(axis=2)
    assert (rows.max(axis=1) - rows.min(axis=1)).max() <= 1


@given(shares(), st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_one_rank_deviates_as_the_schedule_does(parts: list[Fraction], batch_size: int) -> None:
    counts = rank_counts(Dealing(Schedule(parts), batch_size, 1), 40)
    assert worst_deviation(counts, parts) <= schedule_bound(len(parts)) + 1e-9


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 10**9), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_shards_of_a_step_differ_by_one_row_at_most(
    world_size: int, more: int, step: int, num_rows: int
) -> None:
    ranks = Dealing(Schedule(SUPPORT), world_size + more, world_size).ranks(step)
    for dealt in (ranks, ranks[:num_rows]):  # a last batch may be shorter
        sizes = np.bincount(dealt, minlength=world_size)
        assert sizes.size == world_size
        assert sizes.max() - sizes.min() <= 1


def test_plain_striding_starves_ranks_of_refusals_and_dealing_does_not() -> None:
    """5 % refusals on 4 ranks: the period of 20 rows is a multiple of 4, and the stride aliases."""
    schedule = Schedule([Fraction(19, 20), Fraction(1, 20)])
    sources, _ = schedule.at(np.arange(8000))
    strided = [int((sources[rank::4] == 1).sum()) for rank in range(4)]
    assert sorted(strided) == [0, 0, 0, 400]
    counts = rank_counts(Dealing(schedule, 32, 4), 250)
    assert counts[-1, :, 1].tolist() == [100, 100, 100, 100]
    assert np.abs(counts[:, :, 1] - counts[:, :, 1].mean(axis=1, keepdims=True)).max() < 1


def test_after_a_period_every_rank_has_its_exact_share() -> None:
    dealing = Dealing(Schedule(SUPPORT), 32, 8)
    counts = rank_counts(dealing, dealing.lap_steps)[-1]
    assert (counts == counts[0]).all()
    assert [Fraction(int(n), int(counts[0].sum())) for n in counts[0]] == SUPPORT
    assert dealing.ranks(3).tolist() == dealing.ranks(3 + dealing.lap_steps).tolist()


@given(shares(), st.integers(2, 9), st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_ranks_that_change_places_stay_within_the_bound_that_is_stated(
    parts: list[Fraction], world_size: int, more: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        schedule, batch_size = Schedule(parts), world_size + more
        lap_rows = math.lcm(schedule.period, batch_size)
        patch.setattr(room, "LONGEST_TABLE", lap_rows)
        dealing = Dealing(schedule, batch_size, world_size)
        num_steps = min(world_size * dealing.lap_steps, 150)
        counts = rank_counts(dealing, num_steps)
        assert worst_from_fair(counts, dealing) < dealing.bound <= 1 + len(parts)
        again = Dealing(Schedule(parts), batch_size, world_size)
        for step in (num_steps - 1, 0, num_steps // 2):
            assert again.ranks(step).tolist() == dealing.ranks(step).tolist()


def test_where_nothing_repeats_the_bound_says_how_often_rounds_break_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "LONGEST_TABLE", 10)
    monkeypatch.setattr(room, "SEGMENT_ROWS", 32 * 25)
    odd = [Fraction(1, 1009), Fraction(400, 1013)]
    dealing = Dealing(Schedule([*odd, 1 - sum(odd, Fraction(0))]), 32, 4, 32 * 250)
    assert not dealing.is_exact
    assert dealing.bound == 11
    assert worst_from_fair(rank_counts(dealing, 250), dealing) < dealing.bound


@given(shares(), st.integers(1, 6), st.integers(0, 9), st.integers(1, 400), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_what_a_rank_has_served_is_what_it_was_dealt(
    parts: list[Fraction], world_size: int, more: int, num_positions: int, pick: int
) -> None:
    batch_size = world_size + more
    schedule = Schedule(parts)
    dealing = Dealing(schedule, batch_size, world_size, num_positions)
    step = pick % (-(-num_positions // batch_size) + 1)
    end = min(step * batch_size, num_positions)
    sources, _ = schedule.at(np.arange(end))
    ranks = np.concatenate([np.empty(0, int), *(dealing.ranks(n) for n in range(step))])[:end]
    for rank in range(world_size):
        expected = np.bincount(sources[ranks == rank], minlength=len(parts))
        assert dealing.served(step, rank).tolist() == expected.tolist()


def test_what_was_served_where_nothing_repeats_is_dealt_once_for_all_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "LONGEST_TABLE", 10)
    monkeypatch.setattr(room, "SEGMENT_ROWS", 30 * 8)
    dealt: list[int] = []
    deal = Dealing._deal

    def counted(self: Dealing, index: int) -> Any:
        dealt.append(index)
        return deal(self, index)

    odd = [Fraction(1, 1009), Fraction(400, 1013)]
    schedule = Schedule([*odd, 1 - sum(odd, Fraction(0))])
    dealing = Dealing(schedule, 30, 4, 30 * 95 - 7)
    assert (dealing.lap_steps, dealing.is_exact) == (8, False)
    sources, _ = schedule.at(np.arange(30 * 95 - 7))
    ranks = np.concatenate([dealing.ranks(step) for step in range(95)])[: sources.size]
    monkeypatch.setattr(Dealing, "_deal", counted)
    for step in (91, 95, 88, 40, 3, 0):
        for rank in range(4):
            rows = min(step * 30, sources.size)
            expected = np.bincount(sources[:rows][ranks[:rows] == rank], minlength=3)
            assert dealing.served(step, rank).tolist() == expected.tolist()
    # Each lap once; those that were asked for within the lap once more.
    assert max(np.bincount(dealt).tolist()) <= 2


def test_more_ranks_than_can_be_dealt_to_are_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        Dealing(Schedule(SUPPORT), 10**6, 999_983)
    assert caught.value.reason is Reason.RANK_INVALID


@pytest.mark.parametrize("world_size", [0, -1, 33])
def test_more_ranks_than_rows_are_refused(world_size: int) -> None:
    with pytest.raises(RecollectError) as caught:
        Dealing(Schedule(SUPPORT), 32, world_size)
    assert caught.value.reason is Reason.RANK_INVALID


@given(st.integers(1, 13), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_no_colour_repeats_at_a_vertex(num_colours: int, num_vertices: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    ends = np.repeat(np.arange(num_vertices, dtype=np.int32), num_colours)
    left, right = generator.permutation(ends), generator.permutation(ends)
    colours = edge_colours(left, right, num_colours)
    for side in (left, right):
        assert len(set(zip(side.tolist(), colours.tolist(), strict=True))) == len(colours)
    assert set(colours.tolist()) == set(range(num_colours))


def test_compiled_and_plain_code_halve_alike() -> None:
    ends = np.repeat(np.arange(50, dtype=np.int32), 6)
    right = np.random.default_rng(1).permutation(ends)
    halves = [run(ends, right, 50) for run in (colouring._halve, colouring._HALVE.compiled)]
    assert halves[0].tolist() == halves[1].tolist()
