"""The second look: a detector that shares neither rules nor thresholds with the cascade.

What the cascade missed, the cascade misses again. This one is made of other parts: Presidio's own
recognizers with their own scores, numbers by their check digits, spellings that hide an address,
names by two lists alone, and the tagger with a fraction of the certainty that a policy asks for. It
looks for direct identifiers only, and cares more for finding than for being right.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import regex
from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry
from presidio_analyzer.predefined_recognizers import IbanRecognizer
from spacy.lang.en.stop_words import STOP_WORDS

from ....mixer.errors import Reason, RecollectError
from ..detector import pieces
from ..engine import BlankEngine, ContextRule, forbid_look_ups
from ..finding import Finding
from ..gazetteer import HONORIFICS, gazetteer
from ..phone import DensePhoneRecognizer
from ..sealed import SealedIbanRecognizer, SealedRegex
from ..shadow import shadow_of
from ..standins import luhn_digit
from ..tagger import ENTITY_TYPES as TAGGED
from ..tagger import find_spans
from ..tagging import shipped_tagger
from .kinds import DIRECT

_PIECE, _OVERLAP = 20_000, 500
_SECONDS = 5.0
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "IL", "IN", "CA", "BR", "AU")
_LEAST_SCORE = 0.4
"""What Presidio calls weak, such as any nine digits, needs one of its context words to reach it."""
_TAGGER_THRESHOLD = 0.15
_LEFT_OUT = frozenset({"SpacyRecognizer", "DateRecognizer", "PhoneRecognizer", "NhsRecognizer"})
_SCHEMED = regex.compile(r"(?i)https?://|www\.")

_NAME = r"\p{Lu}[\p{L}’'-]+"
_PAIR = regex.compile(rf"(?<![\p{{L}}\d])({_NAME})(?: \p{{Lu}}\.)? ({_NAME})(?!\p{{L}})", regex.V1)
_TITLED = regex.compile(rf"(?i:\b({'|'.join(sorted(HONORIFICS))})\b)\.? ({_NAME})")
_SPELLED = regex.compile(
    r"(?i)[\w.+-]{2,40}(?:\s?(?:\(at\)|\[at\]|\{at\}|&#64;|&commat;|%40)\s?|\s?@\s?"
    r"|\sat\s(?=[\w-]+\s?[\[({]?dot\b))"
    r"[\w-]{2,40}(?:\s?[\[({]dot[\])}]\s?|\sdot\s|\.)(?:[a-z]{2,4}|info)\b"
)
_INSTITUTION_WORDS = """
university college school restaurant center centre garden gardens street road avenue park hospital
hotel bank church island beach lake river county city
"""
_INSTITUTIONS = frozenset(_INSTITUTION_WORDS.split())
_SUM = regex.compile(r"[-+*/=×÷^]")
_NUMERIC = frozenset({"ACCOUNT_ID", "CREDIT_CARD", "PHONE_NUMBER", "US_BANK_NUMBER"})
_DIGITS = regex.compile(r"(?<![\d.,$€£₹])\d(?:[ \n.-]{0,2}\d){8,30}(?![\d%])")
_LETTERS = regex.compile(r"[\p{L}\p{M}]+")
_FEW_DIGITS = 4
_SEPARATED = regex.compile(r"\D")
_CARD_LENGTHS = range(13, 20)


class SecondDetector:
    """Presidio's own recognizers, check digits, lists of names, and the tagger wide open."""

    def __init__(self) -> None:
        forbid_look_ups()
        self._analyzer = AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=_stock(), supported_languages=["en"]),
            nlp_engine=BlankEngine(),
            supported_languages=["en"],
            context_aware_enhancer=ContextRule(),
        )
        self._tagger = shipped_tagger()

    @property
    def name(self) -> str:
        """What it is made of, with versions: equal name, equal findings."""
        return f"second detector 1, presidio-analyzer {version('presidio-analyzer')}"

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Direct identifiers of each text; they may overlap.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED where a recognizer failed or timed out.
        """
        return [self._found(text) for text in texts]

    def _found(self, text: str) -> list[Finding]:
        found: dict[Finding, None] = {}
        try:
            shadow = shadow_of(text)
            for first, piece in pieces(shadow.text, _PIECE, _OVERLAP):
                for one in self._in_piece(piece):
                    start, end = shadow.span(one.start + first, one.end + first)
                    found[replace(one, start=start, end=end)] = None
        except Exception as error:
            # Messages of others may quote the text: only the kind of failure is passed on.
            raise RecollectError(
                Reason.DEIDENTIFICATION_FAILED,
                f"The second detector failed with {type(error).__name__}.",
            ) from None
        return list(found)

    def _in_piece(self, text: str) -> Iterator[Finding]:
        numbers = (*self._by_presidio(text), *_by_digits(text))
        yield from (one for one in numbers if not _is_sum(one, text))
        yield from _by_lists(text)
        for match in _SPELLED.finditer(text, timeout=_SECONDS):
            yield _finding("EMAIL_ADDRESS", match.span(), 0.6, "spelling")
        for span in find_spans(self._tagger, text, _TAGGER_THRESHOLD):
            kind, value = TAGGED[span.kind], text[span.start : span.end]
            if kind in DIRECT and _may_be(kind, value):
                yield _finding(kind, (span.start, span.end), span.score, "tagger")

    def _by_presidio(self, text: str) -> Iterator[Finding]:
        for one in self._analyzer.analyze(text, language="en", score_threshold=_LEAST_SCORE):
            if one.entity_type in DIRECT and (
                one.entity_type != "URL" or _SCHEMED.match(text, one.start)
            ):
                yield _finding(one.entity_type, (one.start, one.end), one.score, "presidio")


def _finding(entity_type: str, span: tuple[int, int], score: float, stage: str) -> Finding:
    start, end = span
    return Finding(entity_type=entity_type, start=start, end=end, score=float(score), stage=stage)


def _by_digits(text: str) -> Iterator[Finding]:
    for match in _DIGITS.finditer(text, timeout=_SECONDS):
        digits = _SEPARATED.sub("", match.group())
        if len(digits) in _CARD_LENGTHS and luhn_digit(digits[:-1]) == digits[-1]:
            yield _finding("CREDIT_CARD", match.span(), 0.9, "check digits")
        elif not digits.endswith("000"):
            yield _finding("ACCOUNT_ID", match.span(), 0.5, "digits")


def _by_lists(text: str) -> Iterator[Finding]:
    names = gazetteer()
    for match in _PAIR.finditer(text, overlapped=True, timeout=_SECONDS):
        first, last = match.group(1), match.group(2)
        listed = names.is_name(last) or not last.isupper()
        if names.is_first_name(first) and listed and last.lower() not in _INSTITUTIONS:
            yield _finding("PERSON", match.span(), 0.7, "lists")
    for match in _TITLED.finditer(text, timeout=_SECONDS):
        if match.group(2).lower() not in STOP_WORDS:
            yield _finding("PERSON", match.span(2), 0.7, "title")


def _is_sum(finding: Finding, text: str) -> bool:
    """Whether a number is part of a calculation: a lesson is full of them."""
    if finding.entity_type not in _NUMERIC:
        return False
    value = text[finding.start : finding.end]
    around = text[max(finding.start - 2, 0) : finding.start] + text[finding.end : finding.end + 2]
    return " - " in value or "/" in value or _SUM.search(around) is not None


def _may_be(entity_type: str, value: str) -> bool:
    """Whether what the tagger believes so little in has at least the form of it."""
    if entity_type == "PERSON":
        words = _LETTERS.findall(value)
        return any((w[0].isupper() and len(w) > 1) or gazetteer().is_first_name(w) for w in words)
    if entity_type == "ADDRESS":
        return len(value.split()) > 1 and any(c.isdecimal() or c.isupper() for c in value)
    return sum(map(str.isdecimal, value)) >= _FEW_DIGITS


def _stock() -> list[Any]:
    """Presidio's recognizers, sealed: a pattern that times out is an error and no silence."""
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    kept: Iterable[Any] = (r for r in registry.recognizers if type(r).__name__ not in _LEFT_OUT)
    return [*map(_sealed, kept), DensePhoneRecognizer(_REGIONS)]


def _sealed(recognizer: Any) -> Any:
    if isinstance(recognizer, IbanRecognizer):
        return SealedIbanRecognizer(_SECONDS)
    if isinstance(recognizer, PatternRecognizer):
        own: Any = recognizer
        own.patterns = [copy.copy(pattern) for pattern in own.patterns]
        for pattern in own.patterns:
            flags = own.global_regex_flags
            pattern.compiled_regex = SealedRegex(pattern.regex, flags, _SECONDS)
            pattern.compiled_with_flags = flags
    return recognizer
