"""The tagger at run time: NumPy alone, one matrix product a layer, nothing of a text kept.

Vectors of words are kept under a 64-bit hash of the word that is salted for each process, never
under the word itself: what was read cannot be read back from the cache.
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
MAX_CACHED = 1 << 16


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
        self._lock = Lock()
        self._rows: dict[int, int] = {}
        self._vectors = np.empty((1024, len(self._space)), np.float32)

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
        h = self._embedded(words)
        count, width = len(words), self._enter[0].shape[1]
        h = np.maximum(h @ self._enter[0] + self._enter[1], 0.0)
        near = np.empty((count, 3 * width), np.float32)
        for (matrix, bias), dilation in zip(self._blocks, self._dilations, strict=True):
            d = min(dilation, count)
            near[:d, :width] = 0.0
            near[d:, :width] = h[: count - d]
            near[:, width : 2 * width] = h
            near[: count - d, 2 * width :] = h[d:]
            near[count - d :, 2 * width :] = 0.0
            new = near @ matrix
            new += bias
            np.maximum(new, 0.0, out=new)
            h = h + new
        scores = h @ self._leave[0] + self._leave[1]
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        if not np.isfinite(scores).all():
            raise FloatingPointError("probabilities that are no numbers")
        return cast(Array, scores)

    def _embedded(self, words: Words) -> Array:
        # One tagger serves every thread of a process: a row must not be given away twice, nor
        # the rows be cleared between looking them up and reading them.
        with self._lock:
            return self._looked_up(words)

    def _looked_up(self, words: Words) -> Array:
        rows = self._rows
        if len(rows) + len(words) > MAX_CACHED:
            rows.clear()
        ids = [rows.get(_key(text), -1) for text in words.texts]
        if -1 in ids:
            for i, row in enumerate(ids):
                if row < 0:
                    ids[i] = self._row(words.texts[i])
        x: Array = self._vectors[ids]
        x[np.array(words.spaced)] += self._space
        return x

    def _row(self, text: str) -> int:
        key = _key(text)
        row = self._rows.get(key)
        if row is None:
            vector = self._vector(text)
            row = len(self._rows)
            if row >= len(self._vectors):
                self._vectors = np.concatenate((self._vectors, np.empty_like(self._vectors)))
            self._vectors[row] = vector
            # Last: a word whose vector failed must not be found here the next time.
            self._rows[key] = row
        return row

    def _vector(self, text: str) -> Array:
        found = features_of(text)
        (word, word_scale), (subword, subword_scale), (shape, shape_scale) = self._tables
        x = word[found.word] * word_scale + shape[found.shape] * shape_scale
        if found.subwords:
            parts = subword[list(found.subwords)].sum(axis=0, dtype=np.int32)
            x = x + parts * subword_scale / np.float32(np.sqrt(len(found.subwords)))
        return cast(Array, x.astype(np.float32))


def _key(text: str) -> int:
    # CPython hashes the bytes that a string is kept in: "ab" and U+6261 have the same.
    return hash((len(text), text))


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
