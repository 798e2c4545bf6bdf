"""Replacing: the messages of an example as one text, and back with stand-ins in their places."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message
from .finding import Finding
from .occurrences import title_before
from .surrogates import normalise

SEPARATOR = "\n\n"
"""What stands between the messages of an example that are read as one text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """One identifier and its stand-in: raw text, never to be stored or logged."""

    finding: Finding
    original: str
    surrogate: str


def joined(messages: Sequence[Message], max_characters: int) -> tuple[str, list[tuple[int, int]]]:
    """All messages as one text, and where in it each of them lies."""
    ranges: list[tuple[int, int]] = []
    offset = 0
    for number, message in enumerate(messages):
        length = len(message.content)
        if length > max_characters:
            raise RecollectError(
                Reason.INPUT_TOO_LARGE,
                f"The message has {length} characters; the policy allows {max_characters}.",
                where=f"messages[{number}]",
                fix="Split the message, or raise max_characters in the policy.",
            )
        ranges.append((offset, offset + length))
        offset += length + len(SEPARATOR)
    return SEPARATOR.join(message.content for message in messages), ranges


def kinds_of(text: str, findings: Sequence[Finding]) -> dict[str, str]:
    """One kind for each value: a value found under two labels gets one stand-in.

    A single word that ends a full name of the same example is that person's surname.
    """
    kinds: dict[str, str] = {}
    surnames = set()
    for finding in findings:
        value = normalise(text[finding.start : finding.end])
        kinds.setdefault(value, finding.entity_type)
        if finding.entity_type == "PERSON" and " " in value:
            surnames.add(value.rsplit(" ", 1)[1])
    for finding in findings:
        value = normalise(text[finding.start : finding.end])
        alone = finding.entity_type == "PERSON" and " " not in value
        if alone and (value in surnames or title_before(text, finding.start)):
            kinds[value] = "SURNAME"
    return kinds


def with_replacements(
    text: str, ranges: Sequence[tuple[int, int]], replacements: Sequence[Replacement]
) -> list[str]:
    """Contents of the messages with the replacements made; findings are in text order."""
    contents = []
    rest = deque(replacements)
    for start, end in ranges:
        parts: list[str] = []
        while rest and rest[0].finding.start < end:
            exchange = rest.popleft()
            parts += text[start : exchange.finding.start], exchange.surrogate
            start = exchange.finding.end
        contents.append("".join([*parts, text[start:end]]))
    return contents
