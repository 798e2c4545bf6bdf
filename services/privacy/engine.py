"""Engine: Presidio's natural-language engine without a model, and its context rule made linear.

Presidio raises the score of a finding when a word such as "passport" stands before it. It looks at
lemmas, which a blank spaCy pipeline leaves empty, so that the boost dies in silence; here a lemma
is the lower-cased token. Tokens are made only once a finding asks for its context.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, cast

import spacy
import tldextract
from presidio_analyzer import RecognizerResult
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from spacy.language import Language

MAX_WORDS = 100_000
"""Different words that the tokenizer remembers before it is made anew."""


def forbid_look_ups() -> None:
    """Make tldextract use the public-suffix list in its package, instead of fetching it.

    Presidio calls `tldextract.extract` for each e-mail address; the stock one opens sockets.
    """
    offline: Any = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    tldextract.extract = offline


class LazyArtifacts:
    """Tokens and lemmas of a text, made when they are first asked for.

    It stands in for Presidio's `NlpArtifacts`, whose constructor makes them all at once.
    """

    def __init__(self, text: str, engine: BlankEngine) -> None:
        self._text = text
        self._engine = engine
        self.entities: list[Any] = []
        self.scores: list[float] = []
        self.nlp_engine = engine

    @cached_property
    def tokens(self) -> Any:
        """The spaCy document."""
        return self._engine.pipeline.make_doc(self._text)

    @cached_property
    def tokens_indices(self) -> list[int]:
        """Offset of each token in the text."""
        return [int(index) for index in self.tokens.to_array("IDX")]

    @cached_property
    def lemmas(self) -> list[str]:
        """Lower-cased tokens."""
        return [token.lower_ for token in self.tokens]

    @cached_property
    def keywords(self) -> list[str]:
        """Lemmas that carry meaning, as Presidio's own artifacts define them."""
        return list(NlpArtifacts.set_keywords(self._engine, self.lemmas, "en"))


class BlankEngine(NlpEngine):
    """English tokens and lower-case lemmas from a blank spaCy pipeline; nothing to download."""

    def __init__(self) -> None:
        self._pipeline: Language | None = None

    @property
    def pipeline(self) -> Language:
        """The blank pipeline, loaded at first use, and anew once it remembers too many words.

        spaCy keeps every word that it has ever seen, so that memory would grow with what is read.
        """
        if self._pipeline is None or len(self._pipeline.vocab.strings) > MAX_WORDS:
            self.load()
        assert self._pipeline is not None
        return self._pipeline

    def load(self) -> None:
        """Build the tokenizer."""
        self._pipeline = spacy.blank("en")
        # The limit of the deidentifier's policy holds; spaCy's own guards its parser, unused here.
        self._pipeline.max_length = 1 << 31

    def is_loaded(self) -> bool:
        """Whether `load` has run."""
        return self._pipeline is not None

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """The artifacts of one text."""
        return cast(NlpArtifacts, LazyArtifacts(text, self))

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **_: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """The artifacts of several texts, one after the other."""
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        """Whether the word carries no meaning of its own."""
        return bool(self.pipeline.vocab[word].is_stop)

    def is_punct(self, word: str, language: str) -> bool:
        """Whether the word is punctuation."""
        return bool(self.pipeline.vocab[word].is_punct)

    def get_supported_entities(self) -> list[str]:
        """None: this engine finds no entities itself."""
        return []

    def get_supported_languages(self) -> list[str]:
        """English."""
        return ["en"]


class ContextRule(LemmaContextAwareEnhancer):
    """Presidio's context boost, with two changes.

    A context word must start a word of the text ("account" boosts near "accounts", but "lic" does
    not near "public"), and the words around a finding are found by bisection, not by a scan.
    """

    def lift(self, result: RecognizerResult, context: list[str], artifacts: LazyArtifacts) -> None:
        """Raise the score of a result before which one of its context words stands.

        What `enhance_using_context` does to every result, without copying any.
        """
        words = self._extract_surrounding_words(artifacts, "", result.start)
        if self._find_supportive_word_in_context(words, context):
            lifted = result.score + self.context_similarity_factor
            lifted = max(lifted, self.min_score_with_context_similarity)
            result.score = min(lifted, self.MAX_SCORE)

    def _extract_surrounding_words(
        self, nlp_artifacts: NlpArtifacts | LazyArtifacts, word: str, start: int
    ) -> list[str]:
        engine: Any = nlp_artifacts.nlp_engine
        tokens = nlp_artifacts.tokens
        index = bisect_right(nlp_artifacts.tokens_indices, start) - 1
        words: list[str] = []
        while index >= 0 and len(words) <= self.context_prefix_count:
            lemma = tokens[index].lower_
            if not engine.is_stopword(lemma, "en") and not engine.is_punct(lemma, "en"):
                words.append(lemma)
            index -= 1
        return words

    @staticmethod
    def _find_supportive_word_in_context(
        context_list: list[str], recognizer_context_list: list[str], matching_mode: str = ""
    ) -> str:
        wanted = tuple(word.lower().strip() for word in recognizer_context_list)
        starts = (word for word in context_list if word.lstrip("#").startswith(wanted))
        return next(starts, "")
