from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import schedule as room
from recollect.mixer.blocks import Stretch
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.ratio import schedule_bound
from recollect.mixer.releases import SERVE, serve
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import END, Stage, Timeline

from .strategies import timelines


def owed(timeline: Timeline, num_positions: int) -> list[list[Fraction]]:
    """By plain addition, position by position."""
    sums = [[Fraction(0)] * timeline.num_sources]
    for position in range(num_positions):
        current = next(s for s in reversed(timeline.stages) if s.first_position <= position)
        sums.append([was + share for was, share in zip(sums[-1], current.shares, strict=True)])
    return sums


def stretches(schedule: Schedule) -> list[Stretch]:
    """How all positions are cut."""
    found = [schedule._stretch(0)]
    while found[-1].last < END:
        found.append(schedule._stretch(found[-1].last))
    return found


@given(timelines())
@settings(max_examples=60, deadline=None)
def test_shares_hold_at_every_prefix_across_changes(timeline: Timeline) -> None:
    num_positions = timeline.firsts[-1] + 300
    sources, ordinals = Schedule(timeline).at(np.arange(num_positions))
    bound = schedule_bound(timeline.num_sources)
    served = [0] * timeline.num_sources
    for position, ideal in enumerate(owed(timeline, num_positions)):
        assert all(abs(n - ought) <= bound for n, ought in zip(served, ideal, strict=True))
        if position < num_positions:
            assert ordinals[position] == served[sources[position]]
            served[sources[position]] += 1


@given(timelines(longest=3000), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_place_is_found_without_what_came_before(timeline: Timeline, seed: int) -> None:
    num_positions = timeline.firsts[-1] + 1500
    through = Schedule(timeline)
    sources, ordinals = through.at(np.arange(num_positions))
    jumping = Schedule(timeline)
    for position in np.random.default_rng(seed).integers(0, num_positions, 12).tolist():
        found = jumping.at(np.array([position]))
        assert (found[0][0], found[1][0]) == (sources[position], ordinals[position])
        assert jumping.position_of(int(found[0][0]), int(found[1][0])) == position
        expected = np.bincount(sources[:position], minlength=timeline.num_sources)
        assert jumping.served(position).tolist() == expected.tolist()


@given(timelines(longest=3000))
@settings(max_examples=40, deadline=None)
def test_tables_say_what_blocks_say(timeline: Timeline) -> None:
    num_positions = timeline.firsts[-1] + 1500
    tabled = Schedule(timeline).at(np.arange(num_positions))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "LONGEST_TABLE", 0)
        patch.setattr(room, "BLOCK_LENGTH", 97)
        plain = Schedule(timeline).at(np.arange(num_positions))
        assert all(not stretch.repeats for stretch in stretches(Schedule(timeline)))
    assert tabled[0].tolist() == plain[0].tolist()
    assert tabled[1].tolist() == plain[1].tolist()


def test_long_stages_are_served_from_tables() -> None:
    thirds = (Fraction(1, 3), Fraction(2, 3), Fraction(0))
    fifths = (Fraction(1, 5), Fraction(1, 5), Fraction(3, 5))
    stages = [
        Stage(first_position=0, shares=thirds),
        Stage(first_position=10**9 + 1, shares=fifths),
        Stage(first_position=10**12 + 2, shares=thirds),
    ]
    schedule = Schedule(Timeline(stages))
    assert sum(stretch.repeats for stretch in stretches(schedule)) == 3
    for first in (10**9 - 50, 10**12 - 50):
        sources, _ = schedule.at(np.arange(first, first + 100))
        count = schedule.served(first)
        for offset, source in enumerate(sources.tolist()):
            ideal = [schedule.timeline.owed(index, first + offset) for index in range(3)]
            assert all(abs(int(n) - ought) < 1 for n, ought in zip(count, ideal, strict=True))
            count[source] += 1


def test_a_source_that_rests_for_ever_has_a_last_example() -> None:
    stages = [
        Stage(first_position=0, shares=(Fraction(1, 2), Fraction(1, 2))),
        Stage(first_position=100, shares=(Fraction(1), Fraction(0))),
    ]
    schedule = Schedule(Timeline(stages))
    assert schedule.position_of(1, 49) < 100
    assert schedule.position_of(1, 50) == END
    assert schedule.position_of(0, 10**6) == 10**6 + 50


def test_compiled_and_plain_code_serve_alike() -> None:
    parts = [Fraction(n, 1009) for n in (1, 8, 200, 300, 500)]
    schedule = Schedule(parts)
    prefixes, keys = schedule._walking.released(0, 2018)
    nothing = np.empty(0, dtype=np.int64)
    compiled = SERVE.compiled(prefixes - 1, keys, nothing, 2018)
    plain = serve((prefixes - 1).tolist(), keys.tolist(), [], 2018)
    assert compiled[0].tolist() == plain[0].tolist()
    assert compiled[1].tolist() == plain[1].tolist() == []


@given(timelines(), st.integers(0, 10**6), st.fractions(0, 200, max_denominator=50))
@settings(max_examples=60, deadline=None)
def test_prefixes_are_where_amounts_are_owed(
    timeline: Timeline, pick: int, amount: Fraction
) -> None:
    source = pick % timeline.num_sources
    sums = [row[source] for row in owed(timeline, timeline.firsts[-1] + 200)]
    first = timeline.first_prefix_owing(source, amount)
    last = timeline.last_prefix_owing(source, amount)
    reached = [n for n, was in enumerate(sums) if was >= amount]
    kept = [n for n, was in enumerate(sums) if was <= amount]
    assert first == reached[0] if reached else first >= len(sums)
    assert last == kept[-1] if len(kept) < len(sums) else last >= len(sums) - 1


def test_stages_that_are_no_timeline_are_refused() -> None:
    half = (Fraction(1, 2), Fraction(1, 2))
    good = Stage(first_position=0, shares=half)
    for stages in (
        [],
        [Stage(first_position=1, shares=half)],
        [good, good],
        [good, Stage(first_position=5, shares=(Fraction(1),))],
        [good, Stage(first_position=5, shares=(Fraction(1, 2), Fraction(1, 3)))],
        [good, Stage(first_position=5, shares=(Fraction(3, 2), Fraction(-1, 2)))],
    ):
        with pytest.raises(RecollectError) as caught:
            Timeline(stages)
        assert caught.value.reason is Reason.MIX_SHARES
    assert all(a < b for a, b in pairwise(Timeline([good]).firsts))
