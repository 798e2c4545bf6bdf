"""Control tokens: those that only a template may write, never somebody whose words it renders.

A guard is put between the characters of a message that read like a control token before it is
rendered, so whatever reads like one afterwards is the template's. That is replaced by an alias,
the guards are taken away, and the tokenizer knows control tokens by their aliases alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from ...mixer.example import Speaker

GUARD = "\ufdd0"
ALIAS = "\ufdd3"
"""What an alias begins with."""
_FIRST_ALIAS = 0xF0000
_OURS = {place: "\N{REPLACEMENT CHARACTER}" for place in range(0xFDD0, 0xFDF0)}
"""Noncharacters, which no text should have; Unicode proposes this replacement."""
_ANY_OF_OURS = re.compile("[\ufdd0-\ufdef]")


class Controls:
    """The control tokens of a tokenizer."""

    def __init__(self, texts: Collection[str], *, turn_markers: Collection[str]) -> None:
        """Knows them.

        Args:
            texts: all of them.
            turn_markers: those that are not for the assistant to write either; the others, such as
                the tags of its reasoning, are tokens in what the assistant says.
        """
        self.aliases = {
            text: ALIAS + chr(_FIRST_ALIAS + number) for number, text in enumerate(sorted(texts))
        }
        """For each, what the tokenizer knows it by."""
        self._written = _any_of(texts, unguarded=True)
        self._replaced = re.compile(f"{GUARD}|{self._written.pattern}")
        self._typed = {
            speaker: _Typed(turn_markers if speaker is Speaker.ASSISTANT else texts)
            for speaker in Speaker
        }

    def guarded(self, content: str, speaker: Speaker) -> str:
        """What somebody said, so that nothing in it reads like a control token.

        Noncharacters in it become U+FFFD.
        """
        if _ANY_OF_OURS.search(content):
            content = content.translate(_OURS)
        return self._typed[speaker].guarded(content)

    def occurring(self, text: str) -> list[tuple[int, int]]:
        """Where a text has control tokens."""
        return [match.span() for match in self._written.finditer(text)]

    def aliased(self, text: str, places: Sequence[int]) -> tuple[str, list[int]]:
        """A text with its control tokens as aliases and without guards.

        Args:
            text: what a template wrote.
            places: places in it, rising.

        Returns:
            The text, and where its places are now.
        """
        parts: list[str] = []
        moved: list[int] = []
        waiting = iter((*places, len(text) + 1))
        place, end, length = next(waiting), 0, 0
        for match in self._replaced.finditer(text):
            start, stop = match.span()
            parts.append(text[end:start])
            while place <= start:
                moved.append(length + place - end)
                place = next(waiting)
            alias = self.aliases.get(match[0], "")
            parts.append(alias)
            length, end = length + start - end + len(alias), stop
            while place < stop:
                moved.append(length)
                place = next(waiting)
        parts.append(text[end:])
        moved.extend(length + later - end for later in (place, *waiting))
        return "".join(parts), moved[:-1]


class _Typed:
    """What reads like a control token in the words of somebody."""

    def __init__(self, texts: Collection[str]) -> None:
        self._whole = _any_of(texts)
        self._heads = frozenset(text[:n] for text in texts for n in range(1, len(text)))
        self._tails = frozenset(text[n:] for text in texts for n in range(1, len(text)))
        self._longest = max(map(len, texts), default=0)
        self._all = "\n".join(texts)
        self._first = frozenset(text[0] for text in self._tails)
        self._last = frozenset(text[-1] for text in self._heads)

    def guarded(self, content: str) -> str:
        content = self._whole.sub(lambda match: GUARD.join(match[0]) + GUARD, content)
        # What is around it may complete what it begins or ends with, once it is trimmed too.
        bare = content.strip()
        if self._completes(bare):
            content = content.replace(bare, f"{GUARD}{bare}{GUARD}", 1)
        if len(bare) < len(content) and self._completes(content):
            content = f"{GUARD}{content}{GUARD}"
        return content

    def _completes(self, content: str) -> bool:
        if not content:
            return False
        sizes = range(1, min(len(content), self._longest) + 1)
        return (
            (content[0] in self._first and any(content[:n] in self._tails for n in sizes))
            or (content[-1] in self._last and any(content[-n:] in self._heads for n in sizes))
            or (len(content) <= self._longest and content in self._all)
        )


def _any_of(texts: Iterable[str], *, unguarded: bool = False) -> re.Pattern[str]:
    """Finds the longest of some texts; those of one character only where no guard follows."""
    ahead = f"(?!{GUARD})" if unguarded else ""
    longest = sorted(texts, key=lambda text: (-len(text), text))
    found = (re.escape(text) + (ahead if len(text) == 1 else "") for text in longest)
    return re.compile("|".join(found) or "(?!)")
