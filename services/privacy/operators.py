"""Operators other than surrogates: tags, masks, nothing, and generalisation."""

from __future__ import annotations

from datetime import date

import regex

from .policy import Operator
from .spelled import NUMBER_WORDS, number_of

_YEAR = regex.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)")
_NUMBER = regex.compile(r"\d{1,3}")
OLDEST = 90
"""Ages from here on are one class: 45 CFR 164.514(b)(2)(i)(C)."""


def replacement(operator: Operator, entity_type: str, value: str) -> str:
    """What stands in place of a value under an operator that needs no key."""
    if operator is Operator.DROP:
        return ""
    if operator is Operator.MASK:
        return "".join("*" if character.isalnum() else character for character in value)
    if operator is Operator.GENERALISE:
        return _general(entity_type, value) or _tag(entity_type)
    return _tag(entity_type)


def _tag(entity_type: str) -> str:
    return f"[{entity_type}]"


def _general(entity_type: str, value: str) -> str | None:
    if entity_type in {"DATE_TIME", "DATE_OF_BIRTH"}:
        year = _YEAR.search(value)
        if year is None or _is_of_the_oldest(entity_type, int(year.group())):
            return None
        return year.group()
    if entity_type == "AGE" and (age := _age(value)) is not None:
        decade = age // 10 * 10
        return f"{OLDEST}+" if age >= OLDEST else f"{decade}-{decade + 9}"
    return None


def _is_of_the_oldest(entity_type: str, year: int) -> bool:
    """Whether a year of birth shows an age that belongs to the one class of the oldest."""
    return entity_type == "DATE_OF_BIRTH" and date.today().year - year >= OLDEST


def _age(value: str) -> int | None:
    if number := _NUMBER.search(value):
        return int(number.group())
    spelled = NUMBER_WORDS.search(value)
    return number_of(spelled.group()) if spelled else None
