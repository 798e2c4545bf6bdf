"""Stand-ins for dates and ages: one person's are all moved alike, so that they still fit together.

The offset is drawn for the subject, not for the date: intervals between a person's dates stay, and
knowing one date of somebody tells nothing of anybody else's (date shifting, Hripcsak et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import regex

from .draw import Draw
from .standins_quasi import PART, like, make_amount
from .vocabulary import MONTHS

_WHOLE = (
    "%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y",
    "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%d.%m.%y", "%d %B %Y", "%d %b %Y", "%B %d, %Y",
    "%B %d %Y", "%b %d, %Y", "%b %d %Y", "%d-%b-%Y", "%d-%B-%Y", "%d %B, %Y", "%d %b, %Y",
)  # fmt: skip
_WITHOUT_YEAR = ("%d %B", "%B %d", "%d %b", "%b %d")
_WITHOUT_DAY = ("%B %Y", "%b %Y", "%B, %Y", "%m/%Y")
_ANY_YEAR = 2001
_MID_MONTH = 15
_MONTH_NAMES = {name.lower() for month in MONTHS for name in (month, month[:3])}
_PADDED = regex.compile(r"(?<!\d)0(?=\d(?!\d))")
_YEAR_DIGITS = 4
_OLDEST_AGE = 120


def make_date(value: str, draw: Draw) -> str:
    """The date moved by the subject's days; of part of a date, that part."""
    return _moved(value, draw, draw.days(), 0)


def make_birth(value: str, draw: Draw) -> str:
    """A birth date moved by the subject's days and years: `make_age` moves the age back."""
    return _moved(value, draw, draw.days(), draw.years())


def make_age(value: str, draw: Draw) -> str:
    """The age that somebody born by the subject's years later has."""
    number = regex.search(r"\d{1,3}", value)
    if number is None:
        return make_amount(value, draw)
    new = min(max(int(number.group()) - draw.years(), 0), _OLDEST_AGE)
    if new == int(number.group()):
        new += 1
    return value[: number.start()] + str(new) + value[number.end() :]


def _moved(value: str, draw: Draw, days: int, years: int) -> str:
    plain = regex.sub(r"(?<=\d)(?:st|nd|rd|th)\b|(?<=\d) of\b|\.(?=\s)", "", value)
    parsed = _parsed(plain)
    if parsed is None:
        return _moved_parts(value, draw)
    found, form = parsed
    moved = _later(found, days, years).strftime(form)
    if moved.lower() == plain.lower():
        # A month alone may stay the same month: the next one, then.
        moved = _later(found, days + (31 if days > 0 else -31), years).strftime(form)
    if _PADDED.search(plain) is None:
        moved = _PADDED.sub("", moved)
    return moved.upper() if value.isupper() else moved.lower() if value.islower() else moved


def _later(day: date, days: int, years: int) -> date:
    try:
        return day + timedelta(days=days + round(365.25 * years))
    except OverflowError:
        return day - timedelta(days=abs(days))


def _parsed(text: str) -> tuple[date, str] | None:
    for form in _WHOLE:
        try:
            return datetime.strptime(text, form).date(), form
        except ValueError:
            continue
    for form in _WITHOUT_YEAR:
        try:
            return datetime.strptime(f"{text} {_ANY_YEAR}", f"{form} %Y").date(), form
        except ValueError:
            continue
    for form in _WITHOUT_DAY:
        try:
            return datetime.strptime(text, form).date().replace(day=_MID_MONTH), form
        except ValueError:
            continue
    return None


def _moved_parts(value: str, draw: Draw) -> str:
    """What is no date as a whole: years move by one, months and days to others."""
    seed = value.lower()

    def part_for(match: regex.Match[str]) -> str:
        part: str = match.group()
        label = str(match.start())
        if part.lower() in _MONTH_NAMES:
            others = [m for m in MONTHS if not m.lower().startswith(part.lower()[:3])]
            new = draw.choice(seed, others, label)
            return like(part, new if len(part) > 3 or part.lower() == "may" else new[:3])
        if not part.isdigit():
            return part
        if len(part) == _YEAR_DIGITS:
            return str(max(1000, int(part) + (1 if draw.days() > 0 else -1)))
        return str(1 + draw.number(seed, 28, label)).zfill(min(len(part), 2))

    new = str(PART.sub(part_for, value))
    return new if new != value else like(value, draw.choice(seed, MONTHS))


TIME_MAKERS: dict[str, Callable[[str, Draw], str]] = {
    "AGE": make_age,
    "DATE": make_date,
    "DATE_OF_BIRTH": make_birth,
}
