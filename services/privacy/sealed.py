"""Sealed patterns: a time-out, like any other exception, fails the whole text.

Presidio skips a pattern that times out, logs a warning and returns what the others found.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import regex
from presidio_analyzer import PatternRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import IbanRecognizer

from .anchors import Anchor, anchor_of
from .deadline import step_ran_out, time_left
from .gates import PATTERN_GATES
from .text_index import LOOK_BACK, TextIndex, matches_at

_FEW_CHARACTERS = 2
_REACHES = (24, 48, 104)
"""Patterns of about the same reach share what they see of a text."""


class PatternTimeout(Exception):
    """A pattern took too long; not a `TimeoutError`, which Presidio would swallow."""


class SealedRegex:
    """A compiled regular expression whose time-out cannot be swallowed."""

    def __init__(
        self,
        pattern: str,
        flags: int | None,
        seconds: float,
        gate: re.Pattern[str] | None = None,
    ) -> None:
        self._compiled = regex.compile(pattern, flags or 0)
        self._seconds = seconds
        self._gate = gate
        self.anchor = anchor_of(pattern, flags or 0)
        self._reach = _reach_class(self.anchor)
        begins = self.anchor.beginnings
        # What begins with two given letters stands everywhere; digits are fewer.
        self._at_beginnings = begins is not None and (
            self._reach is None or min(map(len, begins)) > _FEW_CHARACTERS
        )

    @property
    def cues(self) -> Anchor:
        """Beginnings of matches of which `spans` must be told the places."""
        return self.anchor if self._at_beginnings else Anchor()

    def spans(self, index: TextIndex[Any]) -> Iterator[tuple[int, int]]:
        """Start and end of what `finditer` finds, tried only where the pattern can match."""
        if self.anchor.has_digit and not index.digits:
            return
        if self._at_beginnings:
            yield from self._spans_at_beginnings(index)
        elif self._reach is None:
            for match in self.finditer(index.text):
                yield match.span()
        else:
            near = index.near_digits(self._reach)
            for match in self.finditer(near.text):
                by = near.shift(match.start())
                yield match.start() + by, match.end() + by

    def _spans_at_beginnings(self, index: TextIndex[Any]) -> Iterator[tuple[int, int]]:
        places = index.places.get(self)
        if not places:
            return
        try:
            for match in matches_at(self._compiled, index.text, places, self._time_left):
                yield match.span()
        except TimeoutError:
            step_ran_out()
            raise PatternTimeout from None

    def _time_left(self) -> float:
        return time_left(self._seconds)

    def finditer(self, text: str, timeout: float | None = None) -> Iterator[regex.Match[str]]:
        """Matches in the text, within our own limits instead of the given one."""
        if self._gate is not None and self._gate.search(text) is None:
            return
        try:
            yield from self._compiled.finditer(text, timeout=time_left(self._seconds))
        except TimeoutError:
            step_ran_out()
            raise PatternTimeout from None


def _reach_class(anchor: Anchor) -> int | None:
    """How much of a text around its digits a pattern must see; None for all of it."""
    if not anchor.has_digit or anchor.reach is None or anchor.back is None:
        return None
    if anchor.back > LOOK_BACK:
        return None
    return next((reach for reach in _REACHES if anchor.reach <= reach), None)


class SealedIbanRecognizer(IbanRecognizer):
    """The stock IBAN recognizer, whose own time-out would pass in silence, behind a sealed one."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        flags = self.global_regex_flags
        own: Any = self
        self._gates = [SealedRegex(pattern.regex, flags, seconds) for pattern in own.patterns]

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None, regex_flags: Any = None
    ) -> list[RecognizerResult]:
        """IBANs of the text."""
        if not any(True for gate in self._gates for _ in gate.finditer(text)):
            return []
        return list(super().analyze(text, entities, nlp_artifacts, regex_flags))


def seal(recognizer: Any, seconds: float) -> None:
    """Give a recognizer patterns of its own (stock ones are shared by the process), sealed."""
    if not isinstance(recognizer, PatternRecognizer) or isinstance(recognizer, IbanRecognizer):
        return
    own: Any = recognizer
    flags = own.global_regex_flags
    own.patterns = [copy.copy(pattern) for pattern in own.patterns]
    for pattern in own.patterns:
        pattern.compiled_regex = SealedRegex(
            pattern.regex, flags, seconds, PATTERN_GATES.get(pattern.name)
        )
        pattern.compiled_with_flags = flags


def is_sealed(recognizer: Any) -> bool:
    """Whether no pattern of the recognizer can run out of time in silence."""
    if isinstance(recognizer, IbanRecognizer):
        return isinstance(recognizer, SealedIbanRecognizer)
    if not isinstance(recognizer, PatternRecognizer):
        return True
    own: Any = recognizer
    flags = own.global_regex_flags
    return all(
        isinstance(pattern.compiled_regex, SealedRegex) and pattern.compiled_with_flags == flags
        for pattern in own.patterns
    )
