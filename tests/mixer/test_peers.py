import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.peer_rules import RULES, Division, PeerRule, blending
from recollect.mixer.peers import DEFAULT_SHARES, MixFigures, compare, measure, serve

NAMED = {rule.name: rule for rule in RULES}


@st.composite
def mixes(draw: st.DrawFn) -> tuple[Fraction, ...]:
    weights = draw(st.lists(st.integers(5, 60), min_size=2, max_size=6))
    return tuple(Fraction(weight, sum(weights)) for weight in weights)


def figures_of(
    name: str, shares: tuple[Fraction, ...] = DEFAULT_SHARES, *, world_size: int = 4
) -> MixFigures:
    sources, ranks = serve(NAMED[name], shares, 32, world_size, 2000)
    return measure(shares, sources, ranks, batch_size=32, world_size=world_size)


def by_hand(
    shares: tuple[Fraction, ...],
    sources: list[int],
    ranks: list[int],
    batch_size: int,
    world_size: int,
) -> MixFigures:
    """The definitions, row by row, in exact arithmetic."""
    num_rows, num_sources = len(sources), len(shares)
    everything = range(num_sources)

    def off(rows: list[int]) -> Fraction:
        return max(abs(Fraction(rows.count(s), len(rows)) - shares[s]) for s in everything)

    starts = range(0, num_rows, batch_size)
    batches = sorted(off(sources[first : first + batch_size]) for first in starts)
    window = min(1000, num_rows)
    prefix = [
        abs(sources[:n].count(s) - shares[s] * n) for n in range(num_rows + 1) for s in everything
    ]
    rarest = num_sources - 1 - shares[::-1].index(min(shares))
    worst_rank, rank_shares = Fraction(0), []
    for rank in range(world_size):
        for end in range(0, num_rows + 1, batch_size):
            own = [s for s, r in zip(sources[:end], ranks, strict=False) if r == rank]
            stray = [abs(own.count(s) - shares[s] * len(own)) for s in everything]
            worst_rank = max(worst_rank, *stray)
        own = [s for s, r in zip(sources, ranks, strict=True) if r == rank]
        rank_shares.append(own.count(rarest) / len(own))
    without = [rarest not in sources[first : first + batch_size] for first in starts]
    return MixFigures(
        worst_batch=float(100 * batches[-1]),
        p99_batch=float(100 * batches[-(-99 * len(batches) // 100) - 1]),
        worst_window=float(
            100 * max(off(sources[i : i + window]) for i in range(num_rows - window + 1))
        ),
        long_run=float(100 * off(sources)),
        batches_without_rarest=sum(without) / len(without),
        worst_prefix_rows=float(max(prefix)),
        rank_shares=tuple(rank_shares),
        worst_rank_rows=float(worst_rank),
    )


@given(mixes(), st.integers(1, 3), st.integers(3, 9), st.integers(1, 12), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_figures_are_what_their_definitions_say(
    shares: tuple[Fraction, ...], world_size: int, batch_size: int, num_batches: int, seed: int
) -> None:
    generator = np.random.Generator(np.random.Philox(seed))
    num_rows = batch_size * num_batches
    sources = generator.integers(0, len(shares), num_rows)
    ranks = np.tile(np.arange(batch_size) % world_size, num_batches)
    measured = measure(shares, sources, ranks, batch_size=batch_size, world_size=world_size)
    expected = by_hand(shares, sources.tolist(), ranks.tolist(), batch_size, world_size)
    for name, value in dataclasses.asdict(expected).items():
        assert getattr(measured, name) == pytest.approx(value, abs=1e-9), name


def test_windows_that_start_anywhere_are_looked_at() -> None:
    sources = np.array([0, 1] * 700 + [1] * 600 + [0, 1] * 700)
    ranks = np.zeros_like(sources)
    half = (Fraction(1, 2), Fraction(1, 2))
    measured = measure(half, sources, ranks, batch_size=10, world_size=1)
    cumulated = np.cumsum(np.concatenate([[0], sources]))
    windows = cumulated[1000:] - cumulated[:-1000]
    assert measured.worst_window == pytest.approx(100 * np.abs(windows / 1000 - 0.5).max())


@given(mixes(), st.sampled_from([1, 2, 3, 4]), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_every_rule_serves_whole_batches_of_known_sources_to_known_ranks(
    shares: tuple[Fraction, ...], world_size: int, seed: int
) -> None:
    for rule in RULES:
        if rule.name.startswith(("Mixtera", "Stratified")):
            continue
        sources, ranks = serve(rule, shares, 12, world_size, 20, seed)
        assert sources.shape == ranks.shape == (240,), rule.name
        assert 0 <= sources.min() <= sources.max() < len(shares), rule.name
        per_step = [np.bincount(step, minlength=world_size) for step in ranks.reshape(20, 12)]
        assert np.ptp(per_step, axis=1).max() <= 1, rule.name


def test_a_seed_means_the_same_draws_and_another_seed_others() -> None:
    for name in ("Independent draws", "Global shuffle", "Shuffled blocks"):
        first, again, other = (
            serve(NAMED[name], DEFAULT_SHARES, 32, 4, 50, seed)[0] for seed in (1, 1, 2)
        )
        assert np.array_equal(first, again), name
        assert not np.array_equal(first, other), name


# The first 40 rows as the packages themselves serve them: grain 0.2.18, megatron-core 0.16.1,
# mosaicml-streaming 0.13.0. bench/peers.py compares 320,000 rows of each.
GRAIN = "0001002001000200100300010020010002001003"
MEGATRON = "0102003001000200100001020030010002001000"
STRATIFIED = "0" * 22 + "1" * 5 + "2" * 3 + "3" * 2 + "0" * 8


@pytest.mark.parametrize(
    ("name", "rows"), [("Grain", GRAIN), ("Megatron", MEGATRON), ("Stratified batches", STRATIFIED)]
)
def test_rules_serve_what_the_packages_serve(name: str, rows: str) -> None:
    sources, _ = serve(NAMED[name], DEFAULT_SHARES, 32, 4, 2)
    assert "".join(map(str, sources[:40])) == rows


@given(mixes(), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_blending_is_the_same_compiled_or_not(
    shares: tuple[Fraction, ...], num_positions: int
) -> None:
    weights = np.array([float(share) for share in shares])
    plain = blending.plain(weights, num_positions)
    assert np.array_equal(plain, blending.compiled(weights, num_positions))


def test_strided_ranks_alias_with_exact_global_orders() -> None:
    for name in ("Grain", "Megatron"):
        figures = figures_of(name)
        assert sorted(figures.rank_shares) == pytest.approx([0, 0, 0, 0.2])
        assert figures.worst_prefix_rows <= 1


def test_mixing_on_each_rank_cures_the_ranks_and_breaks_the_batches() -> None:
    figures = figures_of("Grain, mixed on each rank")
    assert figures.rank_shares == pytest.approx([0.05] * 4)
    assert figures.batches_without_rarest == pytest.approx(0.6)


def test_stratified_batches_are_off_for_ever() -> None:
    figures = figures_of("Stratified batches")
    assert figures.long_run == pytest.approx(1.25)
    assert figures.rank_shares == pytest.approx([0, 0, 0, 0.25])


def test_a_window_of_the_batch_ends_in_batches_without_the_largest_source() -> None:
    assert figures_of("Mixtera, window of 32", world_size=1).worst_batch == pytest.approx(70)


def test_blocks_are_batches_of_one_source() -> None:
    assert figures_of("Blocks", world_size=1).worst_batch == pytest.approx(95)


def test_independent_draws_leave_a_fifth_of_the_batches_without_the_rarest_source() -> None:
    expected = 0.95**32
    assert figures_of("Independent draws").batches_without_rarest == pytest.approx(
        expected, abs=0.03
    )


def test_ours_is_within_a_row_at_every_prefix_and_every_batch_and_rank_has_the_mix() -> None:
    figures = figures_of("Recollect")
    assert figures.worst_prefix_rows < 1
    assert figures.worst_rank_rows < 2
    assert figures.batches_without_rarest == 0
    assert figures.rank_shares == pytest.approx([0.05] * 4, abs=1e-3)


def test_a_mix_that_a_package_refuses_is_told_not_measured() -> None:
    rare = (Fraction(199, 200), Fraction(1, 200))
    rows = {row.rule.name: row for row in compare(rare, num_batches=100)}
    assert rows["Stratified batches"].figures is None
    assert "no row of a batch" in rows["Stratified batches"].refusal
    assert "hangs" in rows["Mixtera, window of 32"].refusal
    assert rows["Recollect"].figures is not None


def test_bad_shares_and_worlds_are_refused_with_their_reason() -> None:
    with pytest.raises(RecollectError) as caught:
        compare((Fraction(1, 2), Fraction(1, 3)))
    assert caught.value.reason is Reason.MIX_SHARES
    with pytest.raises(RecollectError) as caught:
        compare(batch_size=4, world_size=8)
    assert caught.value.reason is Reason.RANK_INVALID


def test_every_rule_has_a_name_of_its_own_and_exactly_one_is_ours() -> None:
    assert len(NAMED) == len(RULES)
    assert [rule.name for rule in RULES if rule.ours] == ["Recollect"]


def uneven(rule: PeerRule) -> bool:
    return rule.division in (Division.CONTIGUOUS, Division.OWN_STREAM, Division.BLOCKS)


@pytest.mark.parametrize("rule", [r for r in RULES if uneven(r)], ids=lambda rule: rule.name)
def test_worlds_that_do_not_divide_the_batch_share_it_as_evenly_as_can_be(rule: PeerRule) -> None:
    _, ranks = serve(rule, DEFAULT_SHARES, 32, 5, 3)
    assert sorted(np.bincount(ranks[:32]).tolist()) == [6, 6, 6, 7, 7]
