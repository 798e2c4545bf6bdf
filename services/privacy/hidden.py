"""Hidden identifiers: those that a line break cuts in two.

Patterns read one line. Where a line ends in what may be half an identifier, they read it again with
its other half. What an encoding hides is in `encoded`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The white space and the quotation marks of mails that stand between two lines.
_BREAK = re.compile(r"(?<=\S)[ \t]*\r?\n[ \t>|]*(?=\S)")
_SPAN = 48
"""Characters of each line that are read again."""
_JOINTS = "@.-_+/:"
_UNMISTAKABLE = frozenset({"EMAIL_ADDRESS", "IP_ADDRESS", "MAC_ADDRESS", "US_SSN", "UUID"})
CROSSING = _UNMISTAKABLE | {
    "ACCOUNT_ID", "CREDIT_CARD", "CRYPTO", "DATE_OF_BIRTH", "IBAN_CODE", "NATIONAL_ID", "ORDER_ID",
    "PHONE_NUMBER", "TRACKING_ID",
}  # fmt: skip
"""Entity types that are looked for over the end of a line."""
_SURE = 0.7
"""Score of what a telling word led to, or has passed a check digit."""
_LEAST = {"PHONE_NUMBER": 0.5}


@dataclass(frozen=True, slots=True)
class Joined:
    """Two halves of a text as one line, with the way back."""

    text: str
    cut: int
    """Where the second half begins in the joined text."""
    glue: int
    """Characters between the halves."""
    first: int
    """Place of the first half in the text."""
    second: int
    """Place of the second half."""

    def is_telling(self, entity_type: str, start: int, score: float) -> bool:
        """Whether a finding across the halves is one: columns of numbers stand over one another."""
        before, after = self.text[: self.cut - self.glue], self.text[self.cut :]
        in_sentence = any(map(str.isalpha, before))
        return (
            entity_type in _UNMISTAKABLE
            or (
                score >= _LEAST.get(entity_type, _SURE)
                and (in_sentence or len(before) != len(after))
            )
            or before[-1] in "-/)"
            or after[0] in "-/"
            or self.text[start] == "+"
        )

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """The span in the text of one in the joined halves; None if it lies in one of them."""
        if start >= self.cut - self.glue or end <= self.cut:
            return None
        return self.first + start, self.second + end - self.cut


def joined_lines(text: str) -> Iterator[Joined]:
    """Every place where the end of a line and the next may be one identifier."""
    for match in _BREAK.finditer(text):
        start, stop = match.span()
        before = text[max(0, start - _SPAN) : start]
        before = before[before.rfind("\n") + 1 :]
        after = text[stop : stop + _SPAN].partition("\n")[0]
        if before.strip().isdigit() and after.strip().isdigit():
            # A column of numbers.
            continue
        for glue in _glues(before.split()[-1], after.split()[0]):
            line = before + glue
            yield Joined(line + after, len(line), len(glue), start - len(before), stop)


def _glues(left: str, right: str) -> list[str]:
    """By what two words over a line break may belong together, if at all."""
    numbers = left[-1].isdigit() and right[0].isdigit()
    if numbers:
        return ["", " "]
    if "@" in left or left[-1] == "@" or right[0] == "@":
        return [""]
    if "@" in right:
        # "write to / rosa@…" is no address "torosa@…".
        return [""] if any(c.isdigit() or c in _JOINTS for c in left) else []
    digits = any(map(str.isdigit, left)) and any(map(str.isdigit, right))
    if digits and (left[-1] in _JOINTS or right[0] in _JOINTS):
        return [""]
    if digits and left.isalnum() and right[:4].isalnum():
        return ["", " "]
    # "September / 14, 1995", "(414) / 724-3617".
    return [" "] if any(map(str.isdigit, left)) or any(map(str.isdigit, right)) else []
