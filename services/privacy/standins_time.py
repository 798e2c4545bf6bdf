"""Stand-ins for dates and ages: one person's are all moved alike, so that they still fit together.

The offset is drawn for the subject, not for the date: intervals between a person's dates stay, and
knowing one date of somebody tells nothing of anybody else's (date shifting, Hripcsak et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import regex

from .bridges import LEAD_OF_DATE
from .draw import Draw
from .spelled import NUMBER_WORDS, number_of, words_of_number
from .standins_quasi import PART, like, make_amount
from .vocabulary import DECADES, FEASTS, MONTHS, ORDINALS, SEASONS, TIMES_OF_DAY

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
_OLDEST_AGE = 120
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH = r"(?:" + "|".join((*MONTHS, *(f"{month[:3]}t?\\.?(?![a-z])" for month in MONTHS))) + ")"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_PIECE = regex.compile(
    rf"(?P<date>(?<!\d)(?:\d{{4}}([-/])\d{{1,2}}\2\d{{1,2}}|\d{{1,2}}([-/.])\d{{1,2}}\3(?:\d{{4}}|\d\d))(?!\d)"
    rf"|\b{_DAY}[ -](?:of )?{_MONTH},?[ -]\d{{4}}\b|\b{_MONTH} {_DAY},? \d{{4}}\b"
    rf"|\b{_DAY} (?:of )?{_MONTH}\b|\b{_MONTH} {_DAY}\b(?!:)"
    rf"|\b{_MONTH},? \d{{4}}\b|\b\d\d/\d{{4}}\b)"
    r"|(?P<clock>(?<!\d)\d{1,2}:\d\d(?::\d\d)?(?!\d))"
    rf"|\b(?P<weekday>(?:{'|'.join(day[:3] for day in _WEEKDAYS)})(?:s|nes|rs|ur)?(?:day)?)(?=s?\b)"
    rf"|\b(?P<month>{_MONTH})|\b(?P<year>\d{{4}})(?=s?\b)|(?P<number>\d+)",
    regex.IGNORECASE,
)


_LEAD = regex.compile(LEAD_OF_DATE)


def make_date(value: str, draw: Draw) -> str:
    """The date moved by the subject's days; of part of a date, that part."""
    lead = _LEAD.match(value)
    start = lead.end() if lead else 0
    return value[:start] + _moved(value[start:], draw, draw.days(), 0)


def make_birth(value: str, draw: Draw) -> str:
    """A birth date moved by the subject's days and years: `make_age` moves the age back."""
    return _moved(value, draw, draw.days(), draw.years())


def make_age(value: str, draw: Draw) -> str:
    """The age that somebody born by the subject's years later has."""
    number = regex.search(r"\d{1,3}", value)
    if number is None:
        return _age_in_words(value, draw)
    new = min(max(int(number.group()) - draw.years(), 0), _OLDEST_AGE)
    if new == int(number.group()):
        new += 1
    return value[: number.start()] + str(new) + value[number.end() :]


def _age_in_words(value: str, draw: Draw) -> str:
    written = NUMBER_WORDS.search(value)
    age = number_of(written.group()) if written else None
    if written is None or age is None:
        return make_amount(value, draw)
    new = min(max(age - draw.years(), 1), 99)
    spelled = like(written.group(), words_of_number(new if new != age else age % 98 + 1))
    return value[: written.start()] + spelled + value[written.end() :]


def make_time(value: str, draw: Draw) -> str:
    """A time of day for a time of day; of a duration, other numbers."""
    clock = _CLOCK.search(value)
    if clock is None:
        return make_amount(value, draw)
    halves = regex.match(r" ?[ap]\.?m", value[clock.end() :], regex.I) is not None
    new = _other_time(clock.group(), draw, value.lower(), halves=halves)
    return value[: clock.start()] + new + value[clock.end() :]


_CLOCK = regex.compile(
    r"(?<!\d)\d{1,2}(?:[:.h]\d\d){1,2}(?!\d)|(?<!\d)\d{1,2}(?= ?[ap]\.?m)"
    r"|(?<!\d)\d{4}(?= ?h(?:rs|ours)?\b)",
    regex.I,
)


def _other_time(written: str, draw: Draw, seed: str, *, halves: bool = False) -> str:
    """Another time of day; of one of two halves of a day, an hour from 1 to 12."""
    hour = str(1 + draw.number(seed, 12, "hour") if halves else draw.number(seed, 24, "hour"))
    if len(written) == 4 and written.isdigit():
        return f"{hour:0>2}{draw.number(seed, 60, 'minute'):02d}"
    marks = regex.findall(r"[:.hH]", written)
    rest = "".join(f"{mark}{draw.number(seed, 60, str(i)):02d}" for i, mark in enumerate(marks))
    width = len(regex.split(r"[:.hH]", written)[0])
    return (hour if halves else hour.zfill(width)) + rest


def _like_day(written: str, day: int) -> str:
    """A day of the month, with a nought before it where the old one had one."""
    return str(day).zfill(len(written) if written.startswith("0") else 1)


def _moved(value: str, draw: Draw, days: int, years: int) -> str:
    """Each date of the value moved alike; what is none of one changes to others."""
    seed = value.lower()

    def piece_for(match: regex.Match[str]) -> str:
        piece: str = match.group()
        label = str(match.start())
        if match["date"]:
            return _moved_date(piece, days, years) or _moved_parts(piece, draw)
        if match["clock"]:
            return _other_time(piece, draw, seed + label)
        if match["weekday"]:
            return _weekday(piece, days)
        if match["year"] and value[match.end() : match.end() + 1] in {"s", "S"}:
            return str(int(piece) + (10 if days > 0 else -10))
        if match["number"]:
            return _like_day(piece, 1 + draw.number(seed, 28, label))
        return _moved_parts(piece, draw)

    whole = _moved_date(value, days, years)
    if whole is not None:
        return whole
    new = str(_PIECE.sub(piece_for, value))
    return new if new != value else _moved_parts(value, draw)


def _weekday(written: str, days: int) -> str:
    """The day of the week so many days later, written as short or as long; never the same day."""
    index = next(i for i, day in enumerate(_WEEKDAYS) if day[:3].lower() == written[:3].lower())
    new = _WEEKDAYS[(index + (days % 7 or 1)) % 7]
    return like(written, new if written.lower().endswith("day") else new[:3])


def whole_date(value: str) -> tuple[date, str] | None:
    """The only date with a year that a value holds, and how it is written for `strftime`.

    Where it names no day, the date is of the middle of its month.
    """
    dates = [match["date"] for match in _PIECE.finditer(value) if match["date"]]
    parsed = _parsed(_plain(dates[0])) if len(dates) == 1 else None
    return parsed if parsed is not None and "%y" in parsed[1].lower() else None


def _plain(value: str) -> str:
    plain = regex.sub(r"(?<=\d)(?:st|nd|rd|th)\b|\.(?=\s)", "", value)
    plain = regex.sub(r"(?<=\d) of\b", "", plain)
    return str(regex.sub(r"(?i)\b(sep)t\b", r"\1", plain))


def _moved_date(value: str, days: int, years: int) -> str | None:
    plain = _plain(value)
    parsed = _parsed(plain)
    if parsed is None:
        return None
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
            pool = next((pool for pool in _POOLS if part.lower() in pool), ())
            others = [word for word in pool if word != part.lower()]
            return like(part, draw.choice(seed, others, label)) if others else part
        if len(part) == 4:
            return str(max(1000, int(part) + (1 if draw.days() > 0 else -1)))
        return _like_day(part, 1 + draw.number(seed, 28, label))

    new = str(PART.sub(part_for, value))
    if new != value:
        return new
    pool = TIMES_OF_DAY if seed in TIMES_OF_DAY else MONTHS if seed in _MONTH_NAMES else FEASTS
    return like(value, draw.choice(seed, pool))


# Words of a date that may be others; of a number in two words, its first is no day's.
_POOLS = (SEASONS, DECADES, tuple(word for word in ORDINALS if "-" not in word), TIMES_OF_DAY)

TIME_MAKERS: dict[str, Callable[[str, Draw], str]] = {
    "AGE": make_age,
    "DATE": make_date,
    "DATE_OF_BIRTH": make_birth,
    "DURATION": make_time,
}
