"""Ladders: a value of an attribute from exact to nothing, one rung for each level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import regex

from ..operators import OLDEST
from ..spelled import NUMBER_WORDS, number_of
from ..standins_time import whole_date
from ..surrogates import normalise
from ..vocabulary import MONTHS
from .classes import Ladder, Levels
from .geography import whereabouts
from .options import ATTRIBUTES, NAMES
from .trades import group_of

LEVELS: Mapping[str, tuple[str, ...]] = {
    "age": ("exact", "5 years", "10 years", "none"),
    "birth": ("exact", "month", "year", "decade", "none"),
    "date": ("exact", "month", "year", "decade", "none"),
    "demographic": ("exact", "group", "none"),
    "place": ("exact", "region", "country", "none"),
}
"""Of each attribute the names of its levels."""
HEIGHTS: Levels = tuple(len(LEVELS[name]) - 1 for name in NAMES)
"""The highest level of each attribute, at which nothing is told."""
NOTHING = ""

_NUMBER = regex.compile(r"\d{1,3}")
_BELOW_A_YEAR = regex.compile(r"(?i)\b(?:months?|weeks?|days?)\b")
_MONTHS_A_YEAR = 12
_YEAR = regex.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)")
_DECADE = regex.compile(r"(?<!\d)((?:1[89]|20)\d)0['’]?s")
_MONTH = regex.compile(
    r"(?i)\b(?:" + "|".join(f"(?P<m{n}>{m}|{m[:3]})" for n, m in enumerate(MONTHS)) + r")\b"
)


@lru_cache(maxsize=1 << 16)
def ladder(entity_type: str, value: str) -> Ladder:
    """How the value of a finding is told at each level of its attribute.

    What tells nothing of anybody ("yesterday", "Monday") is nothing from the first rung on.

    Args:
        entity_type: one of `ATTRIBUTES`.
        value: as it stands in the text.
    """
    return _MAKERS[ATTRIBUTES[entity_type]](" ".join(value.split()))


def shown(entity_type: str, value: str, level: int) -> str:
    """What stands in the text for a value at a level."""
    rungs = ladder(entity_type, value)
    if rungs[level] == rungs[0]:
        return value
    return rungs[level] or f"[{entity_type}]"


def _age(value: str) -> Ladder:
    numbers = [int(number) for number in _NUMBER.findall(value)]
    numbers = numbers or [n for w in NUMBER_WORDS.findall(value) if (n := number_of(w)) is not None]
    if not numbers:
        return (normalise(value), NOTHING, NOTHING, NOTHING)
    if _BELOW_A_YEAR.search(value):
        years = {number // _MONTHS_A_YEAR for number in numbers}
        exact = normalise(value)
    else:
        years = set(numbers)
        exact = "-".join(map(str, dict.fromkeys(numbers)))
    exact += "+" if value.endswith("+") else ""
    fives = _band(years, 5) or exact
    return (exact, fives, _band(years, 10) or fives, NOTHING)


def _band(years: set[int], width: int) -> str:
    """The band that holds all of the years; nothing, if none does."""
    first = {min(year, OLDEST) // width * width for year in years}
    if len(first) != 1:
        return NOTHING
    (least,) = first
    return f"{least}+" if least >= OLDEST else f"{least}-{least + width - 1}"


def _date(value: str) -> Ladder:
    years = sorted({int(year) for year in _YEAR.findall(value)})
    decades = [f"{decade}0s" for decade in _DECADE.findall(value)]
    if decades:
        return _of_decades(value, decades)
    whole = whole_date(value)
    months = {_month(match) for match in _MONTH.finditer(value)}
    exact = normalise(value)
    if whole is not None and len(years) <= 1:
        day, form = whole
        years, months = [day.year], {MONTHS[day.month - 1]}
        exact = day.isoformat() if "%d" in form else f"{MONTHS[day.month - 1]} {day.year}"
    if not years:
        # A day of no year, or nothing: "yesterday", "at 10:30".
        month = months.pop() if len(months) == 1 else NOTHING
        return (exact if month else NOTHING, month, NOTHING, NOTHING, NOTHING)
    spanned = _spanned([str(year) for year in years])
    only = len(years) == len(months) == 1
    month = f"{months.pop()} {spanned}" if only else spanned
    tens = _spanned(sorted({f"{year // 10}0s" for year in years}))
    return (exact, month, spanned, tens, NOTHING)


def _of_decades(value: str, decades: list[str]) -> Ladder:
    tens = _spanned(decades)
    exact = tens if len(decades) == 1 else normalise(value)
    return (exact, tens, tens, tens, NOTHING)


def _spanned(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]}"


def _month(match: regex.Match[str]) -> str:
    return next(m for n, m in enumerate(MONTHS) if match[f"m{n}"])


def _place(value: str) -> Ladder:
    where = whereabouts(value)
    region = where.region or where.country
    name = normalise(value)
    # "in Poland" and "in Warsaw", told of as in Poland, are alike.
    same = [n for n in (region, where.country) if name.removeprefix("the ") == n.lower()]
    return (same[0] if same else name, region, where.country, NOTHING)


def _demographic(value: str) -> Ladder:
    return (normalise(value), group_of(value), NOTHING)


_MAKERS: Mapping[str, Callable[[str], Ladder]] = {
    "age": _age,
    "birth": _date,
    "date": _date,
    "demographic": _demographic,
    "place": _place,
}
