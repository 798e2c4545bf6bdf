"""Findings: spans of identifiers in a text, and how overlapping ones are settled."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from unicodedata import category


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One identifier in a text: characters `start` up to `end`."""

    entity_type: str
    start: int
    end: int
    score: float
    stage: str = "pattern"
    """What found it: `known`, `pattern`, `tagger`, `quasi`, `verifier` or `document`."""

    def __len__(self) -> int:
        return self.end - self.start

    def moved(self, by: int) -> Finding:
        """The same finding in a text that begins elsewhere."""
        return replace(self, start=self.start + by, end=self.end + by)


# A character that is written as "&eacute;" or "\\u00e9" is not cut in two.
_REFERENCE = re.compile(r"&(?:#\w{2,6}|[A-Za-z]{2,8});|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")
_VAGUE = frozenset({"CODE", "DATE_TIME"})


def settle(findings: Iterable[Finding], text: str) -> list[Finding]:
    """Disjoint findings in text order that cover everything the given ones covered.

    The longer finding wins a character; of equally long ones the more certain. What sticks out of
    the loser stays a finding of its own, so that no detected character is lost, unless it is mere
    punctuation.
    """
    winners: list[Finding] = []
    for finding in sorted(
        _united(findings), key=lambda f: (-_rank(f, text), f.start, f.entity_type)
    ):
        for part in _outside(finding, winners, text):
            insort(winners, part, key=_start)
    return winners


def _united(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with overlapping ones of one type made one."""
    united: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.entity_type, f.start, f.end)):
        last = united[-1] if united else None
        if last and last.entity_type == finding.entity_type and finding.start < last.end:
            end, score = max(last.end, finding.end), max(last.score, finding.score)
            united[-1] = replace(last, end=end, score=score)
        else:
            united.append(finding)
    return united


def _rank(finding: Finding, text: str) -> float:
    # Length first: "MG Road 12, 560001" must not fall apart because its PIN code is more certain.
    # A telling type counts twice: an address is still one where a code covers a word more.
    telling = 1 if finding.entity_type in _VAGUE else 2
    return telling * len(finding) + finding.score / 2


def _start(finding: Finding) -> int:
    return finding.start


def _outside(finding: Finding, winners: Sequence[Finding], text: str) -> list[Finding]:
    """What of a finding lies in none of the winners, which are disjoint and in text order."""
    pieces = [finding]
    # Only its neighbours can overlap it: a text may hold tens of thousands of findings.
    first = max(bisect_right(winners, finding.start, key=_start) - 1, 0)
    last = bisect_left(winners, finding.end, key=_start)
    for winner in winners[first:last]:
        pieces = [part for piece in pieces for part in _minus(piece, winner)]
    return [
        trimmed
        for piece in pieces
        if (trimmed := trim(piece, text)) is not None
        and (len(trimmed) > 1 or len(finding) == 1 or text[trimmed.start].isdigit())
    ]


def _minus(piece: Finding, winner: Finding) -> list[Finding]:
    if piece.end <= winner.start or winner.end <= piece.start:
        return [piece]
    sides = (
        replace(piece, end=min(piece.end, winner.start)),
        replace(piece, start=max(piece.start, winner.end)),
    )
    return [side for side in sides if side.start < side.end]


def trim(finding: Finding, text: str) -> Finding | None:
    """The finding without white space and punctuation at its edges; None if nothing is left."""
    start, end = finding.start, finding.end
    while start < end and not (is_letter(text[start]) or text[start] in "+(@#"):
        if text[start] in "&\\" and _REFERENCE.match(text, start, end):
            break
        start += 1
    while start < end and not (is_letter(text[end - 1]) or text[end - 1] in ")"):
        if text[end - 1] == ";" and _ends_in_reference(text, max(start, end - 10), end):
            break
        end -= 1
    if not any(character.isalnum() for character in text[start:end]):
        return None
    return replace(finding, start=start, end=end)


def is_letter(character: str) -> bool:
    """Whether it is a part of words: a letter, a digit, or a vowel sign, as Hindi has them."""
    return character.isalnum() or (character != "" and category(character)[0] == "M")


def _ends_in_reference(text: str, start: int, end: int) -> bool:
    return any(match.end() == end for match in _REFERENCE.finditer(text, start, end))


def split_at(findings: Iterable[Finding], boundaries: Sequence[tuple[int, int]]) -> list[Finding]:
    """The findings cut to the (start, end) ranges of messages; none spans two of them.

    Args:
        findings: in whichever order.
        boundaries: disjoint, in text order.
    """
    starts = [start for start, _ in boundaries]
    cut: list[Finding] = []
    for finding in findings:
        # Only the messages that it touches: a conversation may have thousands.
        for start, end in boundaries[max(bisect_right(starts, finding.start) - 1, 0) :]:
            if start >= finding.end:
                break
            if finding.start < end:
                cut.append(
                    replace(finding, start=max(finding.start, start), end=min(finding.end, end))
                )
    return cut
