"""Patterns for what identifies together with a name: dates, times, ages, sums, bodies, trades.

A year, a sum or a trade identifies nobody in a text that is about nobody, and lessons are full of
them: so these count only in a record that names a person in full ("J. Smith", "Mr Smith"), or in
which the tagger found several people, places, bodies and dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import regex
from presidio_analyzer import LocalRecognizer, RecognizerResult

from . import vocabulary
from .deadline import time_left
from .finding import Finding
from .occurrences import title_before
from .spelled import NUMBER_WORDS

QUASI = "QuasiPatterns"
"""Name of the recognizer."""
_SCORE = 0.6
"""What a finding of these patterns is worth."""
_TELLING = frozenset(
    {"PERSON", "ORGANIZATION", "LOCATION", "ADDRESS", "DATE_TIME", "DEMOGRAPHIC", "CODE"}
)
_FEWEST_LETTERS = 20
"""Letters of a line that tell whether it is written in capitals."""
_ENOUGH = 3
"""Different values of these types that make a text one about somebody."""

_NUMBER_WORD = rf"(?:{NUMBER_WORDS.pattern}|a hundred|several hundred)"
_NUMBER = rf"(?:\d{{1,3}}(?:[.,]\d+)?|{_NUMBER_WORD})"
_MONTH = rf"(?:{'|'.join(vocabulary.MONTHS)}|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?"
_YEAR = r"(?:1[89]\d\d|20[0-3]\d)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? )?"
_PART_OF_YEAR = (
    r"(?:(?:early|late|mid-?|the (?:end|beginning|middle|start) of|(?:the )?(?:spring|summer|autumn"
    r"|winter|fall) of)[ -]?)?"
)
_UNIT = r"(?:years?|months?|weeks?|days?|hours?|minutes?|nights?)"
_CURRENCY_CODE = (
    r"(?:EUR|USD|GBP|CHF|PLN|TRL|TRY|RUB|RUR|UAH|HUF|CZK|SKK|RON|ROL|BGN|BGL|SEK|NOK|DKK|"
    r"FIM|ATS|DEM|FRF|ITL|ESP|PTE|GRD|MDL|GEL|AMD|AZN|HRK|RSD|MKD|INR|Rs\.?|JPY|CAD|AUD|"
    r"NLG|BEF|IEP|LTL|LVL|EEK|SIT|BAM|ALL|LUF|MTL|CYP|ISK|CNY|BRL|ZAR|MXN)"
)
_CURRENCY = (
    r"(?:euros?|dollars?|pounds(?: sterling)?|francs?|marks?|kronor|kroner|zlotys?|"
    r"roubles?|rubles?|liras?|lire|lei|leva|levs?|forints?|hryvnias?|denars?|dinars?|"
    r"rupees?|yen|yuan|pesetas?|escudos?|drachmas?|crowns?|korunas?|schillings?|shillings?|"
    r"guilders?|markkas?|litai|lats|tolars?|kunas?|marka|manats?|drams?|rand|pesos?|reais|dirhams?)"
)
_AMOUNT = (
    r"(?<!\d[ ,.])\d{1,3}(?:[ ,.]\d{3}){0,4}+(?:[.,]\d{1,2})?(?: (?:million|billion|thousand))?"
)
_MEASURE = (
    r"(?:kg|kilograms?|grams?|g|kilos?|pounds|lbs|tonnes|km|kilometres|miles|metres|"
    r"hectares|acres|litres|square (?:metres|kilometres|feet)|sq\.? ?m|m2|m²|per ?cent|"
    r"percent)"
)

_SEVERAL_DAYS = rf"{_DAY}(?:(?:, {_DAY}){{0,4}},? (?:and|or|to|-|–) {_DAY})?"
_AND_MORE = rf"(?:(?:,| and|, and)? {_NUMBER} {_UNIT}(?:['’]s?)?){{0,3}}"
_COUNTED = rf"{_NUMBER}(?: and a half)?[ -](?:(?:consecutive|calendar|working|full) )?{_UNIT}"
_NUMBERED = (
    r"(?i)\b(?:nos?|numbers?|ref|file|case|docket|applications?|appeal|plot|parcel|claim)\.?:? ?"
)
_PREFIX = r"(?-i:[A-Z]{0,4}[-/. ]?)"

_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "DATE_TIME",
        rf"\b{_WEEKDAY}(?:the )?{_SEVERAL_DAYS} ?(?:of )?(?i:{_MONTH})(?:,? {_YEAR})?(?!\w)",
    ),
    ("DATE_TIME", rf"\b{_WEEKDAY}{_MONTH} {_DAY}(?!\d)(?:,? {_YEAR})?"),
    ("DATE_TIME", rf"\b{_PART_OF_YEAR}{_MONTH},? {_YEAR}\b"),
    (
        "DATE_TIME",
        rf"(?<![\w./§#$€£-]){_PART_OF_YEAR}{_YEAR}(?:s|[-–/](?:{_YEAR}|\d\d))?(?![\w/])(?![.,]\d)",
    ),
    ("DATE_TIME", r"(?<![\w./-])\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})(?![\w/-])"),
    ("DATE_TIME", r"(?<![\w./-])\d{4}-\d\d-\d\d(?![\w/-])"),
    ("DURATION", r"(?<![\w.:])\d{1,2}(?:[.:]\d{2})? ?(?:[ap]\.m\.|[ap]m\b)"),
    ("DURATION", rf"\b{_COUNTED}(?:['’]s?)?{_AND_MORE}(?![- ]old)\b"),
    ("AGE", rf"\b(?:aged?|age of|aged about|aged approximately) \K{_NUMBER}(?: years)?\b"),
    ("AGE", rf"\b{_NUMBER}[- ]years?[- ](?:old|of age)\b"),
    (
        "AGE",
        r"\b(?:is|was|am|I['’]m|turned|turning|turns) (?:now |then |only )?"
        r"\K\d{1,2}(?=[.,;!?](?!\d)| today\b)",
    ),
    ("AGE", r"(?<=\p{Lu}[\p{L}'’-]+, )\d{1,2}(?=,)"),
    ("DATE_TIME", r"\b(?i:(?:mon|tues|wednes|thurs|fri|satur|sun)day)s?\b"),
    (
        "LOCATION",
        r"\b(?!(?i:the|this|that|an?|our|my|your|his|her|on|in|at|of|to|every|each|one|next|same|main|high"
        r"|down|off|across) )\p{Lu}[\p{L}'’-]+ "
        r"(?:Street|Road|Avenue|Lane|Boulevard|Terrace|Crescent)\b",
    ),
    ("QUANTITY", rf"(?<![\w])(?:{_CURRENCY_CODE} ?|[$€£₹] ?){_AMOUNT}(?!\w)"),
    (
        "QUANTITY",
        rf"(?<![\w.,]){_AMOUNT} (?:[A-Z][a-z]+ )?(?:{_CURRENCY}|{_CURRENCY_CODE})\b"
        r"(?: \([A-Z]{3}\))?",
    ),
    ("QUANTITY", rf"(?<![\w.,])(?:{_AMOUNT}|{_NUMBER_WORD}) ?(?:{_MEASURE})(?!\w)"),
    ("QUANTITY", r"(?<![\w.,])\d+(?:[.,]\d+)?%"),
    # "Dr Lehti, a child psychiatrist at", "worked as a claims adjuster for".
    (
        "DEMOGRAPHIC",
        r"(?<=\p{Lu}[\p{L}'’-]+, )(?:who (?:is|was) )?(?:then )?an? \K\p{Ll}[\p{L} -]{2,45}?"
        r"(?=,|\.| (?:at|in|of|who|from|with|for|and|by|practising|living|working)\b)",
    ),
    (
        "DEMOGRAPHIC",
        r"\b(?:work(?:ed|s|ing)|employed|serv(?:ed|es|ing)|practis(?:ed|es|ing)) as an? "
        r"\K\p{Ll}[\p{L} -]{2,45}?"
        r"(?=,|\.|;| (?:at|in|of|for|with|until|since|from|and|by|on)\b)",
    ),
    (
        "CODE",
        rf"{_NUMBERED}(?:nos?\.? ?)?\K{_PREFIX}\d+"
        r"(?:[:/.-](?-i:[A-Za-z]{0,3}-?\d+|[A-Z]{1,3}))+(?!\w)",
    ),
    ("CODE", r"(?i)\b(?:nos?|number|ref)\.? \K(?-i:[A-Z]{0,4}[- ]?)\d{4,}(?![\w/])"),
    ("CODE", r"\b\d{3,6}/\d{2,4}\b"),
)

_CAPITALISED = r"\p{Lu}[\p{L}\p{M}'’.-]{0,40}+"
_HEAD = (
    r"(?:Courts?|Tribunal|Council|Ministry|Prison|Hospital|Clinic|University|College|"
    r"School|Institute|Police|Directorate|Committee|Commission|Board|Fleet|Office|Agency|"
    r"Authority|Bank|Church|Mosque|Party|Union|Association|Federation|Foundation|Society|"
    r"Club|Company|Corporation|Service|Department|Division|Inspectorate|Registry|Bureau|"
    r"Embassy|Consulate|Parliament|Assembly|Chamber of Commerce|Army|Brigade|Regiment|"
    r"Academy|Museum|Theatre|Newspaper|Centre|Center|Surgery|Inc|Ltd|LLC|GmbH|plc|S\.A|AG|"
    r"Fund|Trust)"
)
_LINK = r"(?:of(?: the)?|and|for|de|in|&)"
_BODY = regex.compile(
    rf"\b(?:{_CAPITALISED} (?:(?:{_LINK}) (?={_CAPITALISED}))?){{1,6}}{_HEAD}\b\.?"
    rf"(?: of(?: the)? {_CAPITALISED}(?: (?:{_LINK} )?{_CAPITALISED}){{0,3}})?"
    rf"|\b{_HEAD} (?:of|for)(?: the)? {_CAPITALISED}(?: (?:{_LINK} )?{_CAPITALISED}){{0,4}}"
)
_SMALL_WORD = regex.compile(
    r"\b(?:Of|And|For|De|The|To|By|In|At|From|Before|A|An|That|On|With|As|Was|Were|Is|Are|Had|Has|"
    r"Have|His|Her|Their|Its|Under|Into|When|Which|Who|Said|Against|About|Be|Been|Not|But|Or)\b"
)
# Bodies that every judgment names, and that say nothing of whom it is about.
_NOBODYS_BODIES = regex.compile(
    r"(?:The |An? |In |This |On )*(?:European )?"
    r"(?:Court|Commission|Council|Chamber|Committee|Board|Office|Union)"
    r"(?: of (?:Human Rights|Europe|the Court|Appeals?))?$"
    r"|.*\b(?:Rules?|Code|Act|Article|Section|Protocol) of\b.*"
)
_INITIALS = regex.compile(
    r"(?<![\p{L}\d.§])(?:\p{Lu}\.[ -]?){1,3}(?<! )(?=[,;)]| (?:\p{Ll}|and\b)|['’]s\b|$|\n)"
    r"(?<!\n\p{Lu}\.)"
)
_NOT_INITIALS_TEXT = "U.S. U.K. E.U. U.N. U.S.A. U.S.C. D.C. N.Y. A.M. P.M. I. N.B. P.S. V."
_NOT_INITIALS = frozenset(_NOT_INITIALS_TEXT.split())

# Said of anybody: "the general rule", "a minor point", "a single case", "the judge".
_SAID_OF_ANYBODY = vocabulary.words("""
general, major, minor, single, captain, consul, cook, baker, manager, minister, judge,
prosecutor, public prosecutor, prisoner, clerk, clerk of court, registrar, young, adult,
English, chairman, director, magistrate, notary, solicitor, barrister, interpreter, translator,
governor, editor, publisher, conductor, referee, fashion model, investor, married, blind,
retired, deaf, detective, agent
""")


def alternatives(words: Iterable[str]) -> str:
    """A pattern of any of the words that shares their beginnings, so that few are tried."""
    trie: dict[str, Any] = {}
    for word in words:
        node = trie
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branches(trie)


def _branches(node: dict[str, Any]) -> str:
    parts = [re.escape(c) + _branches(more) for c, more in sorted(node.items()) if c]
    if not parts:
        return ""
    return f"(?:{'|'.join(parts)}){'?' if '' in node else ''}"


@cache
def _compiled(flags: int = 0) -> tuple[tuple[str, regex.Pattern[str]], ...]:
    return tuple((kind, regex.compile(pattern, flags)) for kind, pattern in _PATTERNS)


def caseless(text: str, change: Callable[[str], str]) -> str | None:
    """The text with its lines in capitals, or all of it where it has none, changed.

    None where there are no such lines. Places stay: a line that would change its length stays.
    """
    if sum(map(str.isalpha, text)) >= _FEWEST_LETTERS and text == text.lower():
        changed = change(text)
        return changed if len(changed) == len(text) else None
    lines = text.split("\n")
    new = [change(line) if _is_shouted(line) else line for line in lines]
    fits = all(len(a) == len(b) for a, b in zip(lines, new, strict=True))
    return "\n".join(new) if new != lines and fits else None


def _is_shouted(line: str) -> bool:
    return line.isupper() and sum(map(str.isalpha, line)) >= _FEWEST_LETTERS


@cache
def _descriptions(flags: int = 0) -> re.Pattern[str]:
    pools = (
        vocabulary.NATIONALITIES,
        vocabulary.ETHNICITIES,
        vocabulary.RELIGIONS,
        vocabulary.OCCUPATIONS,
        vocabulary.CONDITIONS,
        vocabulary.DEM_STATUSES,
    )
    plain = {word for pool in pools for word in pool} - set(_SAID_OF_ANYBODY)
    words = alternatives(word.removeprefix("a ").removeprefix("an ") for word in plain)
    ending = r"s?(?: (?:national|citizen|origin))?s?(?![^\W\d_]|-)"
    return re.compile(rf"(?<![^\W\d_])(?<!-){words}{ending}", flags)


class QuasiPatternRecognizer(LocalRecognizer):
    """Finds what identifies together with a name, by patterns; see `is_about_somebody`."""

    def __init__(self, timeout: float) -> None:
        kinds = {kind for kind, _ in _PATTERNS} | {"DEMOGRAPHIC", "ORGANIZATION", "PERSON"}
        super().__init__(supported_entities=sorted(kinds), supported_language="en", name=QUASI)
        self._timeout = timeout

    def load(self) -> None:
        """Nothing to do: patterns are compiled when they are first used."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        """Dates, times, ages, sums, codes, bodies, descriptions and initials of the text."""
        return [
            RecognizerResult(kind, start, end, _SCORE) for kind, start, end in self._spans(text)
        ]

    def _spans(self, text: str) -> Iterator[tuple[str, int, int]]:
        yield from self._as_written(text)
        calm = caseless(text, str.lower)
        if calm is not None:
            yield from self._in_any_case(calm, caseless(text, str.title) or calm)

    def _in_any_case(self, calm: str, titled: str) -> Iterator[tuple[str, int, int]]:
        """What lines without capitals, or of nothing else, hold: letters tell nothing there."""
        for kind, pattern in _compiled(regex.IGNORECASE):
            for match in pattern.finditer(calm, timeout=time_left(self._timeout)):
                yield kind, *match.span()
        for described in _descriptions(re.IGNORECASE).finditer(calm):
            yield "DEMOGRAPHIC", *described.span()
        # All words look like names now: the small ones end them as they do elsewhere.
        titled = _SMALL_WORD.sub(lambda match: match.group().lower(), titled)
        yield from self._bodies(titled)

    def _as_written(self, text: str) -> Iterator[tuple[str, int, int]]:
        for kind, pattern in _compiled():
            for match in pattern.finditer(text, timeout=time_left(self._timeout)):
                yield kind, *match.span()
        for described in _descriptions().finditer(text):
            yield "DEMOGRAPHIC", *described.span()
        yield from self._bodies(text)
        for match in _INITIALS.finditer(text, timeout=time_left(self._timeout)):
            if match.group().strip() not in _NOT_INITIALS:
                yield "PERSON", *match.span()

    def _bodies(self, text: str) -> Iterator[tuple[str, int, int]]:
        for match in _BODY.finditer(text, timeout=time_left(self._timeout)):
            if not _NOBODYS_BODIES.match(match.group()):
                yield "ORGANIZATION", *match.span()


def is_about_somebody(findings: Sequence[Finding], text: str) -> bool:
    """Whether these patterns count in a text in which the other stages found this."""
    told = {text[f.start : f.end].lower() for f in findings if f.entity_type in _TELLING}
    return len(told) >= _ENOUGH or any(_names_in_full(f, text) for f in findings)


def _names_in_full(finding: Finding, text: str) -> bool:
    """A first name and a surname, or a surname behind a title: not the Tom of a sum."""
    if finding.entity_type == "KNOWN_VALUE":
        return True
    if finding.entity_type != "PERSON":
        return False
    full = " " in text[finding.start : finding.end].strip()
    return full or bool(title_before(text, finding.start))
