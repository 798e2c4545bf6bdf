"""Text index: where in a text its cues and its digits are, found once for all patterns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from time import monotonic
from typing import Generic, TypeVar

import regex

from .anchors import Anchor, lower_case

_DIGITS = re.compile(r"\d+")
_APART = 64
"""Characters that are sooner looked at than passed over."""
_KEY = 3
# A word of letters may also begin behind a digit or an underscore, to whoever splits words there.
_WORD_STARTS = re.compile(rf"\b\w{{1,{_KEY}}}")
_LETTER_STARTS = re.compile(rf"[\d_](?=([^\W\d_]\w{{0,{_KEY - 1}}}))")
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
        self._short = {len(key) - 1 for key in self._by_key if key.endswith("*")}

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
        starts = {*_WORD_STARTS.findall(lowered), *_LETTER_STARTS.findall(lowered)}
        starts.update([f"{start[:length]}*" for start in starts for length in self._short])
        for key in self._by_key.keys() & starts:
            yield from self._by_key[key]


def _key(beginning: str) -> str:
    """What a word looks like that begins so, a star for what may follow; "" if it is no word."""
    leading = _LEADING.match(beginning)
    key = leading.group() if leading else ""
    # "hi" may go on, "hi " may not.
    return key if not key or len(key) == _KEY or len(key) < len(beginning) else f"{key}*"


def _occurrences(text: str, value: str, start: int) -> Iterator[int]:
    while start >= 0:
        yield start
        start = text.find(value, start + 1)


def matches_at(
    pattern: regex.Pattern[str], text: str, places: Iterable[int], seconds: float
) -> Iterator[regex.Match[str]]:
    """What `pattern.finditer` finds, where its matches can only begin at the given places.

    Args:
        pattern: what is matched.
        text: in which.
        places: in text order.
        seconds: how many all attempts may take.

    Raises:
        TimeoutError: they took longer.
    """
    end, gives_up = 0, monotonic() + seconds
    for place in places:
        if place >= end:
            # Never nothing: to `regex` that means no limit.
            match = pattern.match(text, place, timeout=max(gives_up - monotonic(), 1e-3))
            if match is not None:
                end = max(match.end(), place + 1)
                yield match


class TextIndex(Generic[Asker]):
    """One text, and what patterns need to know of it before they are tried."""

    def __init__(self, text: str, cues: Cues[Asker]) -> None:
        self.text = text
        self._cues = cues
        self._near_digits: dict[tuple[int, int], Sequence[tuple[int, int]]] = {}

    @cached_property
    def places(self) -> Mapping[Asker, Sequence[int]]:
        """Where the beginnings stand that are asked for."""
        return self._cues.places(self.text)

    @cached_property
    def digits(self) -> list[tuple[int, int]]:
        """Start and end of each run of digits."""
        return [match.span() for match in _DIGITS.finditer(self.text)]

    @cached_property
    def num_digits(self) -> int:
        """How many digits there are."""
        return sum(end - start for start, end in self.digits)

    def has_before_number(self, endings: tuple[str, ...]) -> bool:
        """Whether any of the endings stands one blank before a number."""
        text = self.text
        return any(
            first and text[first - 1] == " " and text.endswith(endings, 0, first - 1)
            for first, _ in self.digits
        )

    def near_digits(self, num_digits: int, reach: int) -> Sequence[tuple[int, int]]:
        """Stretches of the text in which there is whatever holds so many digits and is so long.

        Within `reach` characters from its beginning on, a match sees `num_digits` digits. So there
        are none far from digits that stand so close, and near them all is seen that decides one.
        """
        key = num_digits, reach
        found = self._near_digits.get(key)
        if found is None:
            close = _close(self.digits, num_digits, reach)
            found = self._near_digits[key] = list(_stretches(close, reach, len(self.text)))
        return found


def _close(
    runs: Sequence[tuple[int, int]], num_digits: int, reach: int
) -> Iterator[tuple[int, int]]:
    """The runs of digits of which some, less than `reach` apart, have so many digits in all."""
    first, held, kept = 0, 0, 0
    for last, (start, end) in enumerate(runs):
        held += end - start
        while start - runs[first][1] >= reach:
            held -= runs[first][1] - runs[first][0]
            first += 1
        if held >= num_digits:
            yield from runs[max(first, kept) : last + 1]
            kept = last + 1


def _stretches(
    runs: Iterable[tuple[int, int]], reach: int, length: int
) -> Iterator[tuple[int, int]]:
    """The runs with `reach` characters around each; what lies close together is one."""
    begin, end = 0, -1
    for start, stop in runs:
        if start - reach > end + _APART:
            if end >= 0:
                yield begin, min(end, length)
            begin = max(start - reach, 0)
        end = stop + reach
    if end >= 0:
        yield begin, min(end, length)
