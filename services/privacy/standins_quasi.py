"""Stand-ins for what identifies together with other things: places, bodies, trades, amounts."""

from __future__ import annotations

from collections.abc import Callable

import regex

from .draw import Draw
from .spelled import NUMBER_WORDS, number_of, words_of_number
from .vocabulary import (
    CONDITIONS,
    COUNTRIES,
    DEM_STATUSES,
    ETHNICITIES,
    GENERIC_BODIES,
    NATIONALITIES,
    OCCUPATIONS,
    RANKS,
    RELIGIONS,
    SMALL_NUMBERS,
)

PART = regex.compile(r"\d+|[\p{L}\p{M}]+")
_KEPT_WORDS = """
a an the of and for in on at to st saint new old north south east west northern southern eastern
western upper lower great republic kingdom state states county province region district oblast
city town village municipality island islands bay lake mount river port fort court courts appeal
appeals first instance regional administrative criminal civil constitutional supreme high crown
magistrates tribunal assize security labour juvenile military cassation police department
station directorate prosecutor prosecutors office public general ministry minister justice
foreign affairs interior defence finance health education home council committee commission
board agency service services authority administration embassy university college school academy
institute hospital clinic medical center centre prison detention remand bank insurance company
ltd limited inc incorporated llc llp gmbh ag sa plc corp corporation group holdings partners
sons brothers co association federation union party league society foundation trust church
museum theatre library club fc united airlines airways motors energy media press news radio
times post telecom software solutions systems technologies industries international national
federal central human rights social land registry tax customs cell apartment flat wing ward unit
room block building plot tent sector dormitory barracks pavilion house no number colony staircase
entrance floor authority observatory gazette league command gendarmerie governor constable
"""
_KEPT = frozenset(_KEPT_WORDS.split())
# Of a word in two pools, the first tells.
_POOLS = (
    NATIONALITIES,
    ETHNICITIES,
    RELIGIONS,
    RANKS,
    OCCUPATIONS,
    CONDITIONS,
    DEM_STATUSES,
)
_ILL = regex.compile(
    r"\b(?:\p{L}+(?:itis|ectomy|aemia|opathy|plegia|osis)|dystrophy|syndrome|disease|disorder|cancer|"
    r"tumou?r|depression|dependence|addiction|fever|infection|paralysis|stroke|concussion|injury|"
    r"(?:fractur|amputat|ruptur|dislocat)\w*|broken|disabilit\w+)\b",
    regex.IGNORECASE,
)
_CITIZEN = regex.compile(r"\b(?:national|citizen|subject)(s?)\b")
_COUNTRIES = {name.lower() for name in COUNTRIES}


def is_possessive(word: regex.Match[str]) -> bool:
    """Whether a word is the s of "Frankfurt's"."""
    return word.group() in {"s", "S"} and word.string[word.start() - 1 : word.start()] in {"'", "’"}


def is_generic(value: str) -> bool:
    """Whether a body or place is named by its kind alone: "Supreme Court", "the city"."""
    return all(word.lower() in _KEPT for word in PART.findall(value))


def like(word: str, new: str) -> str:
    """The new word in the case of the old one."""
    if word.islower():
        return new.lower()
    return new.upper() if word.isupper() and len(word) > 2 else new


def make_place(value: str, draw: Draw) -> str:
    """A country for a country, invented towns for towns; words for kinds of places stay."""
    lowered = value.lower()
    if lowered.removeprefix("the ") in _COUNTRIES:
        return like(value, draw.choice(lowered, COUNTRIES))
    return _renamed(value, draw)


def make_body(value: str, draw: Draw) -> str:
    """A body of the same kind with another name; towns in it change as they do elsewhere."""
    if is_generic(value):
        return like(value, draw.choice(value.lower(), GENERIC_BODIES))
    return _renamed(value, draw)


def _renamed(value: str, draw: Draw) -> str:
    # Of the same kind of draw as addresses, so that a town is the same town in all of them.
    towns = Draw(draw.key, "ADDRESS", draw.attempt)
    words = {word.lower() for word in PART.findall(value)}
    kept = _KEPT if words - _KEPT else frozenset()

    def part_for(match: regex.Match[str]) -> str:
        part: str = match.group()
        lowered = part.lower()
        if lowered in kept or is_possessive(match):
            return part
        if part.isdigit():
            return draw.digits(value.lower(), len(part), str(match.start()))
        if len(part) <= 4 and part.isupper():
            letters = "ABCDEFGHIKLMNOPRSTV"
            return "".join(draw.choice(lowered, letters, str(i)) for i in range(len(part)))
        return like(part, towns.surname(lowered))

    return str(PART.sub(part_for, value))


def make_demographic(value: str, draw: Draw) -> str:
    """A nationality for a nationality, a trade for a trade, an illness for an illness."""
    lowered = value.lower()
    for pool in _POOLS:
        if any(lowered == one.lower() for one in pool):
            return _begun_like(value, draw.choice(lowered, pool))
    if citizen := _CITIZEN.search(value):
        return f"{draw.choice(lowered, NATIONALITIES)} {citizen.group()}"
    pool = CONDITIONS if _ILL.search(value) else OCCUPATIONS
    return _begun_like(value, draw.choice(lowered, pool))


def _begun_like(value: str, new: str) -> str:
    """The new description in the case of the old one, which may begin with a capital alone."""
    new = like(value, new)
    return new[0].upper() + new[1:] if value[0].isupper() else new


def make_amount(value: str, draw: Draw) -> str:
    """Other digits, and other number words; units stay."""
    seed = value.lower()

    def part_for(match: regex.Match[str]) -> str:
        part: str = match.group()
        if part.isdigit():
            first = draw.choice(seed, "123456789", f"{match.start()} first")
            return first + draw.digits(seed, len(part) - 1, str(match.start()))
        return part

    def spelled(match: regex.Match[str]) -> str:
        words: str = match.group()
        old = number_of(words) or 0
        new = draw.number(seed, 9 if old < 20 else 90, str(match.start())) + (2 if old < 20 else 10)
        return like(words, words_of_number(new if new != old else new + 1))

    new = str(PART.sub(part_for, NUMBER_WORDS.sub(spelled, value)))
    return new if new != value else draw.choice(seed, SMALL_NUMBERS)


QUASI_MAKERS: dict[str, Callable[[str, Draw], str]] = {
    "DEMOGRAPHIC": make_demographic,
    "LOCATION": make_place,
    "ORGANIZATION": make_body,
    "QUANTITY": make_amount,
}
