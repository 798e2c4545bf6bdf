"""Words of a text as the tagger reads them, and the hashed features of a word.

Embeddings of hashed sub-words (Bojanowski et al. 2017) beside one of the whole word and one of its
shape: no vocabulary, so that a name nobody has seen still looks like one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from zlib import crc32

import regex

NUM_WORDS, NUM_SUBWORDS, NUM_SHAPES = 49_152, 32_768, 1_024
"""Rows of the three embedding tables."""
MAX_SUBWORDS = 24
_LONGEST = 40

# Chinese and Japanese put no spaces between words: there, each character is one.
_WORD = regex.compile(
    r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]+"
    r"|\p{N}+|\n+|[^\s\p{L}\p{M}\p{N}])",
    regex.V1,
)
# The same for text that is nothing but ASCII, as most is, in half of the time.
_ASCII_WORD = re.compile(r"([A-Za-z]+|[0-9]+|\n+|[^ \t\n\r\f\vA-Za-z0-9])")
_ALIKE = regex.compile(r"(.)\1+")


@dataclass(frozen=True, slots=True)
class Words:
    """A text's words: their offsets, and whether white space stands before them."""

    texts: list[str]
    starts: list[int]
    spaced: list[bool]

    def __len__(self) -> int:
        return len(self.texts)


def words_of(text: str) -> Words:
    """Letters, digits, line breaks and every other character that is not white space."""
    # What is between words and the words, in turn.
    parts: list[str] = (_ASCII_WORD if text.isascii() else _WORD).split(text)
    between, texts = parts[0:-1:2], parts[1::2]
    starts = list(accumulate(map(len, parts[:-1])))[::2]
    spaced = list(map(bool, between))
    if spaced:
        spaced[0] = True
    return Words(texts, starts, spaced)


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of the tables that a word's vector is the sum of."""

    word: int
    subwords: tuple[int, ...]
    shape: int


def _shape_id(shape: str) -> int:
    return crc32(shape.encode()) % NUM_SHAPES


def features_of(word: str) -> Features:
    """The features of one word."""
    if word[0] == "\n":
        word = "\n" if len(word) == 1 else "\n\n"
    word = word[:_LONGEST]
    lowered = word.lower()
    if word[0].isdigit():
        # Which digits they are tells nothing, but for years; how many tells much.
        year = len(word) == 4 and word[:2] in {"19", "20"}
        lowered = word if len(word) < 3 else (word[:3] + "0" if year else "0" * len(word))
        shape = f"d{min(len(word), 12)}{year}"
        return Features(crc32(lowered.encode()) % NUM_WORDS, (), _shape_id(shape))
    encoded = lowered.encode()
    padded = f"<{lowered}>"
    grams = [padded[i : i + 3] for i in range(len(padded) - 2)]
    grams += [padded[i : i + 4] for i in range(len(padded) - 3)]
    subwords = tuple(crc32(g.encode()) % NUM_SUBWORDS for g in grams[:MAX_SUBWORDS])
    kinds = "".join("X" if c.isupper() else "x" if c.isalpha() else c for c in word)
    runs = _ALIKE.sub(r"\1", kinds)[:6]
    shape = f"{runs}{min(len(word), 4)}{_script(word[0])}"
    return Features(crc32(encoded) % NUM_WORDS, subwords, _shape_id(shape))


def _script(character: str) -> str:
    code = ord(character)
    return "a" if code < 0x250 else str(code >> 8)
