"""Text index: where in a text its cues and its digits are, found once for all patterns."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import regex

from .anchors import Anchor, lower_case

_DIGITS = re.compile(r"\d+")
LOOK_BACK = 16
"""Characters that stand before what is within reach of a digit."""
_KEY = 3
_WORD_STARTS = re.compile(rf"\b\w{{1,{_KEY}}}")
_LEADING = re.compile(rf"\w{{1,{_KEY}}}")

Asker = TypeVar("Asker", bound=Hashable)


class Cues(Generic[Asker]):
    """Who asks for which beginnings: an asker is told every place where one of theirs stands."""

    def __init__(self, wanted: Iterable[tuple[Asker, Anchor]]) -> None:
        self._askers: dict[str, list[Asker]] = defaultdict(list)
        within: set[str] = set()
        for asker, anchor in wanted:
            for beginning in anchor.beginnings or ():
                self._askers[beginning].append(asker)
                if not (anchor.at_word and _key(beginning)):
                    within.add(beginning)
        self._within = sorted(within)
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for beginning in self._askers.keys() - within:
            self._by_key[_key(beginning)].append(beginning)

    def places(self, text: str) -> Mapping[Asker, Sequence[int]]:
        """Asker → where a beginning of theirs stands, in text order, each once."""
        lowered = lower_case(text)
        found: dict[Asker, set[int]] = defaultdict(set)
        for beginning in self._likely(lowered):
            start = lowered.find(beginning)
            if start >= 0:
                starts = list(_occurrences(lowered, beginning, start))
                for asker in self._askers[beginning]:
                    found[asker].update(starts)
        return {asker: sorted(starts) for asker, starts in found.items()}

    def _likely(self, lowered: str) -> Iterator[str]:
        """Beginnings that may stand in the text: some words begin like them."""
        yield from self._within
        for key in self._by_key.keys() & frozenset(_WORD_STARTS.findall(lowered)):
            yield from self._by_key[key]


def _key(beginning: str) -> str:
    """What a word looks like that begins so; nothing if it may look in several ways."""
    leading = _LEADING.match(beginning)
    key = leading.group() if leading else ""
    # "hi" may go on, "hi " may not.
    return key if len(key) == _KEY or len(key) < len(beginning) else ""


def _occurrences(text: str, value: str, start: int) -> Iterator[int]:
    while start >= 0:
        yield start
        start = text.find(value, start + 1)


def matches_at(
    pattern: regex.Pattern[str], text: str, places: Iterable[int], seconds: Callable[[], float]
) -> Iterator[regex.Match[str]]:
    """What `pattern.finditer` finds, where its matches can only begin at the given places.

    Args:
        pattern: what is matched.
        text: in which.
        places: in text order.
        seconds: how many an attempt may take.

    Raises:
        TimeoutError: one took longer.
    """
    end = 0
    for place in places:
        if place >= end:
            match = pattern.match(text, place, timeout=seconds())
            if match is not None:
                end = max(match.end(), place + 1)
                yield match


@dataclass(frozen=True, slots=True)
class Condensed:
    """The stretches of a text around its digits, one after the other, with the way back."""

    text: str
    starts: Sequence[int]
    """Where each stretch begins in the condensed text."""
    shifts: Sequence[int]
    """What must be added to a place in a stretch."""

    def shift(self, start: int) -> int:
        """What must be added to a place of the condensed text for its place in the text itself."""
        return self.shifts[bisect_right(self.starts, start) - 1]


class TextIndex(Generic[Asker]):
    """One text, and what patterns need to know of it before they are tried."""

    def __init__(self, text: str, cues: Cues[Asker]) -> None:
        self.text = text
        self._cues = cues
        self._condensed: dict[int, Condensed] = {}

    @cached_property
    def places(self) -> Mapping[Asker, Sequence[int]]:
        """Where the beginnings stand that are asked for."""
        return self._cues.places(self.text)

    @cached_property
    def digits(self) -> list[tuple[int, int]]:
        """Start and end of each run of digits."""
        return [match.span() for match in _DIGITS.finditer(self.text)]

    def near_digits(self, reach: int) -> Condensed:
        """Whatever lies less than `reach` and `LOOK_BACK` characters before a digit, or behind it.

        A match that sees a digit, no farther ahead than `reach` and no farther back than
        `LOOK_BACK`, is decided by characters that stand together here as they do in the text; and
        none is made of two stretches, since too many characters are between their digits.
        """
        found = self._condensed.get(reach)
        if found is None:
            found = self._condensed[reach] = _condensed(self.text, self.digits, reach)
        return found


def _condensed(text: str, digits: Iterable[tuple[int, int]], reach: int) -> Condensed:
    parts: list[str] = []
    starts: list[int] = []
    shifts: list[int] = []
    begin, end, length = 0, -1, 0

    def close() -> None:
        nonlocal length
        if end >= 0:
            parts.append(text[begin:end])
            starts.append(length)
            shifts.append(begin - length)
            length += end - begin

    for first, last in digits:
        if first - reach - LOOK_BACK > end:
            close()
            begin = max(first - reach - LOOK_BACK, 0)
        end = min(last + reach, len(text))
    close()
    return Condensed("".join(parts), starts, shifts)
