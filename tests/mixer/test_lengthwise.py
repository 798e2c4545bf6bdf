from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import lengthwise as room
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.lengthwise import LengthwiseSchedule
from recollect.mixer.packing import Packing, pack
from recollect.mixer.queueing import Weights, serve
from recollect.mixer.timeline import Stage, Timeline

from .public_rows import NAMES, Rows, needs_data, public_rows

Integers = npt.NDArray[np.int64]
SUPPORT = (Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20))
LARGEST = (2048, 1024, 700, 90)


@st.composite
def shares(draw: st.DrawFn, size: int) -> tuple[Fraction, ...]:
    parts = draw(st.lists(st.integers(1, 60), min_size=size, max_size=size))
    return tuple(Fraction(part, sum(parts)) for part in parts)


@st.composite
def sixtieths(draw: st.DrawFn, size: int) -> tuple[Fraction, ...]:
    """Shares, some of them 0, with one denominator for all stages."""
    cuts = sorted(draw(st.lists(st.integers(0, 60), min_size=size - 1, max_size=size - 1)))
    return tuple(Fraction(b - a, 60) for a, b in pairwise([0, *cuts, 60]))


@st.composite
def timelines(draw: st.DrawFn, most: int = 5) -> Timeline:
    size = draw(st.integers(1, most))
    firsts = sorted({0, *draw(st.lists(st.integers(1, 120), max_size=5))})
    return Timeline([Stage(first_position=first, shares=draw(sixtieths(size))) for first in firsts])


@st.composite
def passes(draw: st.DrawFn, size: int) -> list[Integers]:
    """For each source, the weights of the rows of one pass; each pass weighs something."""
    weight = st.one_of(st.integers(0, 9), st.sampled_from([0, 1, 100, 997]))
    rows = st.lists(weight, min_size=1, max_size=9).filter(any)
    return [np.array(draw(rows)) for _ in range(size)]


def repeated(rows: Sequence[Integers]) -> list[Weights]:
    """Serves every pass again and again."""

    def of(one: Integers) -> Weights:
        return lambda first, last: np.take(one, np.arange(first, last), mode="wrap")

    return [of(np.asarray(one)) for one in rows]


def drawn(seed: int, largest: Sequence[int] = LARGEST, num_rows: int = 5000) -> list[Integers]:
    random = np.random.default_rng(seed)
    return [random.integers(1, most + 1, num_rows) for most in largest]


def plain_order(timeline: Timeline, rows: list[Integers], num_positions: int) -> list[int]:
    """The rule word by word, with fractions and without any shortcut."""
    size = timeline.num_sources
    credits, served, order = [Fraction(0)] * size, [0] * size, list[int]()
    for position in range(num_positions):
        parts = timeline.stages[timeline.stage_at(position)].shares
        resting = sum(credit for credit, part in zip(credits, parts, strict=True) if not part)
        begun = {
            i: credits[i] + part * resting
            for i, part in enumerate(parts)
            if part and credits[i] + part * resting >= 0
        }
        upcoming = [int(rows[i][served[i] % rows[i].size]) for i in range(size)]
        chosen = min(begun, key=lambda i: ((upcoming[i] - credits[i]) / parts[i], i))
        weight = upcoming[chosen]
        credits = [credit + part * weight for credit, part in zip(credits, parts, strict=True)]
        credits[chosen] -= weight
        served[chosen] += 1
        order.append(chosen)
    return order


def served_weights(rows: Sequence[Integers], sources: Integers, ordinals: Integers) -> Integers:
    weights = np.empty_like(sources)
    for source, one in enumerate(rows):
        here = sources == source
        weights[here] = np.take(one, ordinals[here], mode="wrap")
    return weights


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


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_place_is_found_without_walking_there(data: st.DataObject) -> None:
    timeline = data.draw(timelines())
    rows = data.draw(passes(timeline.num_sources))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BLOCK_LENGTH", 16)
        patch.setattr(room, "MOST_BLOCKS", 3)
        patch.setattr(room, "SMALLEST_LOOKAHEAD", 2)
        light = [np.append(one, 1) for one in rows]  # no block is without weight
        schedule = LengthwiseSchedule(timeline, repeated(light), 200)
        through = LengthwiseSchedule(timeline, repeated(light), 200)
        expected = through.at(np.arange(200))
        places = np.array(data.draw(st.lists(st.integers(0, 199), min_size=1, max_size=30)))
        sources, ordinals = schedule.at(places)
        assert sources.tolist() == expected[0][places].tolist()
        assert ordinals.tolist() == expected[1][places].tolist()
        for place, source, ordinal in zip(places, sources, ordinals, strict=True):
            assert schedule.position_of(int(source), int(ordinal)) == place
        for prefix in (0, 16, 199, 200, int(places[0])):
            served = np.bincount(expected[0][:prefix], minlength=timeline.num_sources)
            assert schedule.served(prefix).tolist() == served.tolist()
            before = served_weights(light, expected[0][:prefix], expected[1][:prefix])
            weights = np.zeros(timeline.num_sources, dtype=np.int64)
            np.add.at(weights, expected[0][:prefix], before)
            assert schedule.weight(prefix).tolist() == weights.tolist()


def test_blocks_in_any_order_are_those_of_the_walk() -> None:
    rows = drawn(7)
    timeline = Timeline(
        [
            Stage(first_position=0, shares=SUPPORT),
            Stage(first_position=20_001, shares=SUPPORT[::-1]),
        ]
    )
    through = LengthwiseSchedule(timeline, repeated(rows), 60_000)
    jumping = LengthwiseSchedule(timeline, repeated(rows), 60_000)
    expected = through.at(np.arange(60_000))
    for place in (59_999, 8191, 8192, 0, 20_000, 20_001, 40_000):
        found = jumping.at(np.array([place]))
        assert (found[0][0], found[1][0]) == (expected[0][place], expected[1][place])
    for place in (59_999, 8192, 0):
        fresh = LengthwiseSchedule(timeline, repeated(rows), 60_000)
        assert fresh.position_of(int(expected[0][place]), int(expected[1][place])) == place
    shuffled = np.random.default_rng(1).permutation(60_000)
    found = jumping.at(shuffled)
    assert (found[0] == expected[0][shuffled]).all()
    assert (found[1] == expected[1][shuffled]).all()


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


def test_a_source_without_any_weight_is_refused() -> None:
    rows = [np.array([5]), np.array([0])]
    half = Timeline.constant((Fraction(1, 2), Fraction(1, 2)))
    schedule = LengthwiseSchedule(half, repeated(rows), 50_000)
    for _ in range(2):  # a failed walk leaves nothing half done
        with pytest.raises(RecollectError) as caught:
            schedule.at(np.array([49_999]))
        assert caught.value.reason is Reason.MIX_INVALID
        assert caught.value.where == "sources[1]"


@pytest.mark.parametrize("weight", [-1, 1 << 60])
def test_a_row_of_impossible_weight_is_named(weight: int) -> None:
    rows = [np.array([5]), np.array([1, 1, weight])]
    half = Timeline.constant((Fraction(1, 2), Fraction(1, 2)))
    with pytest.raises(RecollectError) as caught:
        LengthwiseSchedule(half, repeated(rows), 100).served(100)
    assert caught.value.reason is Reason.MIX_INVALID
    assert "row 2 of source 1" in caught.value.message


def test_the_largest_weights_that_are_allowed_are_exact() -> None:
    parts = (Fraction(1, 2**20 + 7), Fraction(1, 3), Fraction(2, 3) - Fraction(1, 2**20 + 7))
    timeline = Timeline.constant(parts)
    most = LengthwiseSchedule(timeline, repeated([np.array([1])] * 3), 3000).largest_weight
    assert most > 1 << 35
    rows = [np.array([most, most - 1]), np.array([most - 5, 1]), np.array([most, 3])]
    schedule = LengthwiseSchedule(timeline, repeated(rows), 3000)
    assert schedule.at(np.arange(400))[0].tolist() == plain_order(timeline, rows, 400)
    assert max(abs(credit) for credit in schedule.credits(3000)) <= most


def test_weights_that_do_not_answer_the_question_are_refused() -> None:
    one = Timeline.constant((Fraction(1),))
    for factor in (np.ones(1, dtype=np.int64), np.array([[1, 2]]), np.array([0.5])):

        def answer(first: int, last: int, factor: Any = factor) -> Integers:
            return np.outer(np.arange(first, last - 1), factor)

        with pytest.raises(ValueError, match="whole numbers are due"):
            LengthwiseSchedule(one, [answer], 10).served(10)
    with pytest.raises(ValueError, match="1 sources"):
        LengthwiseSchedule(one, [], 10)


def test_shares_without_a_small_common_denominator_are_refused() -> None:
    rare = (Fraction(1, 99_991), Fraction(1, 99_989))
    parts = (*rare, 1 - sum(rare, Fraction(0)))
    with pytest.raises(RecollectError) as caught:
        LengthwiseSchedule(Timeline.constant(parts), repeated([np.array([1])] * 3), 10)
    assert caught.value.reason is Reason.MIX_SHARES


def test_what_is_not_there_is_refused() -> None:
    schedule = LengthwiseSchedule(Timeline.constant(SUPPORT), repeated(drawn(1)), 500)
    for call in (
        lambda: schedule.at(np.array([3, -1])),
        lambda: schedule.at(np.array([500])),
        lambda: schedule.served(501),
        lambda: schedule.weight(-1),
        lambda: schedule.position_of(0, -1),
        lambda: schedule.position_of(0, int(schedule.served(500)[0])),
    ):
        with pytest.raises(RecollectError) as caught:
            call()
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE
    assert schedule.at(np.array([], dtype=np.int64))[0].size == 0


def test_one_source_serves_everything() -> None:
    schedule = LengthwiseSchedule(
        Timeline.constant((Fraction(1),)), repeated([np.array([3, 0, 2])]), 30
    )
    assert schedule.at(np.arange(30))[1].tolist() == list(range(30))
    assert schedule.position_of(0, 12) == 12


def test_threads_share_one_schedule() -> None:
    rows = drawn(3)
    expected = LengthwiseSchedule(Timeline.constant(SUPPORT), repeated(rows), 100_000).at(
        np.arange(100_000)
    )
    shared = LengthwiseSchedule(Timeline.constant(SUPPORT), repeated(rows), 100_000)
    wrong: list[int] = []

    def look(seed: int) -> None:
        for place in np.random.default_rng(seed).integers(0, 100_000, 60):
            found = shared.at(np.array([place]))
            if found[0][0] != expected[0][place] or found[1][0] != expected[1][place]:
                wrong.append(int(place))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


CAPACITY = 2048


def real_weights(rows: Rows, packing: Packing, *, supervised: bool) -> Integers:
    """What the rows of a real source weigh, in a drawn order."""
    key = np.random.default_rng(11)
    if packing is Packing.NONE:
        cut = np.minimum(rows.lengths, CAPACITY)
        return key.permutation(rows.supervised_in(CAPACITY) if supervised else cut)
    packs = pack(rows.lengths, capacity=CAPACITY, packing=packing, key=b"real")
    sums = packs.sums(rows.supervised, rows.offsets)
    return key.permutation(sums if supervised else packs.lengths)


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
