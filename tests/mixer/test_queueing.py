from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.lengthwise import LengthwiseSchedule
from recollect.mixer.packing import Packing, pack
from recollect.mixer.queueing import serve
from recollect.mixer.timeline import Stage, Timeline

from .public_rows import NAMES, Rows, needs_data, public_rows
from .weighted import (
    SUPPORT,
    Integers,
    drawn,
    passes,
    plain_order,
    repeated,
    served_weights,
    shares,
    sixtieths,
    timelines,
)


def assert_within_bounds(
    parts: Sequence[Fraction],
    sources: Integers,
    weights: Integers,
    largest: list[int],
    owed: Sequence[Fraction] = (),
    carried: Fraction = Fraction(0),
) -> None:
    """The bound that `queueing` proves at every prefix of a stage, in whole numbers.

    Args:
        parts: the shares of the stage.
        sources: who served each of its rows.
        weights: what each row weighs.
        largest: the largest row of each source.
        owed: what each source was owed when the stage began, with Z given back.
        carried: C.
    """
    unit = int(np.lcm.reduce([part.denominator for part in parts]))
    for source, part in enumerate(parts):
        if not part:
            assert not (sources == source).any()
            continue
        start = owed[source] if owed else Fraction(0)
        own = np.where(sources == source, weights, 0)
        credit = np.cumsum(int(part * unit) * weights - unit * own)
        low, high = int(credit.min(initial=0)), int(credit.max(initial=0))
        rows = [Fraction(most) for most in largest]
        others = max([carried, *rows[:source], *rows[source + 1 :]])
        behind = (1 - part) * max(start, rows[source]) + part * others
        assert start + Fraction(high, unit) <= behind
        ahead = -(1 - part) * largest[source]
        assert start + Fraction(low, unit) >= min(ahead, start)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_shares_of_weight_hold_at_every_prefix(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6))
    parts, rows = data.draw(shares(size)), data.draw(passes(size))
    schedule = LengthwiseSchedule(Timeline.constant(parts), repeated(rows), 300)
    sources, ordinals = schedule.at(np.arange(300))
    weights = served_weights(rows, sources, ordinals)
    assert_within_bounds(parts, sources, weights, [int(one.max()) for one in rows])


@pytest.mark.parametrize("seed", range(3))
def test_shares_of_weight_hold_at_a_million_prefixes(seed: int) -> None:
    rows = drawn(seed)
    schedule = LengthwiseSchedule(Timeline.constant(SUPPORT), repeated(rows), 1_000_000)
    sources, ordinals = schedule.at(np.arange(1_000_000))
    weights = served_weights(rows, sources, ordinals)
    assert_within_bounds(SUPPORT, sources, weights, [int(one.max()) for one in rows])
    by_source = [int(weights[sources == source].sum()) for source in range(4)]
    assert schedule.weight(1_000_000).tolist() == by_source


def test_a_row_can_be_as_far_off_as_the_bound_says() -> None:
    """Two equal sources of one weight: the one that waits is behind by half a row, as may be."""
    half = (Fraction(1, 2), Fraction(1, 2))
    schedule = LengthwiseSchedule(Timeline.constant(half), repeated([np.array([8])] * 2), 10)
    assert schedule.credits(1) == [Fraction(-4), Fraction(4)]
    # Behind by more than half of the largest row, as the longest of another came in between.
    uneven = (Fraction(9, 10), Fraction(1, 10))
    rows = [np.array([10]), np.array([1000])]
    late = LengthwiseSchedule(Timeline.constant(uneven), repeated(rows), 4000)
    assert max(late.credits(n)[0] for n in range(1200)) > 890


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_is_that_of_the_rule(data: st.DataObject) -> None:
    timeline = data.draw(timelines())
    rows = data.draw(passes(timeline.num_sources))
    schedule = LengthwiseSchedule(timeline, repeated(rows), 160)
    assert schedule.at(np.arange(160))[0].tolist() == plain_order(timeline, rows, 160)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_what_is_owed_is_carried_over_a_change(data: st.DataObject) -> None:
    timeline = data.draw(timelines())
    rows = data.draw(passes(timeline.num_sources))
    largest = [int(one.max()) for one in rows]
    schedule = LengthwiseSchedule(timeline, repeated(rows), 200)
    sources, ordinals = schedule.at(np.arange(200))
    weights = served_weights(rows, sources, ordinals)
    for number, stage in enumerate(timeline.stages):
        begin, end = stage.first_position, min(timeline.end(number), 200)
        resting, carried = schedule.debt(number)
        credits = schedule.credits(begin)
        owed = [credit + s * resting for credit, s in zip(credits, stage.shares, strict=True)]
        assert sum(credits) == 0
        here = slice(begin, end)
        assert_within_bounds(stage.shares, sources[here], weights[here], largest, owed, carried)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_two_sources_stay_within_one_row_over_any_changes(data: st.DataObject) -> None:
    firsts = sorted({0, *data.draw(st.lists(st.integers(1, 150), max_size=12))})
    timeline = Timeline([Stage(first_position=n, shares=data.draw(sixtieths(2))) for n in firsts])
    rows = data.draw(passes(2))
    schedule = LengthwiseSchedule(timeline, repeated(rows), 160)
    largest = max(int(one.max()) for one in rows)
    assert max(abs(credit) for n in range(160) for credit in schedule.credits(n)) <= largest


def test_odd_denominators_in_a_row_cost_less_than_a_millionth_of_a_token() -> None:
    """Ninety ramps of shares whose common denominator is far beyond machine integers."""
    primes = [n for n in range(400, 1100) if all(n % d for d in range(2, 34))]
    timeline = Timeline(
        [
            Stage(
                first_position=100 * number,
                shares=(Fraction(prime // 3, prime), 1 - Fraction(prime // 3, prime)),
            )
            for number, prime in enumerate(primes[:90])
        ]
    )
    rows = drawn(6, (900, 500))
    schedule = LengthwiseSchedule(timeline, repeated(rows), 9000)
    for prefix in range(0, 9000, 37):
        assert abs(schedule.credits(prefix)[0]) <= 900 + Fraction(1, 10**6)
    exact = plain_order(timeline, rows, 9000)
    assert (schedule.at(np.arange(9000))[0] == exact).mean() > 0.999


def test_a_source_that_rests_is_paid_back_when_it_returns() -> None:
    rows = drawn(4, (900, 900, 900))
    third = (Fraction(1, 3),) * 3
    rest = (Fraction(1, 2), Fraction(1, 2), Fraction(0))
    timeline = Timeline(
        [
            Stage(first_position=first, shares=parts)
            for first, parts in ((0, third), (1000, rest), (2000, third))
        ]
    )
    schedule = LengthwiseSchedule(timeline, repeated(rows), 3000)
    assert schedule.credits(2000)[2] == schedule.credits(1000)[2] != 0
    assert schedule.served(1000)[2] == schedule.served(2000)[2]
    assert max(abs(credit) for credit in schedule.credits(3000)) <= 900


@pytest.mark.parametrize("num_sources", [7, 8, 9, 100])
def test_the_order_of_many_sources_is_that_of_the_rule(num_sources: int) -> None:
    """Of rows few of which differ in weight, so that many end at the same time."""
    random = np.random.default_rng(num_sources)
    parts = random.choice([1, 2, 3, 6], num_sources)
    later = np.where(random.random(num_sources) < 0.3, 0, parts[::-1])
    timeline = Timeline(
        [
            Stage(first_position=first, shares=tuple(Fraction(int(n), int(of.sum())) for n in of))
            for first, of in ((0, parts), (400, later), (700, parts))
        ]
    )
    rows = [random.choice([0, 1, 4, 4, 8, 60], 13) for _ in range(num_sources)]
    rows = [np.append(one, 1) for one in rows]
    schedule = LengthwiseSchedule(timeline, repeated(rows), 1000)
    sources, ordinals = schedule.at(np.arange(1000))
    assert sources.tolist() == plain_order(timeline, rows, 1000)
    for source in range(num_sources):
        own = ordinals[sources == source]
        assert own.tolist() == list(range(own.size))


@pytest.mark.parametrize("num_sources", [1, 2, 33, 300])
def test_any_number_of_sources_is_served_alike_compiled_and_plain(
    num_sources: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [np.append(one, 1) for one in drawn(5, [9] * num_sources, 20)]
    equal = Timeline.constant((Fraction(1, num_sources),) * num_sources)
    orders = []
    for run in (serve.plain, serve.compiled):
        monkeypatch.setattr(serve, "of_size", lambda _, run=run: run)
        schedule = LengthwiseSchedule(equal, repeated(rows), 2000)
        orders.append([column.tolist() for column in schedule.at(np.arange(2000))])
    assert orders[0] == orders[1]


def test_the_compiled_and_the_plain_rule_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [np.append(one, [0, 0, 1]) for one in drawn(9, num_rows=50)]
    timeline = Timeline(
        [
            Stage(first_position=0, shares=SUPPORT),
            Stage(first_position=700, shares=(Fraction(1, 3), Fraction(0), *[Fraction(1, 3)] * 2)),
            Stage(first_position=1500, shares=SUPPORT[::-1]),
        ]
    )
    orders = []
    for run in (serve.plain, serve.compiled):
        monkeypatch.setattr(serve, "of_size", lambda _, run=run: run)
        orders.append(LengthwiseSchedule(timeline, repeated(rows), 3000).at(np.arange(3000)))
    assert orders[0][0].tolist() == orders[1][0].tolist()
    assert orders[0][1].tolist() == orders[1][1].tolist()


def test_the_order_never_changes() -> None:
    """Golden: plans that were sealed with this order must give the same bytes for ever."""
    rows = [1 + np.arange(7 + source) * 37 % 101 for source in range(4)]
    schedule = LengthwiseSchedule(Timeline.constant(SUPPORT), repeated(rows), 200)
    text = "".join(map(str, schedule.at(np.arange(60))[0]))
    assert text == GOLDEN


GOLDEN = "012301020001000030020001001000230000010000020001010000200100"


def test_rows_without_weight_are_served_in_their_turn() -> None:
    rows = [np.array([5]), np.array([0, 0, 10])]
    half = Timeline.constant((Fraction(1, 2), Fraction(1, 2)))
    schedule = LengthwiseSchedule(half, repeated(rows), 100)
    sources, ordinals = schedule.at(np.arange(100))
    assert ordinals[sources == 1].tolist() == list(range((sources == 1).sum()))
    assert abs(int(np.diff(schedule.weight(100))[0])) <= 10


def test_the_largest_weights_that_are_allowed_are_exact() -> None:
    parts = (Fraction(1, 2**20 + 7), Fraction(1, 3), Fraction(2, 3) - Fraction(1, 2**20 + 7))
    timeline = Timeline.constant(parts)
    most = LengthwiseSchedule(timeline, repeated([np.array([1])] * 3), 3000).largest_weight
    assert most > 1 << 35
    rows = [np.array([most, most - 1]), np.array([most - 5, 1]), np.array([most, 3])]
    schedule = LengthwiseSchedule(timeline, repeated(rows), 3000)
    assert schedule.at(np.arange(400))[0].tolist() == plain_order(timeline, rows, 400)
    assert max(abs(credit) for credit in schedule.credits(3000)) <= most


CAPACITY = 2048


def real_weights(rows: Rows, packing: Packing, *, supervised: bool) -> Integers:
    """What the rows of a real source weigh, in a drawn order."""
    key = np.random.default_rng(11)
    if packing is Packing.NONE:
        cut = np.minimum(rows.lengths, CAPACITY)
        return key.permutation(rows.supervised_in(CAPACITY) if supervised else cut)
    packs = pack(rows.lengths, capacity=CAPACITY, packing=packing, key=b"real")
    if not supervised:
        return key.permutation(packs.lengths)
    firsts = rows.offsets[packs.examples]
    counts = rows.supervised[firsts + packs.stops] - rows.supervised[firsts + packs.starts + 1]
    return key.permutation(packs.per_pack(counts))


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("packing", list(Packing))
def test_any_thousand_batches_of_real_rows_have_the_shares_of_tokens(
    packing: Packing, supervised: bool
) -> None:
    """Within a tenth of a point, at 32 rows a batch, of tokens or of supervised tokens."""
    rows = [real_weights(public_rows(name), packing, supervised=supervised) for name in NAMES]
    num_rows, window = 3000 * 32, 1000
    schedule = LengthwiseSchedule(Timeline.constant(SUPPORT), repeated(rows), num_rows)
    sources, ordinals = schedule.at(np.arange(num_rows))
    weights = served_weights(rows, sources, ordinals)
    by_batch = np.zeros((4, 3001), dtype=np.int64)
    for source in range(4):
        own = np.where(sources == source, weights, 0)
        np.cumsum(own.reshape(-1, 32).sum(axis=1), out=by_batch[source, 1:])
    in_window = by_batch[:, window:] - by_batch[:, :-window]
    realised = in_window / in_window.sum(axis=0)
    asked = np.array([float(part) for part in SUPPORT])
    assert np.abs(realised - asked[:, None]).max() <= 0.001
    assert_within_bounds(SUPPORT, sources, weights, [int(one.max()) for one in rows])
