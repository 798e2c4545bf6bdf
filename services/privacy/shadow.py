"""The shadow of a text: what it looks like, for recognizers that know ASCII alone.

Invisible characters inside an address, a no-break space between the groups of a card number or a
full-width digit keep a pattern from matching, though a reader sees no difference. Recognizers read
the shadow; findings are mapped back to the text itself. (Unicode Technical Report 36, section 2.)
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow:
    """A text as patterns read it, with the way back."""

    text: str
    offsets: array[int] | None
    """Place in the original of each character of the shadow; None where both are the same."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that a span of the shadow stands for."""
        if self.offsets is None or start >= end:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """What a character looks like: nothing, one ASCII character, or itself."""
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    if character == "\N{IDEOGRAPHIC FULL STOP}":
        return "."
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) == 1 and folded.isascii() else character


# Letters that look like Latin ones (Unicode Technical Standard 39, confusables), of which each font
# has all in the same shape.
_DISGUISES = "АВЕКМНОРСТУХасеорхуіјѕԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧονα"
_LOOKS = "ABEKMHOPCTYXaceopxyijsdqwhABEZHIKMNOPTYXova"
_LOOK = dict(zip(_DISGUISES, _LOOKS, strict=True))
_WORD = re.compile(r"[^\W\d_]+")
_DISGUISED = re.compile(f"[{_DISGUISES}]")
_HONEST = re.compile(f"[\u0370-\u052f](?<![{_DISGUISES}])")
_ASCII_LETTER = re.compile("[A-Za-z]")


def _undisguised(text: str) -> str:
    """The text with Cyrillic and Greek letters that pass for Latin ones made Latin.

    Only within words that have Latin letters as well, and in a text without any other Cyrillic or
    Greek letter: Russian stays Russian.
    """
    if _DISGUISED.search(text) is None:
        return text
    everywhere = _HONEST.search(text) is None and _ASCII_LETTER.search(text) is not None

    def shown(match: re.Match[str]) -> str:
        word = match.group()
        if not (everywhere or _ASCII_LETTER.search(word)):
            return word
        return "".join(_LOOK.get(character, character) for character in word)

    return _WORD.sub(shown, text)


# How JSON writes line breaks, tabs and quotation marks: as long as what they are shown as.
_ESCAPES = (("\\n", " \n"), ("\\r", " \n"), ("\\t", " \t"), ('\\"', ' "'), ("\\/", " /"))


def shadow_of(text: str) -> Shadow:
    """The shadow of a text; ASCII without a backslash is its own."""
    if "\\" in text:
        for escape, shown in _ESCAPES:
            text = text.replace(escape, shown)
    if text.isascii():
        return Shadow(text=text, offsets=None)
    plain = [_plain(character) for character in _undisguised(text)]
    offsets = array("q", (place for place, c in enumerate(plain) if c))
    return Shadow(text="".join(plain), offsets=offsets)
