from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import dealing as room
from recollect.mixer.colouring import Colouring
from recollect.mixer.dealing import Dealing
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.ratio import RANK_BOUND, schedule_bound
from recollect.mixer.schedule import Integers, Schedule

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


@given(shares(), st.integers(1, 9), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_each_rank_is_within_one_row_of_an_even_deal(
    parts: list[Fraction], world_size: int, num_hands: int
) -> None:
    dealing = Dealing(Schedule(parts), world_size * num_hands, world_size)
    num_steps = min(dealing.period, 60)
    counts = rank_counts(dealing, num_steps)
    served = counts.sum(axis=1, keepdims=True)
    assert (np.abs(counts * world_size - served) < world_size).all()
    assert worst_deviation(counts, parts) < 1 + 1 / world_size


@given(shares(), st.integers(1, 9), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_shares_hold_at_every_step_for_every_rank(
    parts: list[Fraction], world_size: int, more: int
) -> None:
    dealing = Dealing(Schedule(parts), world_size + more, world_size)
    counts = rank_counts(dealing, min(dealing.period, 60))
    assert worst_deviation(counts, parts) < RANK_BOUND


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


def test_spare_rows_go_round() -> None:
    rows = rank_counts(Dealing(Schedule(SUPPORT), 33, 8), 400).sum(axis=2)
    assert (rows.max(axis=1) - rows.min(axis=1)).max() <= 4


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
    assert dealing.whole
    counts = rank_counts(dealing, dealing.period)[-1]
    assert (counts == counts[0]).all()
    assert [Fraction(int(n), int(counts[0].sum())) for n in counts[0]] == SUPPORT
    assert dealing.ranks(3).tolist() == dealing.ranks(3 + dealing.period).tolist()


def test_long_periods_are_dealt_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LONGEST_TABLE", 100)
    monkeypatch.setattr(room, "SEGMENT_ROWS", 32 * 25)
    dealing = Dealing(Schedule(SUPPORT), 32, 4)
    assert not dealing.whole
    counts = rank_counts(dealing, 250)  # ten segments, of which four are kept
    segments = np.diff(counts[24::25], axis=0, prepend=0)
    assert (np.abs(segments * 4 - segments.sum(axis=1, keepdims=True)) < 4).all()
    again = Dealing(Schedule(SUPPORT), 32, 4)
    for step in (249, 7, 130):
        assert again.ranks(step).tolist() == dealing.ranks(step).tolist()


@pytest.mark.parametrize("world_size", [0, -1, 33])
def test_more_ranks_than_rows_are_refused(world_size: int) -> None:
    with pytest.raises(RecollectError) as caught:
        Dealing(Schedule(SUPPORT), 32, world_size)
    assert caught.value.reason is Reason.RANK_INVALID


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_no_colour_repeats_at_a_vertex(num_colours: int, num_vertices: int, seed: int) -> None:
    """A regular graph, the tightest case: each side is a shuffled list of equally full vertices."""
    generator = np.random.default_rng(seed)
    ends = np.repeat(np.arange(num_vertices), num_colours)
    left, right = generator.permutation(ends), generator.permutation(ends)
    preferred = generator.integers(0, num_colours, ends.size)
    colours = Colouring(
        left.tolist(), right.tolist(), num_colours=num_colours, preferred=preferred.tolist()
    ).colours
    assert min(colours) >= 0
    assert max(colours) < num_colours
    for side in (left, right):
        assert len(set(zip(side.tolist(), colours, strict=True))) == len(colours)
