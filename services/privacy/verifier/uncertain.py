"""Uncertain passages: the sentences in which the other stages may have missed something."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import regex

from ..finding import Finding
from ..tagger import Tagger, likelihoods

_LOW, _HIGH = 0.05, 0.9
"""Between these, the tagger's probability that a word is somebody's settles nothing."""
_MIN_DIGITS = 3
_BLOCK = 20_000
"""Characters that the tagger takes at a time: its memory grows with them."""
# Behind a stop that ends a word of three letters: not that of "Mr." and "J.".
_BREAK = regex.compile(r"(?<=\w\w\w[.!?…][\"'”’)]?)\s+|(?<=[?!。！？।])\s*|\n+")
_NOT_NAMES = frozenset({"I"})


def uncertain_passages(
    tagger: Tagger, text: str, findings: Iterable[Finding]
) -> list[tuple[int, int]]:
    """Where a text should be read again: disjoint (start, end), each of whole sentences.

    A sentence is uncertain if it has a word that the tagger is in two minds about; or one with a
    capital that does not begin it, or a number of three digits and more, that nothing covers.
    """
    starts = sentence_starts(text)
    doubtful = sorted(
        {bisect_right(starts, p) - 1 for p in _doubts(tagger, text, findings, starts)}
    )
    passages: list[tuple[int, int]] = []
    for number in doubtful:
        start = starts[number]
        end = starts[number + 1] if number + 1 < len(starts) else len(text)
        if passages and passages[-1][1] == start:
            start = passages.pop()[0]
        passages.append((start, end))
    return passages


def sentence_starts(text: str) -> list[int]:
    """Where sentences and lines begin, the first at 0."""
    starts = [0, *(match.end() for match in _BREAK.finditer(text) if match.end() < len(text))]
    return list(dict.fromkeys(starts))


def _doubts(
    tagger: Tagger, text: str, findings: Iterable[Finding], starts: Sequence[int]
) -> list[int]:
    """Places of the words that settle nothing."""
    covered = _Covered(findings)
    doubts: list[int] = []
    for first, last in _blocks(starts, len(text)):
        if last - first > _BLOCK:
            # One sentence without end: it is read, rather than looked at first.
            doubts.append(first)
            continue
        words, somebody = likelihoods(tagger, text[first:last])
        begun = 0
        for word, place, likelihood in zip(
            words.texts, words.starts, somebody.tolist(), strict=True
        ):
            if not word[0].isalnum():
                continue
            start = first + place
            sentence = bisect_right(starts, start)
            begins, begun = sentence != begun, sentence
            doubted = _LOW <= likelihood < _HIGH
            if doubted or (_is_telling(word, begins) and start not in covered):
                doubts.append(start)
    return doubts


def _is_telling(word: str, begins: bool) -> bool:
    """Whether a word looks like a name or a number, by its form and place alone."""
    if word[0].isdigit():
        return len(word) >= _MIN_DIGITS
    return word[0].isupper() and not begins and word not in _NOT_NAMES


def _blocks(starts: Sequence[int], length: int) -> Iterator[tuple[int, int]]:
    """Whole sentences together, so many as the tagger takes at a time."""
    first = 0
    for start, end in zip(starts, [*starts[1:], length], strict=True):
        if end - first > _BLOCK and start > first:
            yield first, start
            first = start
    yield first, length


class _Covered:
    """The characters that any finding covers."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted((f.start, f.end) for f in findings):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __contains__(self, place: int) -> bool:
        number = bisect_right(self._starts, place) - 1
        return number >= 0 and place < self._ends[number]
