from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import schedule as room
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.ratio import RatioCount, schedule_bound
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import END

SUPPORT = [Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20)]


@st.composite
def shares(draw: st.DrawFn, most: int = 7, largest: int = 1200) -> list[Fraction]:
    parts = draw(st.lists(st.integers(1, largest // most), min_size=1, max_size=most))
    return [Fraction(part, sum(parts)) for part in parts]


def plain_chairman(parts: list[Fraction], num_positions: int) -> list[int]:
    """Tijdeman's rule word by word, with fractions and without any shortcut."""
    slack = Fraction(1, max(2 * len(parts) - 2, 1))
    served, order = [0] * len(parts), []
    for prefix in range(1, num_positions + 1):
        ready = [i for i, part in enumerate(parts) if part * prefix - served[i] >= slack]
        late = 1 - slack if len(parts) > 1 else slack
        chosen = min(
            ready, key=lambda i: (prefix + (late - (parts[i] * prefix - served[i])) // parts[i], i)
        )
        served[chosen] += 1
        order.append(chosen)
    return order


def names(parts: list[Fraction]) -> list[str]:
    return [str(number) for number in range(len(parts))]


@given(shares())
@settings(max_examples=60, deadline=None)
def test_shares_hold_at_every_prefix(parts: list[Fraction]) -> None:
    schedule = Schedule(parts)
    sources, _ = schedule.at(np.arange(2 * schedule.period + 5))
    RatioCount.start(names(parts), parts).extended(sources)  # raises at a prefix that is off


@given(shares(most=5, largest=60))
@settings(max_examples=40, deadline=None)
def test_the_order_is_tijdemans(parts: list[Fraction]) -> None:
    schedule = Schedule(parts)
    expected = plain_chairman(parts, 2 * schedule.period)
    assert schedule.at(np.arange(2 * schedule.period))[0].tolist() == expected


@given(shares(), st.integers(0, 10**15), st.integers(0, 6))
@settings(max_examples=80, deadline=None)
def test_position_of_is_the_inverse_of_at(
    parts: list[Fraction], position: int, source: int
) -> None:
    schedule = Schedule(parts)
    sources, ordinals = schedule.at(np.array([position]))
    assert schedule.position_of(int(sources[0]), int(ordinals[0])) == position
    source %= len(parts)
    found = schedule.position_of(source, position)
    if found < END:
        back = schedule.at(np.array([found]))
        assert (int(back[0][0]), int(back[1][0])) == (source, position)


@given(shares(), st.integers(0, 10**15))
@settings(max_examples=50, deadline=None)
def test_served_counts_what_at_serves(parts: list[Fraction], first: int) -> None:
    schedule = Schedule(parts)
    sources, ordinals = schedule.at(np.arange(first, first + 40))
    before, after = schedule.served(first), schedule.served(first + 40)
    assert int(before.sum()) == first
    assert (after - before).tolist() == np.bincount(sources, minlength=len(parts)).tolist()
    for source in range(len(parts)):
        assert ordinals[sources == source].tolist() == list(range(before[source], after[source]))


LONG = [
    [Fraction(1, 99991), Fraction(33333, 100000), 1 - Fraction(1, 99991) - Fraction(33333, 100000)],
    [Fraction(1, 100_003), Fraction(100_002, 100_003)],
    [Fraction(n, 1_000_003) for n in (1, 200_000, 200_001, 300_000, 300_001)],
]


@pytest.mark.parametrize("parts", [*LONG[:2], [*LONG[2][:-1], 1 - sum(LONG[2][:-1], Fraction(0))]])
def test_a_long_period_is_found_at_any_place(
    parts: list[Fraction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LONGEST_TABLE", 1000)
    monkeypatch.setattr(room, "MOST_BLOCKS", 8)
    through, jumping = Schedule(parts), Schedule(parts)
    sources, ordinals = through.at(np.arange(120_000))
    RatioCount.start(names(parts), parts).extended(sources)
    for position in (119_999, 70_000, 100_001, 4096, 4095, 0):
        found = jumping.at(np.array([position]))
        assert (found[0][0], found[1][0]) == (sources[position], ordinals[position])
        assert jumping.position_of(int(found[0][0]), int(found[1][0])) == position
    assert jumping.served(110_000).tolist() == np.bincount(sources[:110_000]).tolist()


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=6), st.integers(0, 10**12))
@settings(max_examples=25, deadline=None)
def test_starting_anywhere_gives_what_walking_there_gives(parts: list[int], first: int) -> None:
    """Two blocks in a row: the second from the first's end, and the second on its own."""
    total = 1_000_003 * sum(parts)  # a long period
    uneven = [Fraction(part * 1_000_003 + (-1) ** i, total) for i, part in enumerate(parts)]
    uneven[0] += 1 - sum(uneven, Fraction(0))
    walked, sought = Schedule(uneven), Schedule(uneven)
    first -= first % room.BLOCK_LENGTH
    walked.at(np.array([first]))
    second = np.arange(first, first + 10) + room.BLOCK_LENGTH
    expected, found = walked.at(second), sought.at(second)
    assert expected[0].tolist() == found[0].tolist()
    assert expected[1].tolist() == found[1].tolist()


def test_a_period_beyond_machine_integers_is_exact() -> None:
    small = Fraction(1, 10**11 + 3) + Fraction(1, 3)
    parts = [small, Fraction(1, 10**9 + 7) + Fraction(1, 7), Fraction(0)]
    parts[2] = 1 - parts[0] - parts[1]
    schedule = Schedule(parts)
    assert schedule.period > 1 << 62
    first = 10**15
    sources, ordinals = schedule.at(np.arange(first, first + 5000))
    start = schedule.served(first)
    count = RatioCount.start(names(parts), parts, counts=start.tolist())
    count.extended(sources)
    assert schedule.position_of(int(sources[9]), int(ordinals[9])) == first + 9


def test_one_source_serves_everything() -> None:
    schedule = Schedule([Fraction(1)])
    sources, ordinals = schedule.at(np.array([0, 1, 10**15]))
    assert sources.tolist() == [0, 0, 0]
    assert ordinals.tolist() == [0, 1, 10**15]
    assert schedule.position_of(0, 12) == 12
    assert schedule_bound(1) == 0


def test_no_rows_are_no_rows() -> None:
    assert Schedule(SUPPORT).at(np.array([], dtype=np.int64))[0].size == 0
    assert Schedule(SUPPORT).served(0).tolist() == [0, 0, 0, 0]


def test_positions_that_no_plan_has_are_refused() -> None:
    schedule = Schedule(SUPPORT)
    for call in (
        lambda: schedule.at(np.array([3, -1])),
        lambda: schedule.at(np.array([END])),
        lambda: schedule.served(END),
        lambda: schedule.served(-1),
        lambda: schedule.position_of(0, -1),
    ):
        with pytest.raises(RecollectError) as caught:
            call()
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE


def test_a_share_of_zero_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        Schedule([Fraction(1), Fraction(0)])
    assert caught.value.reason is Reason.MIX_SHARES
