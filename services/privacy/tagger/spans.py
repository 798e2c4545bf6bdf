"""From probabilities of words to spans of characters, with recall before precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .case import caseless_lines
from .labels import KINDS, LABELS
from .network import Array, Tagger
from .words import Words, words_of

# Columns of a kind's two labels, in the order of KINDS.
_FIRST = np.array([LABELS.index(f"B-{kind}") for kind in KINDS])
_MISC = KINDS.index("MISC")
_PERSON = KINDS.index("PERSON")
_NEXT = np.array([LABELS.index(f"I-{kind}") for kind in KINDS])
# What may stand inside a span though it is taken for nobody's: "12 High St, Leeds", "J. Smith".
_BRIDGES = frozenset(",.-–'’/&\n")
_BRIDGED = frozenset({"ADDRESS", "CODE", "PERSON", "DATE"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Characters `start` up to `end`, and how likely they are somebody's."""

    kind: str
    start: int
    end: int
    score: float
    """Largest probability over its words that the word is somebody's, 0 to 1."""


def find_spans(
    tagger: Tagger,
    text: str,
    threshold: float,
    *,
    caseless: float | None = None,
    person: float | None = None,
) -> list[Span]:
    """Spans of the words that are somebody's with at least the probability `threshold`.

    The kind of a word is the likeliest of those that are not "nobody's", so that a lower threshold
    finds more and changes nothing that a higher one finds.

    Args:
        tagger: that knows the probabilities.
        text: to read.
        threshold: least probability that a word is somebody's, 0 to 1.
        caseless: the same in lines whose capitals tell nothing, where lower than `threshold`.
        person: least probability that a word is of a person's name, which is enough by itself.
    """
    words = words_of(text)
    if not len(words):
        return []
    probabilities = tagger.probabilities(words)
    somebody = _somebody(probabilities)
    enough = somebody >= _thresholds(text, words, threshold, caseless)
    if person is not None:
        enough |= probabilities[:, _FIRST[_PERSON]] + probabilities[:, _NEXT[_PERSON]] >= person
    return list(_spans(probabilities, somebody, np.flatnonzero(enough), words))


def _thresholds(text: str, words: Words, threshold: float, caseless: float | None) -> Array:
    thresholds = np.full(len(words), threshold, np.float32)
    if caseless is not None and caseless < threshold:
        starts = np.array(words.starts)
        for lines in caseless_lines(text):
            first, end = np.searchsorted(starts, lines)
            # Digits look alike in whatever case.
            signs = map(itemgetter(0), words.texts[first:end])
            thresholds[first:end][list(map(str.isalpha, signs))] = caseless
    return thresholds


def likelihoods(tagger: Tagger, text: str) -> tuple[Words, Array]:
    """The words of a text, and for each the probability that it is somebody's."""
    words = words_of(text)
    return words, _somebody(tagger.probabilities(words))


def _somebody(probabilities: Array) -> Array:
    # Works and products are nobody's, though some sets label them.
    misc = probabilities[:, _FIRST[_MISC]] + probabilities[:, _NEXT[_MISC]]
    return cast(Array, 1.0 - probabilities[:, 0] - misc)


def _spans(
    probabilities: Array, somebody: Array, chosen: NDArray[np.intp], words: Words
) -> Iterator[Span]:
    """The chosen words, put together."""
    if not len(chosen):
        return
    texts, starts = words.texts, words.starts
    begins = probabilities[:, _FIRST]
    totals = begins + probabilities[:, _NEXT]
    totals[:, _MISC] = 0.0
    kinds = totals.argmax(axis=1)
    places = np.arange(len(totals))
    is_first = begins[places, kinds] * 2 > totals[places, kinds]
    first = last = int(chosen[0])
    score = float(somebody[first])
    for place in map(int, chosen[1:]):
        same = kinds[place] == kinds[first] and not is_first[place]
        bridge = (
            place == last + 2 and KINDS[kinds[place]] in _BRIDGED and texts[last + 1] in _BRIDGES
        )
        if same and (place == last + 1 or bridge):
            last, score = place, max(score, float(somebody[place]))
            continue
        yield _span(KINDS[kinds[first]], first, last, score, texts, starts)
        first = last = place
        score = float(somebody[place])
    yield _span(KINDS[kinds[first]], first, last, score, texts, starts)


def _span(
    kind: str, first: int, last: int, score: float, texts: list[str], starts: list[int]
) -> Span:
    end = starts[last] + len(texts[last])
    return Span(kind=kind, start=starts[first], end=end, score=round(score, 4))
