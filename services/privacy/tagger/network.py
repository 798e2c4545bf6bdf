"""The tagger at run time: NumPy alone, one matrix product a layer, nothing of a text kept.

What the first two layers make of a word depends on the word alone, so it is computed once. It is
kept under a 64-bit hash of the word that is salted for each process, never under the word itself:
what was read cannot be read back from the cache.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from .labels import LABELS
from .words import Words, features_of

Array = NDArray[np.float32]
MAX_CACHED = 1 << 15
_TOGETHER = 16
"""Words that are computed at once, always: in products of other sizes their last bits would be
others, and what becomes of a text would depend on the texts before."""


class Tagger:
    """Probabilities of the labels for each word of a text."""

    def __init__(self, weights: dict[str, NDArray[Any]], dilations: tuple[int, ...]) -> None:
        _one_thread()
        self._dilations = dilations
        self._tables = [
            (weights[f"{name}.weight"], weights[f"{name}.weight.scale"])
            for name in ("word", "subword", "shape")
        ]
        self._space = weights["space"].astype(np.float32)
        self._enter = _layer(weights, "enter")
        self._blocks = [_layer(weights, f"blocks.{i}") for i in range(len(dilations))]
        self._leave = _layer(weights, "leave")
        width = self._enter[0].shape[1]
        self._lock = Lock()
        self._rows: dict[int, int] = {}
        # Of each word, what the first layer makes of it, and what of that the first block takes
        # to the word after it, to itself and to the word before.
        self._known = np.empty((1024, 4 * width), np.float32)

    @classmethod
    def load(cls, path: Path | None = None) -> Tagger:
        """The shipped tagger, or the one in a file."""
        where = path or Path(str(files(__package__) / "model" / "tagger.npz"))
        with np.load(where, allow_pickle=False) as stored:
            weights = {name: stored[name] for name in stored.files}
        described = json.loads(bytes(weights.pop("description")))
        if tuple(described["labels"]) != LABELS:
            raise ValueError(f"{where} has other labels than this version reads.")
        return cls(weights, tuple(described["dilations"]))

    def probabilities(self, words: Words) -> Array:
        """Probabilities, float32 of shape (words, labels).

        Raises:
            FloatingPointError: they are no numbers; no threshold would find anything in them.
        """
        if not len(words):
            return np.empty((0, len(LABELS)), np.float32)
        h = self._after_first_block(words)
        count, width = h.shape
        near = np.empty((count, 3 * width), np.float32)
        new = np.empty_like(h)
        for (matrix, bias), dilation in zip(self._blocks[1:], self._dilations[1:], strict=True):
            d = min(dilation, count)
            near[:d, :width] = 0.0
            near[d:, :width] = h[: count - d]
            near[:, width : 2 * width] = h
            near[: count - d, 2 * width :] = h[d:]
            near[count - d :, 2 * width :] = 0.0
            np.matmul(near, matrix, out=new)
            _add_block(h, new, bias)
        scores = h @ self._leave[0] + self._leave[1]
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        if not np.isfinite(scores).all():
            raise FloatingPointError("probabilities that are no numbers")
        return cast(Array, scores)

    def _after_first_block(self, words: Words) -> Array:
        known = self._of_words(words)
        count, width = len(known), known.shape[1] // 4
        # Like the other blocks, but that each word's three products are known.
        new = known[:, 2 * width : 3 * width].copy()
        d = min(self._dilations[0], count)
        new[d:] += known[: count - d, width : 2 * width]
        new[: count - d] += known[d:, 3 * width :]
        h = known[:, :width].copy()
        _add_block(h, new, self._blocks[0][1])
        return h

    def _of_words(self, words: Words) -> Array:
        # CPython hashes the bytes that a string is kept in: "ab" and U+6261 have the same.
        keys = list(map(hash, zip(words.texts, map(len, words.texts), words.spaced, strict=True)))
        # One tagger serves every thread of a process: a row must not be given away twice, nor
        # the rows be cleared between looking them up and reading them.
        with self._lock:
            rows = self._rows
            if len(rows) + len(words) > MAX_CACHED:
                rows.clear()
            if unknown := set(keys).difference(rows):
                self._learn({key: i for i, key in enumerate(keys) if key in unknown}, words)
            return cast(Array, self._known[list(map(rows.__getitem__, keys))])

    def _learn(self, unknown: dict[int, int], words: Words) -> None:
        """Compute what is not yet known: for each key, the place of a word that has it."""
        vectors = np.zeros((-(-len(unknown) // _TOGETHER), _TOGETHER, len(self._space)), np.float32)
        for i, place in enumerate(unknown.values()):
            vectors[divmod(i, _TOGETHER)] = self._vector(words.texts[place])
            if words.spaced[place]:
                vectors[divmod(i, _TOGETHER)] += self._space
        parts = np.concatenate([self._products(few) for few in vectors])[: len(unknown)]
        start = len(self._rows)
        end = start + len(unknown)
        while end > len(self._known):
            self._known = np.concatenate((self._known, np.empty_like(self._known)))
        self._known[start:end] = parts
        # Last: a word whose vector failed must not be found here the next time.
        self._rows.update(zip(unknown, range(start, end), strict=True))

    def _products(self, vectors: Array) -> Array:
        entered = np.maximum(vectors @ self._enter[0] + self._enter[1], 0.0)
        width = entered.shape[1]
        first = self._blocks[0][0]
        parts = (entered @ first[i : i + width] for i in range(0, 3 * width, width))
        return np.concatenate((entered, *parts), axis=1)

    def _vector(self, text: str) -> Array:
        found = features_of(text)
        (word, word_scale), (subword, subword_scale), (shape, shape_scale) = self._tables
        x = word[found.word] * word_scale + shape[found.shape] * shape_scale
        if found.subwords:
            parts = subword[list(found.subwords)].sum(axis=0, dtype=np.int32)
            x = x + parts * subword_scale / np.float32(np.sqrt(len(found.subwords)))
        return cast(Array, x.astype(np.float32))


def _add_block(h: Array, new: Array, bias: Array) -> None:
    """A residual block's end, in place: h + max(new + bias, 0)."""
    new += bias
    np.maximum(new, 0.0, out=new)
    h += new


@cache
def _one_thread() -> None:
    """One thread for NumPy's matrix products, for good.

    They are small here: a second thread costs more than it brings, and several processes or
    threads that tag at once would wait for one another. Other libraries keep their threads.
    """
    for library in ThreadpoolController().lib_controllers:
        if "numpy" in library.filepath:
            library.set_num_threads(1)


def _layer(weights: dict[str, NDArray[Any]], name: str) -> tuple[Array, Array]:
    matrix = np.ascontiguousarray(weights[f"{name}.weight"].astype(np.float32).T)
    return matrix, weights[f"{name}.bias"].astype(np.float32)
