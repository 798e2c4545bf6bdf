"""The shadow of a text: what it looks like, for recognizers that know ASCII alone.

Invisible characters inside an address, a no-break space between the groups of a card number or a
full-width digit keep a pattern from matching, though a reader sees no difference. Recognizers read
the shadow; findings are mapped back to the text itself. (Unicode Technical Report 36, section 2.)
"""

from __future__ import annotations

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


def shadow_of(text: str) -> Shadow:
    """The shadow of a text; ASCII is its own."""
    if text.isascii():
        return Shadow(text=text, offsets=None)
    plain = [_plain(character) for character in text]
    offsets = array("q", (place for place, c in enumerate(plain) if c))
    return Shadow(text="".join(plain), offsets=offsets)
