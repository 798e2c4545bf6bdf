"""Perturbations: the same labelled text as keyboards, tables and disguises would have it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from .formats import LabelledText

_LOOK_ALIKE = str.maketrans("aeopcxAEOPCXBHKMT", "аеорсхАЕОРСХВНКМТ")
_ZERO_WIDTH = "\N{ZERO WIDTH SPACE}"


def perturbed(texts: Iterable[LabelledText], name: str, seed: int = 0) -> list[LabelledText]:
    """The texts under a perturbation of `PERTURBATIONS`, with their labels moved along."""
    draw = random.Random(seed)
    return [_changed(labelled, PERTURBATIONS[name], draw) for labelled in texts]


def _changed(
    labelled: LabelledText, change: Callable[[str, random.Random], str], draw: random.Random
) -> LabelledText:
    """The text cut where labels begin and end, each piece changed by itself."""
    cuts = {0, len(labelled.text)}
    for span in labelled.spans:
        cuts |= {span.start, span.end}
    places = sorted(cuts)
    moved, text = {0: 0}, ""
    for start, end in pairwise(places):
        text += change(labelled.text[start:end], draw)
        moved[end] = len(text)
    spans = (
        replace(s, start=moved[s.start], end=moved[s.end])
        for s in labelled.spans
        if moved[s.start] < moved[s.end]
    )
    return replace(labelled, text=text, spans=tuple(spans))


def _lower(text: str, _: random.Random) -> str:
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _typo(text: str, draw: random.Random) -> str:
    """One word in eight with two letters swapped or one doubled."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and draw.random() < 0.125:
            at = draw.randrange(1, len(word) - 2)
            if draw.random() < 0.5:
                words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            else:
                words[i] = word[:at] + word[at] + word[at:]
    return " ".join(words)


def _table(text: str, _: random.Random) -> str:
    """Cells in place of clauses."""
    return text.replace(", ", " | ").replace(". ", " |\n| ")


def _json(text: str, _: random.Random) -> str:
    """As the value of a JSON field is written."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _confusable(text: str, draw: random.Random) -> str:
    """One word in six in letters that look the same, or with a space of no width inside."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 3 and draw.random() < 1 / 6:
            half = len(word) // 2
            shown = word[:half] + _ZERO_WIDTH + word[half:]
            words[i] = word.translate(_LOOK_ALIKE) if draw.random() < 0.5 else shown
    return " ".join(words)


PERTURBATIONS: dict[str, Callable[[str, random.Random], str]] = {
    "lower case": _lower,
    "capitals": lambda text, _: text.upper() if len(text.upper()) == len(text) else text,
    "typing errors": _typo,
    "table": _table,
    "JSON": _json,
    "confusables": _confusable,
}
