"""From probabilities of tokens to spans of characters: whole words, put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import regex
from numpy.typing import NDArray

from ..finding import Finding

Floats = NDArray[np.float32]
# Letters and digits together, since codes mix them; scripts without spaces by the character.
_SOLID = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(
    rf"[{_SOLID}]\p{{M}}*|[\p{{L}}\p{{M}}\p{{N}}--[{_SOLID}]]+|[^\s\p{{L}}\p{{M}}\p{{N}}]", regex.V1
)
# What may stand between two words of one finding though the model takes it for nobody's.
_BRIDGES = frozenset(".-–'’/&_@")
_BRIDGES_IN_ADDRESSES = _BRIDGES | {","}
_WRAPPED = frozenset({"ADDRESS", "LOCATION"})
_STAGE = "verifier"


def word_findings(
    text: str,
    offsets: Sequence[tuple[int, int]],
    totals: Floats,
    begins: Floats,
    types: Sequence[str],
    threshold: float,
    subwords: Literal["highest", "first"] = "highest",
) -> list[Finding]:
    """Findings of whole words: one of which any token (or the first) is somebody's is found whole.

    Args:
        text: that was read.
        offsets: characters of each token, in text order.
        totals: probability of each type, shape (tokens, types).
        begins: that a finding of the type begins there, same shape.
        types: entity types, in the order of the columns.
        threshold: least probability that a word is of any type.
        subwords: which token speaks for a word.
    """
    words = list(_words(text, offsets, totals, begins, subwords))
    findings: list[Finding] = []
    last = None
    for place, (start, end, kind, score, begin) in enumerate(words):
        if score < threshold:
            continue
        entity = types[kind]
        joined = (
            last is not None
            and not begin
            and findings[-1].entity_type == entity
            and _joins(text, words[last][1], start, entity, place - last)
        )
        if joined:
            whole = findings.pop()
            start, score = whole.start, max(whole.score, score)
        findings.append(
            Finding(entity_type=entity, start=start, end=end, score=score, stage=_STAGE)
        )
        last = place
    return findings


def _joins(text: str, end: int, start: int, entity: str, distance: int) -> bool:
    """Whether only white space, or one bridge, lies between two words; no empty line."""
    between = text[end:start]
    if between.count("\n") > 1:
        return False
    bridges = _BRIDGES_IN_ADDRESSES if entity in _WRAPPED else _BRIDGES
    return distance == 1 or (distance == 2 and between.strip() in bridges)


def _words(
    text: str,
    offsets: Sequence[tuple[int, int]],
    totals: Floats,
    begins: Floats,
    subwords: str,
) -> Iterator[tuple[int, int, int, float, bool]]:
    """Start, end, type, score and whether a finding begins, of each word that a token covers."""
    somebody = totals.sum(axis=1)
    token, count = 0, len(offsets)
    for match in _WORD.finditer(text):
        start, end = match.span()
        while token < count and offsets[token][1] <= start:
            token += 1
        stop = token
        while stop < count and offsets[stop][0] < end:
            stop += 1
        if stop == token:
            continue
        span = slice(token, token + 1 if subwords == "first" else stop)
        kind = int(totals[span].sum(axis=0).argmax())
        begin = bool(begins[token, kind] * 2 > totals[token, kind])
        yield start, end, kind, round(float(somebody[span].max()), 4), begin
        # A token may reach into the next word.
        token = max(token, stop - 1)
