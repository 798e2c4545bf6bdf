"""Case: which lines of a text tell nothing by their capitals."""

from __future__ import annotations

from collections.abc import Iterator

import regex

_TWO_SMALL = regex.compile(r"\p{Ll}{2}")
_SHOUTED = regex.compile(r"\p{Lu}{2}[\p{L}\p{M}]*")
_FEWEST_SHOUTED = 2
"""Words in capitals that make a line of capitals: one may be an abbreviation."""
# A capital within a sentence, other than the English pronoun.
_TELLING = regex.compile(
    r"[\p{L}\p{N}][^\p{L}\p{N}.!?…]{1,4}(?!I(?![\p{L}\p{N}]))\p{Lu}(?=[\p{L}\p{M}.])"
)


def caseless_lines(text: str) -> Iterator[tuple[int, int]]:
    """Where lines stand whose capitals tell no name from a word: `start` up to `end`.

    Those are lines in small letters, but for the beginnings of sentences, and lines in capitals.
    Scripts without capitals have no such lines: nothing was taken from them.
    """
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        if _is_caseless(line):
            yield start, end
        start = end + 1


def _is_caseless(line: str) -> bool:
    if _TWO_SMALL.search(line) is None:
        return len(_SHOUTED.findall(line)) >= _FEWEST_SHOUTED
    return line.islower() or _TELLING.search(line) is None
