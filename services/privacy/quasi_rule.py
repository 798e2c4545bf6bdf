"""Rule: a pattern of the quasi stage, and in which texts it is worth trying."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import regex
from spacy.lang.en.stop_words import STOP_WORDS

WORD = regex.compile(r"\p{L}+")
_SMALL = "|".join(sorted(word for word in STOP_WORDS if word.isalpha()))
_MODIFIERS = regex.compile(
    rf"(?<![\p{{L}}-])(?:(?!(?:{_SMALL}|said|told|same|new|other|such|late|alleged|every)\b)"
    r"\p{L}+(?:-\p{L}+)* ){1,2}$"
)
_LONGEST_MODIFIERS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a pattern finds, and where it is tried."""

    kind: str
    """Entity type of what it finds."""
    pattern: str
    words: frozenset[str] = frozenset()
    """Words in small letters of which each match holds one; none if that is not told."""
    endings: tuple[str, ...] = ()
    """The same of how words end."""
    reads_capitals: bool = True
    """Whether it finds what it should only where a capital tells a name."""
    takes_modifiers: bool = False
    """Whether up to two words before a match, but small ones, are of it: "heart surgeon"."""

    def may_match(self, words: frozenset[str]) -> bool:
        """Whether a text of these words, in small letters, may hold a match."""
        if not (self.words or self.endings):
            return True
        return not self.words.isdisjoint(words) or (
            bool(self.endings) and any(word.endswith(self.endings) for word in words)
        )

    def spans(self, text: str, flags: int, timeout: float) -> Iterator[tuple[str, int, int]]:
        """Kind, start and end of each match."""
        for match in _compiled(self.pattern, flags).finditer(text, timeout=timeout):
            start, end = match.span()
            if self.takes_modifiers:
                start = _with_modifiers(text, start)
            yield self.kind, start, end


def _with_modifiers(text: str, start: int) -> int:
    found = _MODIFIERS.search(text, max(start - _LONGEST_MODIFIERS, 0), start)
    return found.start() if found else start


@cache
def _compiled(pattern: str, flags: int) -> regex.Pattern[str]:
    return regex.compile(pattern, flags)


def words_of(text: str) -> frozenset[str]:
    """The words of a text in small letters."""
    return frozenset(WORD.findall(text.lower()))


def alternatives(words: Iterable[str]) -> str:
    """A pattern of any of the words, which begin with a capital or not."""
    parts = (f"[{w[0].upper()}{w[0]}]{w[1:]}" if w[0].islower() else w for w in words)
    return f"(?:{'|'.join(parts)})"


def with_plurals(singulars: str) -> frozenset[str]:
    """Words between blanks, each with and without an s."""
    return frozenset(word + ending for word in singulars.split() for ending in ("", "s"))
