"""Patterns for what identifies together with a name: dates, times, ages, sums, bodies, trades.

A year, a sum or a trade identifies nobody in a text that is about nobody, and lessons are full of
them: so these count only in a record that names a person in full ("J. Smith", "Mr Smith"), or in
which the tagger found several people, places, bodies and dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import regex
from presidio_analyzer import LocalRecognizer, RecognizerResult

from . import vocabulary
from .deadline import time_left
from .finding import Finding
from .occurrences import title_before
from .quasi_amounts import AMOUNTS, NUMBER_WORD
from .quasi_bodies import BODY, SHORT_NAMES, is_court_file, is_nobodys, unknown_names
from .quasi_people import IN_COURT, PEOPLE, descriptions
from .quasi_rule import Rule, with_plurals, words_of
from .quasi_times import TIMES
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


_NUMBER = rf"(?:\d{{1,3}}(?:[.,]\d+)?|{NUMBER_WORD})"
_MONTH = rf"(?:{'|'.join(vocabulary.MONTHS)}|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?"
_YEAR = r"(?:1[89]\d\d|20[0-3]\d)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? )?"
_PART_OF_YEAR = (
    r"(?:(?:early|late|mid-?|the (?:end|beginning|middle|start) of|(?:the )?(?:spring|summer|autumn"
    r"|winter|fall) of)[ -]?)?"
)
_UNIT = r"(?:years?|months?|weeks?|days?|hours?|minutes?|nights?)"
_SEVERAL_DAYS = rf"{_DAY}(?:(?:, {_DAY}){{0,4}},? (?:and|or|to|-|–) {_DAY})?"
_AND_MORE = rf"(?:(?:,| and|, and)? {_NUMBER} {_UNIT}(?:['’]s?)?){{0,3}}"
_COUNTED = rf"{_NUMBER}(?: and a half)?[ -](?:(?:consecutive|calendar|working|full) )?{_UNIT}"
_NUMBERED = (
    r"(?i)\b(?:nos?|numbers?|ref|file|case|docket|applications?|appeal|plot|parcel|claim)\.?:? ?"
)
_PREFIX = r"(?-i:\p{Lu}{0,4}[-/. ]?)"

_FEAST = (
    r"(?:Christmas|New Year['’]s|Easter|Whit|Midsummer)(?: (?:Eve|Day|Monday|Sunday))?|"
    r"(?:Good|Black) Friday|Boxing Day|All (?:Saints|Souls)['’]?(?: Day)?|Ash Wednesday|"
    r"Palm Sunday|Ascension Day|(?:Mother|Father|Valentine|Bastille|"
    r"Independence|Labou?r|Martyr)s?['’]?s? Day|"
    r"(?:the )?Assumption|Epiphany|Pentecost|Ramadan|Eid(?: al-\p{L}+)?|Yom Kippur|Passover|"
    r"Hanukkah|Diwali|(?:St|Saint)\.? \p{L}+(?:['’]s?)? (?:Day|Eve)"
)
_OTHER_FEAST = r"\p{Lu}\p{L}+(?:['’]s?) (?:Day|Eve)|\p{Lu}\p{L}+(?: \p{Lu}\p{L}+)? Day"
_FEAST_TEXT = """
christmas year easter whit midsummer friday boxing all ash palm ascension assumption epiphany
pentecost ramadan eid yom passover hanukkah diwali day eve
"""
_FEAST_WORDS = frozenset(_FEAST_TEXT.split())
_WORKS = vocabulary.words("""
entitled, headed, titled, headline, headlined, memoir, memoirs, autobiography, novel, book, article,
poem, song, film, documentary, programme, play, blog, column
""")
_ANY: frozenset[str] = frozenset()
_MONTH_WORDS = frozenset(
    short for month in vocabulary.MONTHS for short in (month.lower(), month[:3].lower(), "sept")
)
_UNIT_WORDS = with_plurals("year month week day hour minute night")
_NUMBERED_THINGS = (
    *("emp", "employee", "staff", "badge", "crew", "driver", "officer", "patient", "student"),
    *("member", "session", "device", "tag", "plate", "truck", "lorry", "registered", "locker"),
    *("ext", "extension"),
)
_PLOT_WORDS = with_plurals("parcel folio plot lot volume entry") | {"entries"}
_STREET_WORDS = frozenset({"street", "road", "avenue", "lane", "boulevard", "terrace", "crescent"})
_WEEKDAY_WORDS = with_plurals("monday tuesday wednesday thursday friday saturday sunday")
_PATTERNS: tuple[tuple[str, str, frozenset[str]], ...] = (
    (
        "DATE_TIME",
        rf"\b{_WEEKDAY}(?:the )?{_SEVERAL_DAYS} ?(?:of )?(?i:{_MONTH})(?:,? {_YEAR})?(?!\w)",
        _MONTH_WORDS,
    ),
    ("DATE_TIME", rf"\b{_WEEKDAY}{_MONTH} {_DAY}(?!\d)(?:,? {_YEAR})?", _MONTH_WORDS),
    ("DATE_TIME", rf"\b{_PART_OF_YEAR}{_MONTH},? {_YEAR}\b", _MONTH_WORDS),
    (
        "DATE_TIME",
        rf"(?<![\w./§#$€£-]){_PART_OF_YEAR}{_YEAR}(?:s|[-–/](?:{_YEAR}|\d\d))?(?![\w/])(?![.,]\d)",
        _ANY,
    ),
    ("DATE_TIME", r"(?<![\w./-])\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})(?![\w/-])", _ANY),
    ("DATE_TIME", r"(?<![\w./-])\d{4}-\d\d-\d\d(?![\w/-])", _ANY),
    ("DURATION", r"(?<![\w.:])\d{1,2}(?:[.:]\d{2})? ?(?:[ap]\.m\.|[ap]m\b)", _ANY),
    ("DURATION", r"(?<![\w.:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\w:])", _ANY),
    ("DATE_TIME", r"\b(?:in|of|since|from|until|summer|winter|born) \K['’]\d\d\b", _ANY),
    (
        "DATE_TIME",
        r"\b(?:on|by|until|since|from) the \K\d{1,2}(?:st|nd|rd|th)\b"
        r"(?! (?:floor|century|time|place|grade|day|of|row|line|page|edition|round|attempt))",
        _ANY,
    ),
    ("DURATION", rf"\b{_COUNTED}(?:['’]s?)?{_AND_MORE}(?![- ]old)\b", _UNIT_WORDS),
    # "aged seven, four and two": each of them.
    *(
        (
            "AGE",
            rf"\b(?:aged?|age of|aged about|aged approximately) (?:{_NUMBER}(?:,|,? and) ){{{n}}}"
            rf"\K{_NUMBER}(?: (?:years|months|weeks)(?! old))?\b",
            frozenset({"age", "aged"}),
        )
        for n in range(5)
    ),
    ("AGE", rf", (?:now|then|aged|only just) \K(?:\d{{1,2}}|{NUMBER_WORD})\b(?![.,]\d)", _ANY),
    ("AGE", r"(?<=\p{L}, )\d{1,2}(?=, (?:and|an?|was|who|of|is|from|the)\b)", _ANY),
    (
        "AGE",
        rf"\b(?:is|was|am|I['’]m|turned|turning|turns) (?:now |then |"
        rf"only )?\K{NUMBER_WORDS.pattern}(?=[.,;!?](?!\d))",
        _ANY,
    ),
    ("AGE", rf"\b{_NUMBER}[- ](?:years?|months?|weeks?|days?)[- ](?:old|of age)\b", _UNIT_WORDS),
    (
        "AGE",
        r"\b(?:I|he|she|who) (?:was|am|is) (?:now |then |only )?\K\d{1,2}"
        r"(?= (?:when|now|at the time|and|then)\b)",
        _ANY,
    ),
    (
        "LOCATION",
        rf"\b(?:{'|'.join(vocabulary.COUNTRIES)}|Netherlands|Albania|Armenia|Azerbaijan|Belarus|"
        rf"Bosnia and Herzegovina|Kosovo|Liechtenstein|Luxembourg|Malta|Monaco|Montenegro|"
        rf"North Macedonia|San Marino|Slovenia|Czechia|Czech Republic)\b",
        _ANY,
    ),
    (
        "AGE",
        r"\b(?:is|was|am|I['’]m|turned|turning|turns) (?:now |then |only )?"
        r"\K\d{1,2}(?=[.,;!?](?!\d)| today\b)",
        _ANY,
    ),
    ("AGE", r"(?<=\p{Lu}[\p{L}'’-]+, )\d{1,2}(?=,)", _ANY),
    ("DATE_TIME", r"\b(?i:(?:mon|tues|wednes|thurs|fri|satur|sun)day)s?\b", _WEEKDAY_WORDS),
    (
        "LOCATION",
        r"\b(?!(?i:the|this|that|an?|our|my|your|his|her|on|in|at|of|to|every|each|one|next|same|"
        r"main|high"
        r"|down|off|across) )\p{Lu}[\p{L}'’-]+ "
        r"(?:Street|Road|Avenue|Lane|Boulevard|Terrace|Crescent)\b",
        _STREET_WORDS,
    ),
    ("AGE", r"(?<![\w.,/])\d{1,2} ?(?:yo|y/o|yrs?(?: old)?)(?!\w)", _ANY),
    (
        "AGE",
        r"(?<![\w.,/])[1-9]\d ?(?-i:[MF])(?![\w/])|"
        r"(?<!\w)(?-i:[MF]), ?\K[1-9]\d(?![\w/.])",
        _ANY,
    ),
    (
        "AGE",
        r"\b(?:in|of) (?:his|her|their|my) (?:early|mid|late)?[- ]?"
        rf"\K(?:{'|'.join(vocabulary.DECADES)}|[1-9]0['’]?s)\b",
        _ANY,
    ),
    (
        "CODE",
        rf"{_NUMBERED}(?:nos?\.? ?)?\K{_PREFIX}\d+"
        r"(?:[:/.-](?-i:[A-Za-z]{0,3}-?\d+|[A-Z]{1,3}))+(?!\w)",
        _ANY,
    ),
    ("CODE", r"(?i)\b(?:nos?|number|ref)\.? \K(?-i:[A-Z]{0,4}[- ]?)\d{4,}(?![\w/])", _ANY),
    ("CODE", r"(?<!\w)\p{Lu}{1,3}[ -]?\d{5,9}(?!\w)", _ANY),
    # "emp. 30418", "tag 7KLM204", "the last four are 3381".
    (
        "CODE",
        rf"\b(?i:{'|'.join(_NUMBERED_THINGS)})\.?(?: (?i:id|no\.?|number))?[:#]? "
        r"\K#?[A-Z]{0,4}[ -]?\d{3,8}(?: ?[A-Z]{2,4}|[A-Z]{2,4}\d{3,4})?\b(?![.,:/]\d)",
        frozenset(_NUMBERED_THINGS),
    ),
    (
        "CODE",
        r"(?i)\blast (?:four|4|three|3)(?: digits| numbers)?[^\d\n]{0,24}\K\d{3,4}\b(?![.,:/]\d)",
        frozenset({"last"}),
    ),
    # As courts number files: "4 Js 212/61", "III K 214/05".
    (
        "CODE",
        r"(?<!\w)(?:\d{1,4}|(?-i:[IVX]{1,5}))[ .](?-i:\p{Lu})\p{L}{0,4}\.? \d{1,6}/\d{2,4}(?!\w)",
        _ANY,
    ),
    ("CODE", r"\b(?:number|no\.|registration|plate|series|badge) \K\p{L}{1,3}-?\d{2,8}\b", _ANY),
    (
        "CODE",
        r"(?i)\b(?:parcels?|folios?|plots?|lots?|volumes?|entries|entry)(?: nos?\.?)? "
        r"\K\d+(?:/\d+)?(?:(?:,|,? and) \d+(?:/\d+)?){0,8}\b",
        _PLOT_WORDS,
    ),
    ("CODE", r"(?<![\w/.])\d{3,12}(?:/[A-Z]{0,3}-?\d{1,6}){1,4}(?![\w/])", _ANY),
    (
        "CODE",
        r"\b(?:[Ff]light|[Bb]us|[Tt]rain|[Tt]ram)(?: no\.?|"
        r" number)? \K[A-Z]{0,3} ?\d{1,4}\b(?! (?:minutes|hours|times|days|people|passengers|"
        r"stops))",
        frozenset({"flight", "bus", "train", "tram"}),
    ),
    (
        "DATE_TIME",
        r"\b(?:noon|midnight|midday|dawn|dusk)\b",
        frozenset(vocabulary.TIMES_OF_DAY),
    ),
)

_SMALL_WORD = regex.compile(
    r"\b(?:Of|And|For|De|The|To|By|In|At|From|Before|A|An|That|On|With|As|Was|Were|Is|Are|Had|Has|"
    r"Have|His|Her|Their|Its|Under|Into|When|Which|Who|Said|Against|About|Be|Been|Not|But|Or)\b"
)
_INITIALS = regex.compile(
    r"(?<![\p{L}\d.§])(?:\p{Lu}\.[ -]?){1,3}(?<! )(?=[,;)\"”]| (?:\p{Ll}|and\b)|['’]s?\b|$|\n)"
    r"(?<!\n\p{Lu}\.)"
)
_NOT_INITIALS_TEXT = "U.S. U.K. E.U. U.N. U.S.A. U.S.C. D.C. N.Y. A.M. P.M. I. N.B. P.S. V."
_NOT_INITIALS = frozenset(_NOT_INITIALS_TEXT.split())


_CASED: tuple[Rule, ...] = (
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?:the eve of (?:the )?)?(?:{_FEAST})(?:,? {_YEAR})?(?!\w)",
        words=_FEAST_WORDS,
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?:{_OTHER_FEAST})(?:,? {_YEAR})?(?!\w)",
        words=frozenset({"day", "eve"}),
    ),
    Rule(
        kind="PERSON",
        pattern=r"\b(?:nicknamed|known (?:to \w+ )?(?:only )?as|called|alias|a\.k\.a\.|aka|"
        r"codenamed?|nickname|pseudonym|call sign|introduced \w+ as|"
        r"under the (?:name|alias|pseudonym|nickname)(?: of)?|signed|by the name of),? [\"“‘«']"
        r"\K(?:the )?\p{Lu}[^\"”’»'\n]{1,30}(?=[\"”’»'])",
    ),
    # Works by which whoever wrote them, or is written of, is found.
    Rule(
        kind="ORGANIZATION",
        pattern=rf"\b(?:{'|'.join(_WORKS)}),? [\"“«]\K\p{{L}}[^\"”»\n]{{2,90}}(?=[\"”»])",
        words=frozenset(_WORKS),
    ),
)
"""What capitals tell."""


_RULES = (
    *(Rule(kind=k, pattern=p, words=w, reads_capitals=False) for k, p, w in _PATTERNS),
    *TIMES,
    *AMOUNTS,
    *PEOPLE,
    *_CASED,
    *SHORT_NAMES,
)


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


class QuasiPatternRecognizer(LocalRecognizer):
    """Finds what identifies together with a name, by patterns; see `is_about_somebody`."""

    def __init__(self, timeout: float) -> None:
        kinds = {rule.kind for rule in _RULES} | {"DEMOGRAPHIC", "ORGANIZATION", "PERSON"}
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
        words = words_of(calm)
        rules = (*_RULES, *(IN_COURT if is_court_file(words) else ()))
        caseless_rules = (rule for rule in rules if not rule.reads_capitals)
        yield from self._by_rules(caseless_rules, calm, words, regex.IGNORECASE)
        for described in descriptions(re.IGNORECASE).finditer(calm):
            yield "DEMOGRAPHIC", *described.span()
        # All words look like names now: the small ones end them as they do elsewhere.
        titled = _SMALL_WORD.sub(lambda match: match.group().lower(), titled)
        yield from self._bodies(titled)

    def _as_written(self, text: str) -> Iterator[tuple[str, int, int]]:
        words = words_of(text)
        yield from self._by_rules(_RULES, text, words)
        for described in descriptions().finditer(text):
            yield "DEMOGRAPHIC", *described.span()
        yield from self._bodies(text)
        if is_court_file(words):
            yield from self._by_rules(IN_COURT, text, words)
            yield from unknown_names(text, time_left(self._timeout))
        for match in _INITIALS.finditer(text, timeout=time_left(self._timeout)):
            if match.group().strip() not in _NOT_INITIALS:
                yield "PERSON", *match.span()

    def _by_rules(
        self, rules: Iterable[Rule], text: str, words: frozenset[str], flags: int = 0
    ) -> Iterator[tuple[str, int, int]]:
        for rule in rules:
            if rule.may_match(words):
                yield from rule.spans(text, flags, time_left(self._timeout))

    def _bodies(self, text: str) -> Iterator[tuple[str, int, int]]:
        for match in BODY.finditer(text, timeout=time_left(self._timeout)):
            if not is_nobodys(match.group()):
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
