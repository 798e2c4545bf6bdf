"""Judgement: whether what the second detector finds survived, is a stand-in, or cannot be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import regex

from ..finding import Finding, trim
from ..gazetteer import HONORIFICS, PARTICLES
from ..standin_places import StandIn
from .lookalikes import could_be_stand_in

_WORD = regex.compile(r"[\p{L}\p{M}]+|\d+")
_FEW_DIGITS = 3
_FEW_LETTERS = 3
_TELLING_IN_SMALL_LETTERS = frozenset({"EMAIL_ADDRESS", "URL", "USERNAME"})
_NOBODY = HONORIFICS | PARTICLES | {"madam", "sir", "maam", "mam", "dear"}
_LONGEST_SHAPE = 40
_EVEN = 0.5
"""A tagger or a model that is less sure than this may be wrong as well as right."""
_PROBABILISTIC = frozenset({"tagger", "verifier"})


class Verdict(StrEnum):
    """What a finding in a stored example is."""

    SURVIVING = "surviving"
    """Stored as it came in: no stand-in touches it."""
    UNDECIDABLE = "undecidable"
    """A stand-in covers part of it; or what found it is less sure than not; or nobody kept where
    the stand-ins are, and it looks like one."""
    STAND_IN = "stand-in"
    """A stand-in, and nothing beside it that tells of anybody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A finding in a stored example and what it is; no text of it."""

    verdict: Verdict
    entity_type: str
    message: int
    """Which message of the example, from 0."""
    start: int
    end: int
    stage: str
    """What found it."""
    shape: str
    """Letters as x and X, digits as 9: enough to know its kind by, too little to know it."""


def judge(
    contents: Sequence[str],
    findings: Sequence[Sequence[Finding]],
    stand_ins: Sequence[StandIn] | None,
) -> list[Judged]:
    """Judges the findings in the messages of one example.

    Args:
        contents: of the messages.
        findings: in each of them.
        stand_ins: where the stand-ins are; None where nobody kept it.
    """
    judged = []
    for number, (content, found) in enumerate(zip(contents, findings, strict=True)):
        own = None if stand_ins is None else [s for s in stand_ins if s.message == number]
        for finding in found:
            kept = trim(finding, content)
            if kept is None or _is_nobody(content[kept.start : kept.end]):
                continue
            judged.append(
                Judged(
                    verdict=_verdict(content, kept, own),
                    entity_type=kept.entity_type,
                    message=number,
                    start=kept.start,
                    end=kept.end,
                    stage=kept.stage,
                    shape=shape_of(content[kept.start : kept.end]),
                )
            )
    return judged


def touched(stand_in: StandIn, findings: Iterable[Finding]) -> bool:
    """Whether one of the findings in its message touches a stand-in: then it was found again."""
    return any(f.start < stand_in.end and stand_in.start < f.end for f in findings)


def shape_of(value: str) -> str:
    """The value with its letters as x and X and its digits as 9; cut where it is long."""
    cut = value[:_LONGEST_SHAPE]
    shape = "".join(
        "9" if c.isdecimal() else "X" if c.isupper() else "x" if c.isalnum() else c
        for c in " ".join(cut.split())
    )
    return shape + ("…" if len(value) > _LONGEST_SHAPE else "")


def _verdict(content: str, finding: Finding, own: Sequence[StandIn] | None) -> Verdict:
    value = content[finding.start : finding.end]
    if own is None:
        if could_be_stand_in(finding.entity_type, value):
            return Verdict.UNDECIDABLE
        own = ()
    covering = [s for s in own if s.start < finding.end and finding.start < s.end]
    if not covering:
        unsure = finding.stage in _PROBABILISTIC and finding.score < _EVEN
        return Verdict.UNDECIDABLE if unsure else Verdict.SURVIVING
    rest = "".join(
        " " if any(s.start <= place < s.end for s in covering) else content[place]
        for place in range(finding.start, finding.end)
    )
    return Verdict.UNDECIDABLE if _tells(rest, finding.entity_type) else Verdict.STAND_IN


def _tells(rest: str, entity_type: str) -> bool:
    """Whether what sticks out of a stand-in may be somebody's: a name, or digits."""
    if sum(map(str.isdecimal, rest)) >= _FEW_DIGITS:
        return True
    words = [word for word in _WORD.findall(rest) if word.lower() not in _NOBODY]
    if entity_type in _TELLING_IN_SMALL_LETTERS:
        return any(len(word) >= _FEW_LETTERS for word in words)
    return any(word[0].isupper() and len(word) > 1 for word in words)


def _is_nobody(value: str) -> bool:
    return all(word.lower() in _NOBODY for word in _WORD.findall(value))
