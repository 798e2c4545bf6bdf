"""The shadow of a text: what it looks like, for recognizers that know ASCII alone.

Invisible characters inside an address, a no-break space between the groups of a card number or a
full-width digit keep a pattern from matching, though a reader sees no difference. Recognizers read
the shadow; findings are mapped back to the text itself. (Unicode Technical Report 36, section 2.)
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from urllib.parse import unquote


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow:
    """A text as patterns read it, with the way back."""

    text: str
    offsets: array[int] | None
    """Place in the original of each character of the shadow; None where both are the same."""
    widths: Mapping[int, int] = field(default_factory=dict)
    """How many characters of the original stand for one of the shadow, by place, if several."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that a span of the shadow stands for."""
        if self.offsets is None or start >= end:
            return start, end
        first, last = self.offsets[start], self.offsets[end - 1]
        # What is written in several characters, "&#64;", is one; invisible ones are between.
        return first, last + self.widths.get(last, 1)


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """What a character looks like: nothing, one ASCII character, or itself."""
    category = unicodedata.category(character)
    if character in _BREAKS:
        return "\n"
    if category == "Cf" or character in _IGNORED or _is_control(character, category):
        # Of controls: UTF-16 that was read as something else has a zero byte behind each letter.
        return ""
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    if character == "\N{IDEOGRAPHIC FULL STOP}":
        return "."
    if category == "Nd":
        return str(unicodedata.decimal(character))
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) == 1 and folded.isascii() else character


def _is_control(character: str, category: str) -> bool:
    return category == "Cc" and character not in "\t\n\r"


_BREAKS = frozenset("\v\f\x85\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}")
# Code points that nothing is drawn for (Default_Ignorable_Code_Point), and the blank Braille cell.
_IGNORED = frozenset(
    map(
        chr,
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0,
         *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
    )
)  # fmt: skip
# Marks of emphasis around a word, and signs of a form that was sent: as long as what they show.
_UNDERSCORES = re.compile(r"_+")
_FORM = re.compile(r"(?<==)[^\s&=\"']{1,400}(?=[&\s\"']|$)")


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


# How web pages, JSON, links and mails write a character: "&#64;", "&commat;", "\\u0040", "%40", a
# soft line break.
_REFERENCE = re.compile(
    r"&(?:#\d{2,6}|#[xX][0-9a-fA-F]{2,5}|[A-Za-z]{2,8});"
    r"|\\u00[2-9a-fA-F][0-9a-fA-F]|\\x[2-7][0-9a-fA-F]"
    r"|(?<=[\w%=+.-])%(?:[3-6][0-9A-Fa-f]|7[0-9A-Ea-e]|2[0-9A-Fa-f])(?=[\w%+.-])"
    r"|(?<=\w)%(?:40|2[BbDdEe])(?=\w)|(?<=[^\n]{50})=\r?\n(?=\w)"
)


def _referred(reference: str) -> str:
    """The character that is meant, nothing for a soft line break; the same where it is none."""
    if reference[0] == "=":
        return ""
    if reference[0] == "\\":
        return chr(int(reference[2:], 16))
    meant = unquote(reference) if reference[0] == "%" else unescape(reference)
    return meant if len(meant) == 1 else reference


def _without_emphasis(match: re.Match[str]) -> str:
    """Blanks for underscores at one end of a word; "snake_case" and a line of them stay."""
    start, end = match.span()
    before, after = match.string[max(start - 1, 0) : start], match.string[end : end + 1]
    sides = before.isalnum() + after.isalnum()
    is_emphasis = sides == 1 or (sides == 2 and end - start > 1)
    return " " * (end - start) if is_emphasis else match.group()


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def shadow_of(text: str) -> Shadow:
    """The shadow of a text; ASCII without a backslash or a reference is its own."""
    if "\\" in text:
        for escape, shown in _ESCAPES:
            text = text.replace(escape, shown)
    if "_" in text:
        text = _UNDERSCORES.sub(_without_emphasis, text)
    if "+" in text and "=" in text:
        text = _FORM.sub(lambda match: match.group().replace("+", " "), text)
    widths = _references(text)
    if text.isascii() and not widths and _CONTROL.search(text) is None:
        return Shadow(text=text, offsets=None)
    plain = [_plain(character) for character in _undisguised(text)]
    for place, (width, shown) in widths.items():
        plain[place : place + width] = [_plain(shown) if shown else "", *[""] * (width - 1)]
    offsets = array("q", (place for place, c in enumerate(plain) if c))
    return Shadow(
        text="".join(plain),
        offsets=offsets,
        widths={place: width for place, (width, _) in widths.items()},
    )


def _references(text: str) -> dict[int, tuple[int, str]]:
    """Place → how long a reference is there, and what it stands for."""
    if not any(mark in text for mark in "&%=\\"):
        return {}
    found = ((m.start(), m.group()) for m in _REFERENCE.finditer(text))
    return {
        place: (len(reference), shown)
        for place, reference in found
        if (shown := _referred(reference)) != reference
    }
