"""The tagger as a Presidio recognizer: what it finds, under Presidio's names for it."""

from __future__ import annotations

from functools import cache
from typing import Any

from presidio_analyzer import LocalRecognizer, RecognizerResult

from .language import capitalised_parts, foreign_small_words
from .tagger import ENTITY_TYPES, Span, Tagger, find_spans

TAGGER = "Tagger"
"""Name of the recognizer: its scores have a threshold of their own."""

_MIDDLING = 0.35


@cache
def shipped_tagger() -> Tagger:
    """The tagger of the package, read once a process."""
    return Tagger.load()


class TaggerRecognizer(LocalRecognizer):
    """Persons, organisations, places, addresses, dates, ages, codes and what else it tells apart.

    Args:
        threshold: least probability that a word is somebody's, 0 to 1.
        tagger: another than the shipped one.
        caseless: the same in lines whose capitals tell nothing; none makes no difference.
        person: least probability that a word is of a person's name; none makes no difference.
    """

    def __init__(
        self,
        threshold: float,
        tagger: Tagger | None = None,
        *,
        caseless: float | None = None,
        person: float | None = None,
    ) -> None:
        super().__init__(
            supported_entities=sorted(ENTITY_TYPES.values()), supported_language="en", name=TAGGER
        )
        self._threshold = threshold
        self._caseless = caseless
        self._person = person
        self._tagger = tagger or shipped_tagger()

    def load(self) -> None:
        """Nothing to do: the tagger was read on construction."""

    def plainly(self, text: str) -> set[str]:
        """Entity types of the text at a middling threshold, whatever the recognizer's own is."""
        return {ENTITY_TYPES[span.kind] for span in find_spans(self._tagger, text, _MIDDLING)}

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        """What the tagger finds in the text."""
        spans = find_spans(
            self._tagger, text, self._threshold, caseless=self._caseless, person=self._person
        )
        small = foreign_small_words(text) if spans else None
        return [
            RecognizerResult(ENTITY_TYPES[span.kind], start, end, span.score)
            for span in spans
            for start, end in _parts(text, span, small)
        ]


def _parts(text: str, span: Span, small: frozenset[str] | None) -> list[tuple[int, int]]:
    """What of a span counts: in a language that it has not learnt, words with a capital."""
    if small is None:
        return [(span.start, span.end)]
    parts = capitalised_parts(text[span.start : span.end], small)
    return [(span.start + start, span.start + end) for start, end in parts]
