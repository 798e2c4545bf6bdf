"""Bridges: what stands between or before findings and belongs to them.

A tagger reads words, and a small word within a long name is nobody's to it: "National Authority
for Property Restitution", "Bernardette Bianchi née Zammit". A first name that is a word as well
("Rose", "Will") is a name before a surname.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import regex

from .finding import Finding
from .gazetteer import gazetteer

_BODIES = frozenset({"LOCATION", "ORGANIZATION"})
_WITHIN_BODY = regex.compile(
    r" (?:(?:of|for|de|du|des|da|do|dos|del|della|di|van|von|zu|zum|zur|v|na|w|en|y|et|und)"
    r"(?: the| la| les| los| las)?) "
)
_WITHIN_NAME = regex.compile(r",? \(?(?:née|nee|né|born|formerly|alias|a\.k\.a\.|aka) ")
_WITHIN_DATE = regex.compile(r",? (?:at|on|around|by|from|@|[-–])? ?")
_CLOCK = regex.compile(r"\d{1,2}[:.]\d\d(?::\d\d)?")
_WORD_BEFORE = regex.compile(r"(?<![\p{L}\p{M}'’-])(\p{Lu}[\p{L}\p{M}]+) $")
_LONGEST_WORD = 24
_ASKING = frozenset({"will", "may"})
_CODE_BEFORE = regex.compile(r"(?<![\w./:-])(?:\w{1,8}[-/.:])+$")
_CODE_AFTER = regex.compile(r"(?:[-/.:]\w{1,8})+(?!\w)")
_LONGEST_CODE = 40
LEAD_OF_DATE = (
    r"\b(?:(?:the )?(?:night|evening|morning|afternoon|eve|feast|week|first (?:half|quarter)|"
    r"second half|(?:second|third|fourth|last) quarter) of (?:the )?"
    r"|(?:an?|some) (?:unspecified|unknown) (?:date|day|time) (?:in|between) (?:the )?)"
)
"""What may stand before a date and be of it."""
_LEAD_OF_AMOUNT = r"\b(?:some|about|approximately|around|nearly|almost|up to|at least|a total of) "
_LEADS = {
    "DATE_TIME": regex.compile(f"{LEAD_OF_DATE}$"),
    "QUANTITY": regex.compile(f"{_LEAD_OF_AMOUNT}$"),
}
_LONGEST_LEAD = 40


def bridged(findings: Sequence[Finding], text: str) -> list[Finding]:
    """The findings, disjoint and in text order, with neighbours that are one name made one."""
    joined: list[Finding] = []
    for finding in findings:
        last = joined[-1] if joined else None
        if last is not None and _are_one(last, finding, text):
            kind = _kind_of_both(last, finding)
            score = max(last.score, finding.score)
            joined[-1] = replace(last, entity_type=kind, end=finding.end, score=score)
        else:
            joined.append(finding)
    return joined


def _kind_of_both(first: Finding, second: Finding) -> str:
    if first.entity_type in _BODIES:
        return "ORGANIZATION"
    return "DATE_TIME" if second.entity_type == "DATE_TIME" else first.entity_type


def _are_one(first: Finding, second: Finding, text: str) -> bool:
    between = text[first.end : second.start]
    kinds = {first.entity_type, second.entity_type}
    if kinds == {"DATE_TIME", "DURATION"}:
        # "6 November 2025 at 14:40"; a duration is no time of day.
        clock = first if first.entity_type == "DURATION" else second
        is_clock = _CLOCK.fullmatch(text, clock.start, clock.end) is not None
        return is_clock and _WITHIN_DATE.fullmatch(between) is not None
    if kinds == {"PERSON"}:
        return _WITHIN_NAME.fullmatch(between) is not None
    # A body in a town is two; a town in whose name there is a small word is one.
    return (
        kinds <= _BODIES
        and first.entity_type == "ORGANIZATION"
        and _WITHIN_BODY.fullmatch(between) is not None
    )


def whole_codes(findings: Iterable[Finding], text: str) -> list[Finding]:
    """The findings, codes with whatever hangs together with them: "UP/I-553-05/07", "e-391"."""
    return [_whole(f, text) if f.entity_type == "CODE" else f for f in findings]


def _whole(code: Finding, text: str) -> Finding:
    before = _CODE_BEFORE.search(text, max(code.start - _LONGEST_CODE, 0), code.start)
    after = _CODE_AFTER.match(text, code.end, code.end + _LONGEST_CODE)
    start = before.start() if before else code.start
    return replace(code, start=start, end=after.end() if after else code.end)


def with_lead_ins(findings: Iterable[Finding], text: str) -> list[Finding]:
    """The findings, dates and amounts with the words before them that are of them."""
    return [
        replace(f, start=lead.start()) if (lead := _lead_in(f, text)) is not None else f
        for f in findings
    ]


def _lead_in(finding: Finding, text: str) -> regex.Match[str] | None:
    pattern = _LEADS.get(finding.entity_type)
    if pattern is None:
        return None
    return pattern.search(text, max(finding.start - _LONGEST_LEAD, 0), finding.start)


def with_first_names(findings: Iterable[Finding], text: str) -> list[Finding]:
    """The findings, surnames with a first name before them that is a word as well."""
    return [
        replace(f, start=f.start - len(before)) if (before := _first_name(f, text)) else f
        for f in findings
    ]


def _first_name(finding: Finding, text: str) -> str:
    if finding.entity_type != "PERSON":
        return ""
    names = gazetteer()
    surname = text[finding.start : finding.end].split(" ")[0].lower()
    found = _WORD_BEFORE.search(text, max(finding.start - _LONGEST_WORD, 0), finding.start)
    word = found.group(1).lower() if found else ""
    if surname not in names.surnames or word not in names.first_names & names.word_names:
        return ""
    # "Will Sarah come?"
    if word in _ASKING and surname in names.first_names:
        return ""
    return str(found.group()) if found else ""
