"""Numbers from one to ninety-nine as English spells them."""

from __future__ import annotations

import regex

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

NUMBER_WORDS = regex.compile(
    rf"\b(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ONES[1:10])}))?"
    rf"|{'|'.join(reversed(_ONES[1:]))})\b",
    regex.IGNORECASE,
)
"""A spelled number."""


def number_of(words: str) -> int | None:
    """The number that is spelled; None if it is none of these."""
    tens, _, ones = words.lower().replace(" ", "-").partition("-")
    if tens in _TENS:
        value = 10 * (_TENS.index(tens) + 2)
        return value + (_ONES.index(ones) if ones in _ONES else 0)
    return _ONES.index(tens) if tens in _ONES else None


def words_of_number(number: int) -> str:
    """How a number from 1 to 99 is spelled: "seventy-one"."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
