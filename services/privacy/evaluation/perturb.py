"""Perturbations: the same labelled text as keyboards, tables and disguises would have it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from .formats import LabelledText

_LOOK_ALIKE = str.maketrans("aeopcxAEOPCXBHKMT", "аеорсхАЕОРСХВНКМТ")
# Not the full stop of "Mr." and of initials.
_SENTENCE_END = re.compile(r"(?<=[^\W_]{3})(?<!\bMrs)\. |(?<=[\d)])\. ")
_ZERO_WIDTH = "\N{ZERO WIDTH SPACE}"


def perturbed(texts: Iterable[LabelledText], name: str, seed: int = 0) -> list[LabelledText]:
    """The texts under a perturbation of `PERTURBATIONS`, with their labels moved along."""
    draw = random.Random(seed)
    return [_changed(labelled, name, draw) for labelled in texts]


def _changed(labelled: LabelledText, name: str, draw: random.Random) -> LabelledText:
    """The text cut where labels begin and end, each piece changed by itself."""
    change = PERTURBATIONS[name]
    within = {(span.start, span.end) for span in labelled.spans} if name in _BETWEEN else set()
    cuts = {0, len(labelled.text)}
    for span in labelled.spans:
        cuts |= {span.start, span.end}
    places = sorted(cuts)
    moved, text = {0: 0}, ""
    for start, end in pairwise(places):
        piece = labelled.text[start:end]
        inside = any(first <= start and end <= last for first, last in within)
        text += piece if inside else change(piece, draw)
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
    return _SENTENCE_END.sub(" |\n| ", text.replace(", ", " | "))


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
_BETWEEN = frozenset({"table"})
"""What changes only what stands between the labels: a cell holds the whole of a value."""
