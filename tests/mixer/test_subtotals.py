from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.subtotals import Subtotals

Integers = npt.NDArray[np.int64]


class Series:
    """Terms that anybody can check, and a count of how often one was worked out."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, number: int) -> Integers:
        self.asked.append(number)
        return np.array([[number, 1], [number * number, -number]])

    def total(self, number: int) -> list[list[int]]:
        terms = range(number)
        return [[sum(terms), number], [sum(n * n for n in terms), -sum(terms)]]


@given(st.lists(st.integers(0, 120), min_size=1, max_size=20), st.integers(2, 9))
@settings(max_examples=60, deadline=None)
def test_sums_are_the_same_in_any_order_of_asking(numbers: list[int], most: int) -> None:
    series = Series()
    subtotals = Subtotals(series, (2, 2), most)
    for number in numbers:
        assert subtotals.before(number).tolist() == series.total(number)


@pytest.mark.parametrize("most", [2, 3, 10])
def test_no_seek_works_out_more_terms_than_lie_between_two_kept_sums(most: int) -> None:
    series = Series()
    subtotals = Subtotals(series, (2, 2), most)
    subtotals.before(1000)
    assert series.asked == list(range(1000))
    for number in np.random.default_rng(most).permutation(1001).tolist():
        series.asked.clear()
        subtotals.before(number)
        assert len(series.asked) <= 2 * 1000 / (most - 1)


def test_going_on_works_out_each_term_once() -> None:
    series = Series()
    subtotals = Subtotals(series, (2, 2), 2)
    for number in range(300):
        subtotals.before(number)
        subtotals.before(number)
    assert series.asked == list(range(299))


def test_a_term_that_fails_leaves_the_sums_as_they_were() -> None:
    series = Series()

    def term(number: int) -> Integers:
        if number == 7 and 7 not in series.asked:
            series.asked.append(7)
            raise ValueError("not now")
        return series(number)

    subtotals = Subtotals(term, (2, 2), 3)
    with pytest.raises(ValueError, match="not now"):
        subtotals.before(10)
    assert subtotals.before(10).tolist() == series.total(10)


def test_threads_share_the_sums() -> None:
    series = Series()
    subtotals = Subtotals(series, (2, 2), 4)
    wrong: list[int] = []

    def look(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 200, 50).tolist():
            if subtotals.before(number).tolist() != series.total(number):
                wrong.append(number)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
