"""Ladders: each rung is told less exactly, and what is alike on one is alike on all above."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy.anonymity.geography import whereabouts
from recollect.services.privacy.anonymity.ladders import LEVELS, ladder, shown
from recollect.services.privacy.anonymity.options import ATTRIBUTES
from recollect.services.privacy.anonymity.trades import ungrouped
from recollect.services.privacy.vocabulary import COUNTRIES, OCCUPATIONS

PLACES = ("Leeds", "Warsaw", "Poland", "Portland, Oregon", "Oregon", "Atlanta", "Georgia", "Zarn")
some_values = {
    "AGE": st.integers(0, 120).map(str),
    "DATE_TIME": st.dates(date(1900, 1, 1), date(2099, 1, 1)).map(lambda day: f"{day:%d %B %Y}"),
    "DEMOGRAPHIC": st.sampled_from(OCCUPATIONS),
    "LOCATION": st.sampled_from((*PLACES, *COUNTRIES)),
}


@pytest.mark.parametrize("kind", some_values)
def test_what_is_alike_on_a_rung_is_alike_on_all_above(kind: str) -> None:
    @given(st.lists(some_values[kind], min_size=2, max_size=30))
    def holds(found: list[str]) -> None:
        for level in range(len(LEVELS[ATTRIBUTES[kind]]) - 1):
            above: dict[str, set[str]] = defaultdict(set)
            for value in found:
                rungs = ladder(kind, value)
                above[rungs[level]].add(rungs[level + 1])
            assert all(len(told) == 1 for told in above.values())

    holds()


@pytest.mark.parametrize("kind", ATTRIBUTES)
@given(value=st.text(max_size=40))
def test_every_value_has_a_rung_for_each_level_and_ends_in_nothing(kind: str, value: str) -> None:
    rungs = ladder(kind, value)
    assert len(rungs) == len(LEVELS[ATTRIBUTES[kind]])
    assert rungs[-1] == ""


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("AGE", "34 years old", ["34 years old", "30-34", "30-39", "[AGE]"]),
        ("AGE", "thirty-four", ["thirty-four", "30-34", "30-39", "[AGE]"]),
        ("AGE", "94", ["94", "90+", "90+", "[AGE]"]),
        ("AGE", "30-39", ["30-39", "30-39", "30-39", "[AGE]"]),
        ("AGE", "18 months", ["18 months", "0-4", "0-9", "[AGE]"]),
        ("DATE_TIME", "2nd of May, 2019", ["2nd of May, 2019", "May 2019", "2019", "2010s"]),
        ("DATE_OF_BIRTH", "1984-05-02", ["1984-05-02", "May 1984", "1984", "1980s"]),
        ("DATE_TIME", "2019", ["2019", "2019", "2019", "2010s", "[DATE_TIME]"]),
        ("DATE_TIME", "1 May", ["1 May", "May", "[DATE_TIME]", "[DATE_TIME]"]),
        ("DATE_TIME", "yesterday", ["yesterday"] * 5),
        ("LOCATION", "Leeds", ["Leeds", "United Kingdom", "United Kingdom", "[LOCATION]"]),
        ("LOCATION", "Paris, Texas", ["Paris, Texas", "Texas", "United States", "[LOCATION]"]),
        ("LOCATION", "the UK", ["the UK", "United Kingdom", "United Kingdom", "[LOCATION]"]),
        ("LOCATION", "Zarn", ["Zarn", "[LOCATION]", "[LOCATION]", "[LOCATION]"]),
        ("DEMOGRAPHIC", "senior nurse", ["senior nurse", "professional", "[DEMOGRAPHIC]"]),
        ("DEMOGRAPHIC", "diabetes", ["diabetes", "illness", "[DEMOGRAPHIC]"]),
        ("DEMOGRAPHIC", "wizard", ["wizard", "[DEMOGRAPHIC]", "[DEMOGRAPHIC]"]),
    ],
)
def test_how_values_are_told(kind: str, value: str, told: list[str]) -> None:
    assert [shown(kind, value, level) for level in range(len(told))] == told


def test_one_date_is_one_value_however_it_is_written() -> None:
    written = ("2 May 2019", "May 2nd, 2019", "2019-05-02", "Thursday, 2 May 2019")
    assert {ladder("DATE_TIME", value)[0] for value in written} == {"2019-05-02"}


def test_every_trade_of_the_vocabulary_has_a_group() -> None:
    assert ungrouped() == []


def test_a_name_that_may_mean_several_countries_means_none() -> None:
    assert whereabouts("San Juan").country == ""
    assert whereabouts("Warsaw").country == "Poland"
