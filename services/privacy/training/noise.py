"""Noise: what keyboards, telephones and databases do to text, with the labels carried along."""

from __future__ import annotations

import random
from collections.abc import Callable

from .fill_numbers import Segment

_NEAR = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "x",
}  # fmt: skip
_SHARES: tuple[tuple[float, str], ...] = (
    (0.45, "none"),
    (0.19, "lower"),
    (0.11, "upper"),
    (0.03, "title"),
    (0.10, "typos"),
    (0.03, "bare"),
    (0.02, "spaces"),
    (0.07, "cells"),
)


def disturb(segments: list[Segment], draw: random.Random) -> list[Segment]:
    """The segments with one kind of noise, or none."""
    kinds = [kind for _, kind in _SHARES]
    kind = draw.choices(kinds, weights=[share for share, _ in _SHARES])[0]
    changes: dict[str, Callable[[str], str]] = {
        "none": str,
        "lower": str.lower,
        "upper": str.upper,
        "title": str.title,
        "typos": lambda text: _typos(text, draw),
        "bare": lambda text: text.replace(",", "").replace(".", ""),
        "spaces": lambda text: text.replace(" ", draw.choice(("  ", "\n", "\t", " \n "))),
        "cells": _in_cells(draw),
    }
    change = changes[kind]
    if kind == "typos" and draw.random() < 0.4:
        return [(_typos(text.lower(), draw), label) for text, label in segments]
    return [(change(text), label) for text, label in segments]


def _in_cells(draw: random.Random) -> Callable[[str], str]:
    """Clauses as the cells of a table, sentences as its rows, in any case of letters."""
    wall = draw.choice((" | ", " | ", "\t", ";", " || "))
    row = draw.choice((" |\n| ", "\n", " |\n"))
    case: Callable[[str], str] = draw.choice((str, str, str.lower, str.upper))
    return lambda text: case(text.replace(", ", wall).replace(". ", row))


def _typos(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 3 and draw.random() < 0.12 and word.isalpha():
            at = draw.randrange(1, len(word) - 1)
            form = draw.randrange(4)
            if form == 0:
                words[i] = word[:at] + word[at + 1 :]
            elif form == 1:
                words[i] = word[:at] + word[at] + word[at:]
            elif form == 2:
                words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            else:
                near = draw.choice(_NEAR.get(word[at].lower(), word[at]))
                words[i] = word[:at] + near + word[at + 1 :]
    return " ".join(words)
