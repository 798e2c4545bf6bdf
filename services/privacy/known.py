"""Known values: identifying columns that came with an example, found where its text has them.

Free recall, no model: the customer's name or account is known, so it is looked for as it is,
whatever its case, and with one typing error where it is long enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import regex

from .deadline import time_left
from .finding import Finding

MIN_LENGTH = 3
MIN_FUZZY_LENGTH = 6


def find_known(text: str, values: Sequence[str], timeout: float) -> Iterator[Finding]:
    """Occurrences of the values in the text.

    Values shorter than three characters are passed over: replacing each "M" or "42" would destroy
    the text and hide nobody.
    """
    for value in dict.fromkeys(value.strip() for value in values):
        if len(value) < MIN_LENGTH:
            continue
        yield from _occurrences(text, value, timeout)
        for part in _name_parts(value):
            yield from _occurrences(text, part, timeout)


def _occurrences(text: str, value: str, timeout: float) -> Iterator[Finding]:
    pattern = _pattern(value)
    for match in pattern.finditer(text, timeout=time_left(timeout)):
        exact = match.group().lower() == value.lower()
        yield Finding(
            entity_type="KNOWN_VALUE",
            start=match.start(),
            end=match.end(),
            score=1.0 if exact else 0.8,
            stage="known",
        )


def _pattern(value: str) -> regex.Pattern[str]:
    between = r"[\s-]*" if _has_digit(value) else r"\s+"
    words = between.join(regex.escape(word) for word in regex.split(r"[\s-]+", value) if word)
    if not _has_digit(value):
        words = between.join(regex.escape(word) for word in value.split())
    # One slip of the pen; not in numbers, where each digit makes another number.
    slips = "{e<=1}" if len(value) >= MIN_FUZZY_LENGTH and not _has_digit(value) else ""
    flags = regex.IGNORECASE | (regex.BESTMATCH if slips else 0)
    # An underscore separates as well: "AB-12345_old".
    return regex.compile(rf"(?<![^\W_])(?:{words}){slips}(?![^\W_])", flags)


def _name_parts(value: str) -> Iterator[str]:
    """First and last name of a full name: text seldom repeats it whole."""
    words = value.split()
    if 2 <= len(words) <= 4 and all(word.replace("-", "").isalpha() for word in words):
        yield from (word for word in words if len(word) >= MIN_LENGTH and word[0].isupper())


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)
