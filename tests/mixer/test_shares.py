from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.shares import check_shares, format_percent, format_share, parse_share


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0.7", Fraction(7, 10)),
        (0.7, Fraction(7, 10)),
        ("70%", Fraction(7, 10)),
        ("12.5 %", Fraction(1, 8)),
        ("2/3", Fraction(2, 3)),
        (" 2 / 3 ", Fraction(2, 3)),
        ("1e-5", Fraction(1, 100_000)),
        (1, Fraction(1)),
        (Fraction(1, 7), Fraction(1, 7)),
    ],
)
def test_shares_are_read_as_written(written: object, meant: Fraction) -> None:
    assert parse_share(written) == meant


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_a_share_survives_being_written(one: int, other: int) -> None:
    share = Fraction(min(one, other), max(one, other))
    assert parse_share(format_share(share)) == share


@given(st.integers(10, 10**6))
def test_decimals_are_never_rounded(millionths: int) -> None:
    assert parse_share(f"{millionths / 10**6:.6f}") == Fraction(millionths, 10**6)


@pytest.mark.parametrize(
    "written",
    [-1, "-0.1", "1.01", "101%", "70", "1/0", "", "half", None, True, [1],
     "1e999999999", "9" * 19, float("nan"), float("inf"), "0.000009", "0.5/1", "٣/4"],
)  # fmt: skip
def test_what_is_no_share_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_share(written)


def test_the_sum_is_named_with_what_is_missing() -> None:
    with pytest.raises(RecollectError) as caught:
        check_shares([Fraction(7, 10), Fraction(1, 4)])
    assert caught.value.reason is Reason.MIX_SHARES
    assert "19/20 (95 %)" in caught.value.message
    assert "1/20 (5 %) too little" in caught.value.message


def test_a_sum_above_one_is_named_with_what_is_too_much() -> None:
    with pytest.raises(RecollectError, match=r"1/10 \(10 %\) too much"):
        check_shares([Fraction(7, 10), Fraction(4, 10)])


@pytest.mark.parametrize("shares", [[], [Fraction(0), Fraction(1)], [Fraction(-1), Fraction(2)]])
def test_empty_zero_and_negative_shares_are_refused(shares: list[Fraction]) -> None:
    with pytest.raises(RecollectError, match="above 0"):
        check_shares(shares)


def test_a_source_may_rest_where_that_is_said() -> None:
    check_shares([Fraction(0), Fraction(1)], rest=True)
    assert parse_share("0") == parse_share(0) == 0
    with pytest.raises(RecollectError, match="above 0"):
        check_shares([Fraction(-1), Fraction(2)], rest=True)


def test_the_normalised_mix_is_offered() -> None:
    with pytest.raises(RecollectError) as caught:
        check_shares([Fraction(7, 10), Fraction(2, 10)])
    assert "7/9, 2/9" in caught.value.fix


def test_percent_is_short() -> None:
    assert format_percent(Fraction(1, 3)) == "33.3333 %"
    assert format_percent(Fraction(1, 10)) == "10 %"
