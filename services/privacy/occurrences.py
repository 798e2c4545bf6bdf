"""The document pass: what was found once is found wherever it stands again.

A value stands again as it is, a full name also by its parts. A title in front of a name goes with
it, since it tells the sex of whom it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import regex

from .finding import Finding, is_letter
from .gazetteer import HONORIFICS, PARTICLES, gazetteer
from .standins_quasi import is_generic

# A value of letters only, or a short one, counts where it stands as a word of its own; a longer
# one with digits or an at sign counts inside other words as well.
_MIN_INSIDE_LENGTH = 6
# What these say is said of others in the same words: "34", "two years", "lawyer".
_STAYING = frozenset({"AGE", "DEMOGRAPHIC", "DURATION", "QUANTITY"})
_CASED = frozenset({"LOCATION", "ORGANIZATION", "DATE_TIME"})
_MIN_TRAVELLING = 3
_MIN_PART = 3
_TITLE = regex.compile(
    r"(?<!\w)(?:" + "|".join(sorted(HONORIFICS, key=len, reverse=True)) + r")\.?[ \n]{1,2}$",
    regex.IGNORECASE,
)
_LONGEST_TITLE = 8
_NAME_WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’-][\p{L}\p{M}]+)*")


def travels(entity_type: str, value: str) -> bool:
    """Whether a value names the same thing wherever it stands in a text."""
    if entity_type in _STAYING:
        return False
    if entity_type == "DATE_TIME":
        # "May" and "7" are words too.
        return sum(map(str.isdigit, value)) >= 4
    if entity_type in _CASED and is_generic(value):
        return False
    if entity_type in _CASED or entity_type == "CODE":
        return sum(map(str.isalnum, value)) >= _MIN_TRAVELLING
    return True


def must_vanish(entity_type: str, value: str) -> bool:
    """Whether a text that still holds the value was not de-identified.

    Not so of dates: a shifted one may fall on another of the same text.
    """
    return entity_type != "DATE_TIME" and travels(entity_type, value)


def occurrences(text: str, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Findings for each occurrence of the found values, and of the parts of found names."""
    lowered = _lower(text)
    values = {text[f.start : f.end]: f.entity_type for f in findings}
    for value, entity_type in values.items():
        for start in _starts(text, lowered, value, entity_type):
            yield _again(entity_type, start, value)
    for part in _parts(values):
        start = text.find(part)
        while start >= 0:
            if _is_word(text, start, start + len(part)):
                yield _again("PERSON", start, part)
            elif _is_family(text, start, start + len(part)):
                yield _again("PERSON", start, f"{part}s")
            start = text.find(part, start + 1)


def _again(entity_type: str, start: int, value: str) -> Finding:
    end = start + len(value)
    return Finding(entity_type=entity_type, start=start, end=end, score=0.4, stage="document")


def _parts(values: Mapping[str, str]) -> dict[str, None]:
    """Words of full names that stand for their bearer alone, as they are written."""
    parts: dict[str, None] = {}
    for value, entity_type in values.items():
        words = _NAME_WORD.findall(value) if entity_type == "PERSON" else ()
        if len(words) < 2:
            continue
        for word in words:
            lowered = word.lower()
            cased = word[0].isupper() or not word.islower()
            if len(word) >= _MIN_PART and cased and lowered not in HONORIFICS | PARTICLES:
                parts[word] = None
    return {part: None for part in parts if part not in values}


def with_titles(findings: Iterable[Finding], text: str) -> list[Finding]:
    """The findings, those of persons with the title that stands before them."""
    return [
        replace(f, start=f.start - len(title_before(text, f.start)))
        if f.entity_type == "PERSON"
        else f
        for f in findings
    ]


def title_before(text: str, start: int) -> str:
    """The title that ends where something starts, with the space behind it; empty if none does."""
    title = _TITLE.search(text[max(start - _LONGEST_TITLE, 0) : start])
    return title.group() if title else ""


def survivors(text: str, values: Mapping[str, str]) -> set[str]:
    """Entity types of the values that stand in the text."""
    lowered = _lower(text)
    return {
        entity_type
        for value, entity_type in values.items()
        if next(_starts(text, lowered, value, entity_type), None) is not None
    }


def _lower(text: str) -> str:
    """Lower case, character by character, so that offsets stay."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _starts(text: str, lowered: str, value: str, entity_type: str) -> Iterator[int]:
    if not travels(entity_type, value):
        return
    # "Mark" is not to take "mark it as sent" with it.
    # And "A." is not in "a letter".
    exact = entity_type in _CASED or (
        entity_type == "PERSON" and (len(value) < 3 or value.lower() in gazetteer().word_names)
    )
    haystack, needle = (text, value) if exact else (lowered, _lower(value))
    # But "1 May 2000" is not in "21 May 2000".
    dated = entity_type in {"DATE_OF_BIRTH", "DATE_TIME"}
    letters = value.replace(" ", "").isalpha()
    anywhere = len(value) >= _MIN_INSIDE_LENGTH and not letters and not dated
    start = haystack.find(needle)
    while start >= 0:
        if anywhere or _is_word(haystack, start, start + len(needle)):
            yield start
        start = haystack.find(needle, start + 1)


def _is_family(text: str, start: int, end: int) -> bool:
    """Whether a name stands in the plural: "the Borgs"."""
    return (
        text[start - 4 : start] == "the "
        and text[end : end + 1] == "s"
        and _is_word(text, start, end + 1)
    )


def _is_word(text: str, start: int, end: int) -> bool:
    return not (is_letter(text[start - 1 : start]) or is_letter(text[end : end + 1]))
