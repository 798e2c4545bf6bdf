"""Detector: a Presidio analyzer that finds identifiers, opens no socket and fails closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from presidio_analyzer import (
    EntityRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.predefined_recognizers import IbanRecognizer

from ...mixer.errors import Reason, RecollectError
from .deadline import keep_to_deadline, step_ran_out
from .encoded import CUE, MAX_DEPTH, encoded_texts
from .engine import forbid_look_ups
from .finding import Finding
from .hidden import CROSSING, joined_lines
from .names import PersonRecognizer
from .phone import DensePhoneRecognizer
from .policy import Policy
from .quasi_patterns import QuasiPatternRecognizer
from .reading import Reader
from .recognizers import own_recognizers
from .sealed import SealedIbanRecognizer, is_sealed, seal
from .self_test import prove, typed
from .shadow import Shadow, shadow_of
from .tagging import TAGGER, TaggerRecognizer

# Replaced by our own: a model's, the slow one, and one that takes "pls.do" for an address.
_NOT_STOCK = frozenset({"SpacyRecognizer", "PhoneRecognizer", "UrlRecognizer"})


class Detector:
    """Finds the identifiers that a policy names."""

    def __init__(
        self,
        policy: Policy,
        extra: Iterable[EntityRecognizer] = (),
        without: frozenset[str] = frozenset(),
    ) -> None:
        # Presidio's debug log quotes the words around a finding; no log may hold raw text.
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        forbid_look_ups()
        self._policy = policy
        with typed("a recognizer cannot be loaded: it failed"):
            self._recognizers: list[Any] = [*_recognizers(policy, without), *extra]
        for recognizer in self._recognizers:
            seal(recognizer, policy.regex_timeout_seconds)
        seconds = policy.regex_timeout_seconds
        self._quasi = None if "quasi" in without else QuasiPatternRecognizer(seconds)
        self._reader = Reader(self._recognizers, policy.score_threshold)
        self._crossing = Reader(
            (r for r in self._recognizers if _may_cross(r)), policy.score_threshold
        )

    @property
    def recognizers(self) -> tuple[str, ...]:
        """Names of the recognizers that are loaded."""
        return tuple(recognizer.name for recognizer in self._recognizers)

    def prove(self) -> None:
        """Refuse to work where a part that fails in silence is broken.

        Checks that a context word raises a score, that time-outs are sealed in every pattern, that
        every recognizer is loaded and asked, that each entity type of the policy has one, which
        finds its plainest form, and that no socket is opened meanwhile.
        """
        prove(self._policy, self._recognizers, self._reader, self._quasi, is_sealed=is_sealed)

    def find(self, text: str) -> list[Finding]:
        """Findings in the text, overlapping ones included; DEIDENTIFICATION_FAILED if in doubt."""
        return [*self._found(text, self._analyze), *self._longer(text)]

    def _longer(self, text: str) -> list[Finding]:
        """What may be longer than pieces overlap: keys and what is encoded, in the text as one."""
        if len(text) <= self._policy.chunk_characters:
            return []
        shadow = shadow_of(text)
        found = list(self._encoded(shadow.text))
        for recognizer in self._recognizers:
            if "SECRET" in recognizer.supported_entities:
                with _refusing():
                    results = recognizer.analyze(shadow.text, ["SECRET"], None)
                found += [(r, "pattern") for r in results if self._counts(r)]
        return [_finding(shadow, result, stage, 0) for result, stage in found]

    def find_quasi(self, text: str) -> list[Finding]:
        """What identifies together with a name; only for a text that `is_about_somebody`."""
        return self._found(text, self._analyze_quasi)

    def _found(
        self, text: str, analyze: Callable[[str], list[tuple[RecognizerResult, str]]]
    ) -> list[Finding]:
        findings: dict[Finding, None] = {}
        shadow = shadow_of(text)
        policy = self._policy
        for first, piece in pieces(shadow.text, policy.chunk_characters, policy.chunk_overlap):
            keep_to_deadline()
            for result, stage in analyze(piece):
                if not 0 <= result.start <= result.end <= len(piece):
                    # Whatever it meant to point to would be let through.
                    raise _failed("a span beyond the text")
                findings[_finding(shadow, result, stage, first)] = None
        return list(findings)

    def _analyze(self, text: str) -> list[tuple[RecognizerResult, str]]:
        """What the recognizers find, in the text and hidden in it, and at which stage."""
        return [*self._read(text), *self._over_lines(text), *self._encoded(text)]

    def _over_lines(self, text: str) -> Iterator[tuple[RecognizerResult, str]]:
        """Identifiers of which one half ends a line and the other begins the next."""
        for joined in joined_lines(text):
            keep_to_deadline()
            with _refusing():
                results = self._crossing.read_without_context(joined.text)
            for r in results:
                span = joined.span(r.start, r.end)
                if span and self._counts(r) and joined.is_telling(*_told(r)):
                    yield RecognizerResult(r.entity_type, *span, r.score), "pattern"

    def _encoded(self, text: str, depth: int = MAX_DEPTH) -> Iterator[tuple[RecognizerResult, str]]:
        """Runs that are encoded and say something with an identifier in it."""
        for start, end, said in encoded_texts(text):
            keep_to_deadline()
            # A telling word may stand before the run: "date of birth: MTQvMDkvMTk5NQ".
            before = text[max(start - CUE, 0) : start].rpartition("\n")[2]
            results = [r for r in self._read(before + said) if r[0].end > len(before)]
            if depth > 1:
                results += self._encoded(said, depth - 1)
            if results:
                best, stage = max(results, key=lambda found: found[0].score)
                yield RecognizerResult(best.entity_type, start, end, best.score), stage

    def _counts(self, result: RecognizerResult) -> bool:
        policy = self._policy
        return result.entity_type in policy.entities and result.score >= policy.score_threshold

    def _read(self, text: str) -> list[tuple[RecognizerResult, str]]:
        with _refusing():
            # The tagger's scores are probabilities with a threshold of their own.
            results = self._reader.read(text)
        staged = ((r, "tagger" if _name_of(r) == TAGGER else "pattern") for r in results)
        wanted = self._policy.entities
        return [
            (result, stage)
            for result, stage in staged
            if self._counts(result) or (stage == "tagger" and result.entity_type in wanted)
        ]

    def _analyze_quasi(self, text: str) -> list[tuple[RecognizerResult, str]]:
        if self._quasi is None:
            return []
        with _refusing():
            results = self._quasi.analyze(text, [])
        return [(r, "quasi") for r in results if r.entity_type in self._policy.entities]


@contextmanager
def _refusing() -> Iterator[None]:
    """Any failure of a recognizer is one of the whole text."""
    try:
        yield
    except RecollectError:
        # Ours: out of time.
        raise
    except Exception as error:
        if isinstance(error, TimeoutError):
            step_ran_out()
        # Messages of others may quote the text: only the kind of failure is passed on.
        raise _failed(type(error).__name__) from None


def _failed(how: str) -> RecollectError:
    return RecollectError(
        Reason.DEIDENTIFICATION_FAILED,
        f"A recognizer failed with {how}.",
        fix="The example stays quarantined; raise regex_timeout_seconds if it timed out.",
    )


def _finding(shadow: Shadow, result: RecognizerResult, stage: str, first: int) -> Finding:
    """A result on a piece of the shadow that begins at `first`, in the text itself."""
    start, end = shadow.span(result.start + first, result.end + first)
    score = round(float(result.score), 4)
    return Finding(entity_type=result.entity_type, start=start, end=end, score=score, stage=stage)


def _told(result: RecognizerResult) -> tuple[str, int, float]:
    return result.entity_type, result.start, result.score


def _name_of(result: RecognizerResult) -> str:
    metadata = result.recognition_metadata or {}
    return str(metadata.get(RecognizerResult.RECOGNIZER_NAME_KEY, ""))


def pieces(text: str, size: int, overlap: int) -> Iterator[tuple[int, str]]:
    """The text in overlapping pieces of at most `size`, each with its offset.

    Cuts fall on white space where the overlap has any, so that no identifier is cut in two.
    """
    start = 0
    while start + size < len(text):
        end = start + size
        space = max(
            text.rfind(" ", end - overlap // 2, end), text.rfind("\n", end - overlap // 2, end)
        )
        end = space + 1 if space >= 0 else end
        yield start, text[start:end]
        back = text.find(" ", end - overlap, end - overlap // 2)
        start = back + 1 if back >= 0 else end - overlap
    yield start, text[start:]


def _recognizers(policy: Policy, without: frozenset[str]) -> list[EntityRecognizer]:
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    stock = [r for r in registry.recognizers if type(r).__name__ not in _NOT_STOCK]
    seconds = policy.regex_timeout_seconds
    every = [
        *(SealedIbanRecognizer(seconds) if isinstance(r, IbanRecognizer) else r for r in stock),
        DensePhoneRecognizer(policy.phone_regions),
        PersonRecognizer(seconds),
        TaggerRecognizer(
            policy.tagger_threshold,
            caseless=policy.caseless_threshold,
            person=policy.person_threshold,
        ),
        *own_recognizers(),
    ]
    return [
        r
        for r in every
        if policy.entities & set(r.supported_entities) and _stage_of(r) not in without
    ]


def _may_cross(recognizer: Any) -> bool:
    """Whether it is asked for what a line break cuts in two."""
    return not CROSSING.isdisjoint(recognizer.supported_entities) and recognizer.name != TAGGER


def _stage_of(recognizer: Any) -> str:
    return "tagger" if recognizer.name == TAGGER else "pattern"
