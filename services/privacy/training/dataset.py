"""Batches for the tagger: documents as rows of tables, and the labels each word may have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from ..tagger.labels import ANY, KINDS, OUTSIDE, bit, bits_of
from ..tagger.words import MAX_SUBWORDS, features_of, words_of
from .fill import Filler
from .fill_numbers import Segment
from .gold import Row, merged, read_gold
from .noise import disturb
from .silver import Silver
from .template import expand, templates

GAP = 8
"""Empty words between documents: no convolution sees past them."""
_DOMAINS = {"judgments": 0.24, "support": 0.26, "social": 0.16, "records": 0.14, "prose": 0.20}
_SWAPPED = {"PERSON": "person", "LOC": "city", "ORG": "org"}
# What a label that is none of ours leaves open.
_OPEN = {
    "PRODUCT": OUTSIDE | bits_of("MISC"),
    "WORK": OUTSIDE | bits_of("MISC") | bits_of("ORG"),
    "PRICE": OUTSIDE | bits_of("QTY"),
    "DAY": OUTSIDE | bits_of("DATE"),
    "UNKNOWN": ANY,
}
_NER_OUTSIDE = OUTSIDE
for _kind in KINDS:
    if _kind not in {"PERSON", "ORG", "LOC"}:
        _NER_OUTSIDE |= bits_of(_kind)
_SILENT = {
    "all": OUTSIDE,
    "ner": _NER_OUTSIDE,
    "pii": OUTSIDE | bits_of("AGE") | bits_of("TIME") | bits_of("DEM") | bits_of("QTY"),
}
"""What a word without a label may be, by the labels that a set has."""


@dataclass(frozen=True, slots=True)
class Document:
    """Words of one text: their features, and the sets of labels allowed for them."""

    texts: list[str]
    spaced: list[bool]
    allowed: list[int]


def labelled(segments: list[Segment], scheme: str = "all") -> Document:
    """A document of segments; a word across two of them takes the later label."""
    spans: list[tuple[int, int, str]] = []
    pieces: list[str] = []
    position = 0
    for text, label in merged(segments):
        if label is not None:
            spans.append((position, position + len(text), label))
        pieces.append(text)
        position += len(text)
    words = words_of("".join(pieces))
    outside = _SILENT[scheme]
    allowed = []
    at, inside = 0, -1
    for start, word in zip(words.starts, words.texts, strict=True):
        while at < len(spans) and spans[at][1] <= start:
            at += 1
        if at == len(spans) or start + len(word) <= spans[at][0]:
            allowed.append(outside)
            continue
        label = spans[at][2]
        if label in _OPEN:
            allowed.append(_OPEN[label])
        else:
            allowed.append(bit(f"{'I' if inside == at else 'B'}-{label}"))
        inside = at
    return Document(words.texts, words.spaced, allowed)


class Source:
    """Draws documents: synthetic ones, silver ones, and gold ones with people exchanged."""

    def __init__(self, folder: Path, nltk_names: tuple[str, ...], seed: int, split: str) -> None:
        self.draw = random.Random(seed)
        self.fill = Filler(self.draw, nltk_names)
        self._gold = [row for row in read_gold(folder / "pii") if row.split == split]
        self._silver = Silver(folder, split)
        self._templates = {domain: templates(domain, split) for domain in _DOMAINS}

    def document(self) -> Document:
        """One document."""
        form = self.draw.random()
        self.fill.new_document()
        if form < 0.44:
            return labelled(disturb(self.synthetic(), self.draw))
        if form < 0.56:
            # Invented sentences within real text.
            real = self._silver.passage(self.draw, self.fill)
            cut = self.draw.randrange(len(real))
            space: Segment = (self.draw.choice((" ", "\n")), None)
            whole = [*real[:cut], space, *self.synthetic(), space, *real[cut:]]
            return labelled(disturb(whole, self.draw))
        if form < 0.70:
            return labelled(disturb(self._silver.passage(self.draw, self.fill), self.draw))
        rows = self._gold
        start = self.draw.randrange(len(rows))
        count = self.draw.choice((1, 1, 2, 4))
        chosen = [rows[start]]
        if chosen[0].scheme == "ner":
            more = rows[start + 1 : start + count]
            chosen += [row for row in more if row.source == chosen[0].source]
        segments: list[Segment] = []
        for row in chosen:
            segments += [*self._swapped(row), (" ", None)]
        return labelled(disturb(segments, self.draw), chosen[0].scheme)

    def synthetic(self) -> list[Segment]:
        """One to nine templates of one domain, with people that come back."""
        domain = self.draw.choices(list(_DOMAINS), weights=list(_DOMAINS.values()))[0]
        count = self.draw.choice((1, 1, 1, 2, 3, 5, 9) if domain != "judgments" else (1, 3, 6, 9))
        glue = self.draw.choice((" ", "\n", "\n\n", " "))
        segments: list[Segment] = []
        for number in range(count):
            if number:
                segments.append((glue, None))
            segments += expand(self.draw.choice(self._templates[domain]), self.fill)
        return segments

    def _swapped(self, row: Row) -> list[Segment]:
        if self.draw.random() < 0.5:
            return row.segments
        out: list[Segment] = []
        for text, label in merged(row.segments):
            if label in _SWAPPED and self.draw.random() < 0.7:
                slot = _SWAPPED[label]
                if label == "PERSON" and " " not in text:
                    slot = self.draw.choice(("first", "last"))
                new = "".join(part for part, _ in self.fill(slot))
                text = new.lower() if text.islower() else new
            out.append((text, label))
        return out


@lru_cache(maxsize=1 << 20)
def _rows_of(word: str) -> tuple[int, int, tuple[int, ...]]:
    found = features_of(word)
    return found.word, found.shape, found.subwords


def collate(documents: list[Document]) -> dict[str, Any]:
    """Documents as one long sequence with gaps; features are of each different word once."""
    index: dict[str, int] = {}
    ids: list[int] = []
    spaced: list[bool] = []
    allowed: list[int] = []
    for document in documents:
        ids += [index.setdefault(text, len(index)) for text in document.texts]
        ids += [-1] * GAP
        spaced += document.spaced
        spaced += [False] * GAP
        allowed += document.allowed
        allowed += [ANY] * GAP
    words = np.empty(len(index), np.int64)
    shapes = np.empty(len(index), np.int64)
    subwords = np.zeros((len(index), MAX_SUBWORDS), np.int64)
    counts = np.zeros(len(index), np.int64)
    for text, row in index.items():
        words[row], shapes[row], grams = _rows_of(text)
        subwords[row, : len(grams)] = grams
        counts[row] = len(grams)
    return {
        "ids": torch.tensor(ids),
        "spaced": torch.tensor(spaced),
        "allowed": torch.tensor(allowed),
        "words": torch.from_numpy(words),
        "shapes": torch.from_numpy(shapes),
        "subwords": torch.from_numpy(subwords),
        "counts": torch.from_numpy(counts),
    }


class Batches(IterableDataset[dict[str, Any]]):
    """Endless batches of about so many words."""

    def __init__(
        self, folder: Path, nltk_names: tuple[str, ...], seed: int, num_words: int
    ) -> None:
        self._arguments = (folder, nltk_names)
        self._seed = seed
        self._num_words = num_words

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches of a stream that depends on the seed and the worker alone."""
        worker = torch.utils.data.get_worker_info()
        number = worker.id if worker else 0
        source = Source(*self._arguments, self._seed * 1000 + number, "train")
        while True:
            documents: list[Document] = []
            while sum(len(d.texts) for d in documents) < self._num_words:
                documents.append(source.document())
            yield collate(documents)
