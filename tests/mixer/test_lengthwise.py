from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import lengthwise as room
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.lengthwise import LengthwiseSchedule
from recollect.mixer.queueing import Weights
from recollect.mixer.timeline import Stage, Timeline

from .weighted import SUPPORT, Integers, drawn, passes, repeated, served_weights, timelines


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


def test_no_weight_is_read_far_ahead_or_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither going forward, nor block by block again; a rare source is read in small parts."""
    monkeypatch.setattr(room, "BLOCK_LENGTH", 512)
    monkeypatch.setattr(room, "MOST_BLOCKS", 1)
    parts = [1, *[40] * 25]
    reads: list[tuple[int, int, int]] = []

    def of(source: int) -> Weights:
        def answer(first: int, last: int) -> Integers:
            reads.append((source, first, last))
            return 1 + np.arange(first, last) * 37 % 101

        return answer

    shares = tuple(Fraction(part, sum(parts)) for part in parts)
    schedule = LengthwiseSchedule(Timeline.constant(shares), [of(n) for n in range(26)], 100_000)
    served = schedule.served(100_000).tolist()
    for _ in range(2):
        assert len(reads) < 500
        for source, first, last in reads:
            assert last - first <= max(4 * served[source], room.SMALLEST_LOOKAHEAD)
            assert last <= 5 * served[source] + room.SMALLEST_LOOKAHEAD
        reads.clear()
        for first in range(0, 100_000, 512):
            schedule.at(np.array([first]))


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
