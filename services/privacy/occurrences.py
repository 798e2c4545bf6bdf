"""Occurrences: where a detected value stands again, at places that no recognizer marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .finding import Finding
from .gazetteer import gazetteer

# A value of letters only, or a short one, counts where it stands as a word of its own; a longer
# one with digits or an at sign counts inside other words as well.
_MIN_INSIDE_LENGTH = 6


def occurrences(text: str, values: Mapping[str, str]) -> Iterator[Finding]:
    """Findings for each occurrence of the values (value: entity type) in the text."""
    lowered = _lower(text)
    for value, entity_type in values.items():
        for start in _starts(text, lowered, value, entity_type):
            yield Finding(entity_type=entity_type, start=start, end=start + len(value), score=0.4)


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
    # "Mark" is not to take "mark it as sent" with it.
    exact = entity_type == "PERSON" and value.lower() in gazetteer().word_names
    haystack, needle = (text, value) if exact else (lowered, _lower(value))
    anywhere = len(value) >= _MIN_INSIDE_LENGTH and not value.replace(" ", "").isalpha()
    start = haystack.find(needle)
    while start >= 0:
        if anywhere or _is_word(haystack, start, start + len(needle)):
            yield start
        start = haystack.find(needle, start + 1)


def _is_word(text: str, start: int, end: int) -> bool:
    before = text[start - 1 : start]
    after = text[end : end + 1]
    return not (before.isalnum() or after.isalnum())
