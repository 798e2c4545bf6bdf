"""What a demo found: forgetting, gain and shares, as the record has them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.demo.outcome import (
    FORGETTING_BAR,
    GAIN_BAR,
    deviations,
    forgetting,
    gain,
    outcome,
    percent,
    realised,
)
from recollect.services.demo.record import MIX, TASK_ONLY

from .records import GOOD, record, run


def test_forgetting_counts_no_improvement_and_the_ratio_divides_means_over_seeds() -> None:
    assert [round(forgetting(r), 9) for r in GOOD.runs] == [1.0, 1.0, 0.2, 0.2]
    assert [round(g, 9) for r in GOOD.runs if (g := gain(r))] == [1.0, 1.2, 0.95, 1.14]
    result = outcome(GOOD)
    assert result.forgetting_ratio == pytest.approx(0.2)
    assert result.gain_ratio == pytest.approx(2.09 / 2.2)
    assert result.passes
    assert result.finding == (
        "The mix forgot 20\xa0% of what task-only training forgot, "
        "at 95\xa0% of its gain (2 seeds)."
    )


@given(
    value=st.one_of(
        st.floats(0, 2), st.sampled_from([0.4999, 0.49999, 0.8999, 0.9, 0.5, 0.5001, 0.89999])
    )
)
def test_rounding_never_moves_a_ratio_over_a_bar(value: float) -> None:
    shown = float(percent(value).removesuffix("\xa0%")) / 100
    if all(abs(value - bar) > 1e-5 for bar in (FORGETTING_BAR, GAIN_BAR)):
        assert (shown < FORGETTING_BAR) == (value < FORGETTING_BAR)
        assert (shown >= GAIN_BAR) == (value >= GAIN_BAR)


def test_nothing_gained_is_said() -> None:
    runs = [run(arm, 0, gained=-0.1, forgot=(0.1, 0, 0)) for arm in (TASK_ONLY, MIX)]
    assert "gained nothing" in outcome(record(*runs)).finding


def test_realised_shares_are_exact() -> None:
    support = realised(GOOD)[0]
    assert (support.num_rows, support.num_all_rows) == (10, 16)
    share = GOOD.shares[0]
    assert deviations(GOOD.runs[2].steps, share) == [Fraction(1, 3), Fraction(-1, 3)]
    assert support.max_deviation == pytest.approx(1 / 3)
