"""Reading: recognizers are asked as Presidio's `AnalyzerEngine` asks them, without its detours.

The engine tries every pattern at every character of a text, describes every match in words, copies
all of them, and drops the descriptions. Here a pattern is tried only where it can match (see
`anchors`), and the same results come out: `bench/deid_equivalence.py` compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from presidio_analyzer import EntityRecognizer, PatternRecognizer, RecognizerResult

from .anchors import MAX_CHARACTERS, Anchor, lower_case
from .engine import BlankEngine, ContextRule, LazyArtifacts
from .gates import gate_of, is_weak
from .sealed import SealedRegex
from .text_index import Cues, TextIndex


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Asked:
    """A recognizer and how it is asked."""

    recognizer: Any
    patterns: list[tuple[float, SealedRegex]] | None
    """Score and pattern of each; None where the recognizer's own code is to be called."""
    gate: Any
    """Finds something in every text in which the recognizer finds anything."""
    needs_context: bool
    """Whether nothing comes of its findings unless one of its context words stands before them."""
    has_context_words: bool
    """Whether its context words are among the cues that a text is searched for."""
    metadata: dict[str, str]

    def results(self, index: TextIndex[Any]) -> list[RecognizerResult]:
        """What the recognizer finds, before its context is looked at."""
        assert self.patterns is not None
        results: list[RecognizerResult] = []
        for score, pattern in self.patterns:
            for start, end in pattern.spans(index):
                if start < end and (sure := self._judged(index.text[start:end], score)) > 0:
                    results.append(self._result(start, end, sure))
        return results if len(results) < 2 else EntityRecognizer.remove_duplicates(results)

    def _judged(self, value: str, score: float) -> float:
        """The score of a match once its check digits were looked at."""
        recognizer = self.recognizer
        valid = recognizer.validate_result(value)
        if valid is not None:
            score = EntityRecognizer.MAX_SCORE if valid else EntityRecognizer.MIN_SCORE
        return EntityRecognizer.MIN_SCORE if recognizer.invalidate_result(value) else score

    def _result(self, start: int, end: int, score: float) -> RecognizerResult:
        return RecognizerResult(
            self.recognizer.supported_entities[0],
            start,
            end,
            score,
            recognition_metadata=dict(self.metadata),
        )


class Reader:
    """Asks recognizers what they find in a text.

    Args:
        recognizers: with sealed patterns.
        threshold: score from which on a finding counts.
    """

    def __init__(self, recognizers: Iterable[EntityRecognizer], threshold: float) -> None:
        self._engine = BlankEngine()
        self._rule = ContextRule()
        self._asked = [_asked(recognizer, threshold) for recognizer in recognizers]
        self._cues: Cues[Any] = Cues(_wanted(self._asked))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the recognizers that are asked."""
        return tuple(asked.recognizer.name for asked in self._asked)

    def read(self, text: str) -> list[RecognizerResult]:
        """What is found in a text, scores lifted where a context word stands before them."""
        index = TextIndex(text, self._cues)
        artifacts = LazyArtifacts(text, self._engine)
        results: list[RecognizerResult] = []
        for asked in self._asked:
            if not asked.needs_context or asked in index.places:
                results += self._lifted(
                    asked, self._results(asked, index, artifacts), index, artifacts
                )
        return EntityRecognizer.remove_duplicates(results)

    def read_without_context(self, text: str) -> list[RecognizerResult]:
        """What is found in a stretch of text, whatever words stand before it."""
        index = TextIndex(text, self._cues)
        artifacts = LazyArtifacts(text, self._engine)
        return [r for asked in self._asked for r in self._results(asked, index, artifacts)]

    def _results(
        self, asked: Asked, index: TextIndex[Any], artifacts: LazyArtifacts
    ) -> list[RecognizerResult]:
        if asked.gate is not None and asked.gate.search(index.text) is None:
            return []
        if asked.patterns is not None:
            return asked.results(index)
        recognizer = asked.recognizer
        found = recognizer.analyze(index.text, recognizer.supported_entities, artifacts) or []
        for result in found:
            result.recognition_metadata = {**asked.metadata, **(result.recognition_metadata or {})}
        return list(found)

    def _lifted(
        self,
        asked: Asked,
        results: list[RecognizerResult],
        index: TextIndex[Any],
        artifacts: LazyArtifacts,
    ) -> list[RecognizerResult]:
        context = asked.recognizer.context
        if not (results and context) or (asked.has_context_words and asked not in index.places):
            return results
        for result in results:
            self._rule.lift(result, context, artifacts)
        return results


def _asked(recognizer: Any, threshold: float) -> Asked:
    plain = (
        isinstance(recognizer, PatternRecognizer)
        and type(recognizer).analyze is PatternRecognizer.analyze
        and type(recognizer).enhance_using_context is EntityRecognizer.enhance_using_context
    )
    has_words = bool(recognizer.context) and all(
        w.strip()[:1].isalpha() for w in recognizer.context
    )
    gate = gate_of(recognizer)
    return Asked(
        recognizer=recognizer,
        patterns=[(p.score, p.compiled_regex) for p in recognizer.patterns] if plain else None,
        gate=gate,
        needs_context=has_words and gate is None and is_weak(recognizer, threshold),
        has_context_words=has_words,
        metadata={
            RecognizerResult.RECOGNIZER_NAME_KEY: recognizer.name,
            RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: recognizer.id,
        },
    )


def _wanted(every: Iterable[Asked]) -> Iterator[tuple[object, Anchor]]:
    """Who asks for which words: patterns for their cues, recognizers for their context."""
    for asked in every:
        for _, pattern in asked.patterns or ():
            yield pattern, pattern.cues
        if asked.has_context_words:
            words = frozenset(map(_first_letters, asked.recognizer.context))
            yield asked, Anchor(beginnings=words, at_word=True)


def _first_letters(phrase: str) -> str:
    """The letters that a context word begins with."""
    word = lower_case(phrase.strip())
    length = next((n for n, c in enumerate(word) if not c.isalpha()), len(word))
    return word[: min(length, MAX_CHARACTERS)]
