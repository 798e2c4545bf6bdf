"""Sealed patterns: a time-out, like any other exception, fails the whole text.

Presidio skips a pattern that times out, logs a warning and returns what the others found.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import Any

import regex
from presidio_analyzer import PatternRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import IbanRecognizer

from .anchors import Anchor, anchor_of
from .deadline import step_ran_out, time_left
from .gates import ENDINGS_BEFORE_NUMBER, PATTERN_GATES
from .text_index import TextIndex, matches_at

_FEW_CHARACTERS = 2
_EVERYWHERE = ((0, None),)
_REACHES = (24, 48, 104, 240)
_NUMS_DIGITS = (1, 2, 4, 6, 8, 10)
"""Patterns of about the same reach, with about as many digits, share what they see of a text."""


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
        endings: tuple[str, ...] = (),
    ) -> None:
        self._compiled = regex.compile(pattern, flags or 0)
        self._seconds = seconds
        self._gate = gate
        self._endings = endings
        self.anchor = anchor_of(pattern, flags or 0)
        self._reach = _reach_class(self.anchor)
        begins = self.anchor.beginnings
        # What begins with two given letters stands everywhere; digits are fewer.
        self._at_beginnings = begins is not None and (
            self._reach is None or min(map(len, begins)) > _FEW_CHARACTERS
        )
        self._num_digits = max((n for n in _NUMS_DIGITS if n <= self.anchor.num_digits), default=0)

    @property
    def cues(self) -> Anchor:
        """Beginnings of matches of which `spans` must be told the places."""
        return self.anchor if self._at_beginnings else Anchor()

    def spans(self, index: TextIndex[Any]) -> Sequence[tuple[int, int]]:
        """Start and end of what `finditer` finds, tried only where the pattern can match."""
        if index.num_digits < self.anchor.num_digits:
            return ()
        if self._endings and not index.has_before_number(self._endings):
            return ()
        if self._gate is not None and self._gate.search(index.text) is None:
            return ()
        if self._at_beginnings:
            places = index.places.get(self)
            return self._spans_at(index.text, places) if places else ()
        if self._reach is None:
            return [match.span() for match in self._matches(index.text, _EVERYWHERE)]
        stretches = index.near_digits(self._num_digits, self._reach)
        return [match.span() for match in self._matches(index.text, stretches)] if stretches else ()

    def _spans_at(self, text: str, places: Sequence[int]) -> list[tuple[int, int]]:
        try:
            matches = matches_at(self._compiled, text, places, time_left(self._seconds))
            return [match.span() for match in matches]
        except TimeoutError:
            step_ran_out()
            raise PatternTimeout from None

    def finditer(self, text: str, timeout: float | None = None) -> Iterator[regex.Match[str]]:
        """Matches in the text, within our own limits instead of the given one."""
        if self._gate is None or self._gate.search(text) is not None:
            yield from self._matches(text, _EVERYWHERE)

    def _matches(
        self, text: str, stretches: Iterable[tuple[int, int | None]]
    ) -> Iterator[regex.Match[str]]:
        """Matches in stretches of the text, within one limit, whatever its gate says."""
        gives_up = monotonic() + time_left(self._seconds)
        try:
            for start, end in stretches:
                # Never nothing: to `regex` that means no limit.
                seconds = max(gives_up - monotonic(), 1e-3)
                yield from self._compiled.finditer(text, start, end, timeout=seconds)
        except TimeoutError:
            step_ran_out()
            raise PatternTimeout from None


def _reach_class(anchor: Anchor) -> int | None:
    """How much of a text around its digits a pattern must see; None for all of it."""
    if not anchor.num_digits or anchor.reach is None:
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
            pattern.regex,
            flags,
            seconds,
            PATTERN_GATES.get(pattern.name),
            ENDINGS_BEFORE_NUMBER.get(pattern.name, ()),
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
