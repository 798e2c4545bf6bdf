"""Languages: whether a text is English, as far as its small words tell.

The tagger has learnt English. In another language every word is new to it, and what is new looks
like a name. Where a text is plainly of another language that writes names with a capital, words in
small letters are nobody's.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

import regex

_CODES = (
    "da", "de", "es", "fi", "fr", "id", "it", "nb", "nl", "pl", "pt", "ro", "ru", "sv", "tr", "uk",
)  # fmt: skip
"""ISO 639-1 codes of languages that are told from English; all write names with a capital."""
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_NO_WORDS = regex.compile(r"https?://\S+|[@#]\w+|\S+@\S+")
_OTHER_LETTERS = regex.compile(r"(?:\P{L}*\p{Cyrillic}){8}")
_FEWEST_WORDS = 4
_FEWEST_DIFFERENT = 3
"""Small words of a language: two may be names, or the slang of another."""
_ENGLISH = 0.3
_FOREIGN = 0.25
_READ = 4_000
"""Characters that are looked at."""


def foreign_small_words(text: str) -> frozenset[str] | None:
    """The small words of the language that a text is plainly in; None if that may be English.

    None where it is in doubt, as in a few words or in English mixed with romanised Hindi.
    """
    plain = text[:_READ]
    if any(sign in plain for sign in ("@", "#", "://")):
        plain = _NO_WORDS.sub(" ", plain)
    words = [word for word in _WORD.findall(plain.lower()) if len(word) > 1]
    english = sum(map(_small_words("en").__contains__, words))
    if len(words) < _FEWEST_WORDS or english >= _ENGLISH * len(words):
        return None
    own, code = max((sum(word in _small_words(code) for word in words), code) for code in _CODES)
    different = len(_small_words(code).intersection(words))
    # Letters of another alphabet tell by themselves that a text is not English.
    enough = 1 if _OTHER_LETTERS.match(plain) else _FEWEST_DIFFERENT
    if own < _FOREIGN * len(words) or own < 2 * english or different < enough:
        return None
    return _small_words(code)


def capitalised_parts(text: str, small: frozenset[str]) -> list[tuple[int, int]]:
    """Where words with a capital or digits stand in a row, without the small ones among them."""
    parts: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.lower() in small or not any(c.isupper() or c.isdigit() for c in token):
            continue
        between = text[parts[-1][1] : match.start()] if parts else ""
        if parts and not any(map(str.isalnum, between)):
            parts[-1] = (parts[-1][0], match.end())
        else:
            parts.append(match.span())
    return parts


_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}]+")


@cache
def _small_words(code: str) -> frozenset[str]:
    module = import_module(f"spacy.lang.{code}.stop_words")
    return frozenset(word.lower() for word in module.STOP_WORDS)
