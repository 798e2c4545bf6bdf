from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.ratio import (
    RatioCount,
    check_counts,
    deviation,
    schedule_bound,
)
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import Stage, Timeline

SHARES = (Fraction(7, 10), Fraction(1, 4), Fraction(1, 20))
TIMELINE = Timeline.constant(SHARES)
NAMES = ("tickets", "general", "refusals")


def test_deviation_is_exact() -> None:
    assert deviation(TIMELINE, [8, 2, 0], 10) == [1, Fraction(-1, 2), Fraction(-1, 2)]


def test_what_the_schedule_serves_passes_at_every_row() -> None:
    sources, _ = Schedule(SHARES).at(np.arange(1000))
    count = RatioCount.start(NAMES, SHARES)
    for first in range(0, 1000, 32):
        count = count.extended(sources[first : first + 32])
    assert count.num_rows == 1000
    assert count.counts == (700, 250, 50)


def test_the_first_row_that_breaks_the_bound_is_named() -> None:
    count = RatioCount.start(NAMES, SHARES)
    with pytest.raises(RecollectError) as caught:
        count.extended(np.array([0, 0, 2, 0, 1, 0, 0]), where="step 0")
    error = caught.value
    assert (error.reason, error.where) == (Reason.RATIO_VIOLATED, "step 0")
    assert "'refusals' has 1 of 3 rows (33.3333 %); expected are 0.15 (5 %)" in error.message


def test_a_row_too_many_is_noticed_after_any_number_of_rows() -> None:
    schedule = Schedule(SHARES)
    first = 10**12
    count = RatioCount.start(NAMES, SHARES, counts=schedule.served(first))
    sources, _ = schedule.at(np.arange(first, first + 20))
    assert count.extended(sources).num_rows == first + 20
    with pytest.raises(RecollectError, match="refusals"):
        count.extended(np.full(3, 2))


def test_numbers_beyond_machine_integers_are_exact() -> None:
    small = Fraction(1, 10**17 + 3)
    shares = (small, Fraction(1, 3), 1 - Fraction(1, 3) - small)
    sources, _ = Schedule(shares).at(np.arange(300))
    assert RatioCount.start(NAMES, shares).extended(sources).num_rows == 300
    with pytest.raises(RecollectError, match="tickets"):
        RatioCount.start(NAMES, shares).extended(np.array([0]))


def test_a_rank_is_held_to_its_part_of_what_is_owed() -> None:
    check_counts(TIMELINE, [3, 2, 0], 10, names=NAMES, bound=Fraction(1), world_size=2)
    with pytest.raises(RecollectError, match=r"'tickets' has 2 of 5 rows .* expected are 3\.5"):
        check_counts(TIMELINE, [2, 2, 1], 10, names=NAMES, bound=Fraction(1), world_size=2)


def test_rows_are_held_to_the_shares_of_their_stage() -> None:
    stages = [
        Stage(first_position=0, shares=(Fraction(1, 3), Fraction(2, 3))),
        Stage(first_position=31, shares=(Fraction(1), Fraction(0))),
    ]
    timeline = Timeline(stages)
    sources, _ = Schedule(timeline).at(np.arange(60))
    count = RatioCount.start(("one", "other"), timeline).extended(sources[:25])
    assert count.extended(sources[25:]).num_rows == 60
    with pytest.raises(RecollectError, match="'one' has"):
        count.extended(np.concatenate((sources[25:40], [1, 1])))


def test_a_bound_is_met_and_not_passed() -> None:
    check_counts(TIMELINE, [8, 2, 0], 10, names=NAMES, bound=Fraction(1))
    with pytest.raises(RecollectError, match="tickets"):
        check_counts(TIMELINE, [8, 2, 0], 10, names=NAMES)


def test_counts_must_sum_to_the_rows() -> None:
    with pytest.raises(RecollectError, match="sum to 9 of 10"):
        check_counts(TIMELINE, [7, 2, 0], 10, names=NAMES, bound=Fraction(5))


@pytest.mark.parametrize("source", [-1, 3])
def test_rows_of_no_source_are_refused(source: int) -> None:
    with pytest.raises(RecollectError, match="no source"):
        RatioCount.start(NAMES, SHARES).extended(np.array([0, source]))


def test_no_rows_change_nothing() -> None:
    count = RatioCount.start(NAMES, SHARES)
    assert count.extended(np.array([], dtype=np.int64)) == count


def test_the_bound_of_the_schedule_is_tijdemans() -> None:
    assert [schedule_bound(k) for k in (1, 2, 4)] == [0, Fraction(1, 2), Fraction(5, 6)]
