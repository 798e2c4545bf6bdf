"""Numbers as English says them: from one to ninety-nine, and digit by digit."""

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


_ZEROS = ("zero", "oh", "o", "nought", "naught", "nil")
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_SPOKEN = regex.compile(
    rf"\b(?:(?P<times>{'|'.join(_TIMES)})[ -])?"
    rf"(?:(?P<digit>{'|'.join((*_ZEROS, *_ONES[1:10]))}|(?<=[a-z][ -])\d)"
    rf"|(?P<pair>{'|'.join((*_TENS, *_ONES[10:]))}))\b|(?P<digits>\d+)",
    regex.IGNORECASE,
)

_FILLERS = regex.compile(r"\b(?:uh|um|erm?|and|then|dash|hyphen|space)\b", regex.IGNORECASE)


def spoken_digits(text: str) -> list[str]:
    """The digits that each word of a number says: "double nine" says "99", "12" itself."""
    return [_said(match) for match in _SPOKEN.finditer(text)]


def is_spoken(text: str) -> bool:
    """Whether the text is a number of which two digits or more are said in words."""
    said = sum(match["digit"] is not None for match in _SPOKEN.finditer(text))
    return said > 1 and not any(map(str.isalpha, _FILLERS.sub("", _SPOKEN.sub("", text))))


def respoken(text: str, digits: str) -> str:
    """The number with other digits, said in the same way; what is too long is said first."""
    words = list(_SPOKEN.finditer(text))
    zeros = (word["digit"].lower() for word in words if word["digit"])
    zero = next((word for word in zeros if word in _ZEROS), "zero")
    left, new, shouted = digits, text, text.isupper()
    for place, word in reversed(list(enumerate(words))):
        width = len(_said(word)) if place else len(left)
        said, left = left[len(left) - width :], left[: max(len(left) - width, 0)]
        if word["digits"] is None:
            said = " ".join(zero if d == "0" else _ONES[int(d)] for d in said)
            said = said.upper() if shouted else said
        new = new[: word.start()] + said + new[word.end() :]
    return new.lstrip(" ,.-/")


def _said(word: regex.Match[str]) -> str:
    if word["digits"] is not None:
        return str(word["digits"])
    if word["pair"] is not None:
        number = number_of(word["pair"]) or 0
        # "twenty" in a number that is read aloud is 2 and 0.
        return f"{number:02d}" * _TIMES.get((word["times"] or "").lower(), 1)
    digit = word["digit"].lower()
    digit = "0" if digit in _ZEROS else digit if digit.isdigit() else str(_ONES.index(digit))
    return digit * _TIMES.get((word["times"] or "").lower(), 1)
