"""Embeddings: texts as points on the unit sphere, by hashing their n-grams.

Every run of 3, 4 or 5 bytes of a text counts into one of 512 dimensions, with a sign that is hashed
as well so that collisions cancel out on average (feature hashing: Weinberger et al., ICML 2009).
Repeats count logarithmically. There is nothing to train, download or forget, and equal text gives
equal vectors in every process. Such vectors see spelling, not meaning: that is what finding copies
and near-copies asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

VERSION = 1
"""Changes whenever the vectors of a text would."""
NUM_DIMENSIONS = 512
_SIZES = (3, 4, 5)
_GROUP_BYTES = 2**19
"""Bytes embedded at a time: bounds the working memory to about 50 times as much."""

_HASH_BITS = 40
_HASH_MASK = np.uint64(2**_HASH_BITS - 1)
_BUCKET_MASK = np.uint64(NUM_DIMENSIONS - 1)
_SIGN_SHIFT = np.uint64(NUM_DIMENSIONS.bit_length() - 1)
# Finaliser constants of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_INCREMENT = 0x9E3779B97F4A7C15


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """One vector of length 1 per text, float32[len(texts), 512]; a text without a word gives 0."""
    vectors = np.zeros((len(texts), NUM_DIMENSIONS), dtype=np.float32)
    for first, group in _groups(texts):
        vectors[first : first + len(group)] = _embed(group)
    return vectors


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, list[bytes]]]:
    first, size = 0, 0
    group: list[bytes] = []
    for index, text in enumerate(texts):
        normal = _normalise(text)
        if group and size + len(normal) > _GROUP_BYTES:
            yield first, group
            first, size, group = index, 0, []
        group.append(normal)
        size += len(normal)
    if group:
        yield first, group


def _normalise(text: str) -> bytes:
    # Only ASCII is folded, so the tables of a Python version cannot change a vector.
    words = text.encode("utf-8", "replace").lower().split()
    return b" " + b" ".join(words) + b" " if words else b""


def _embed(texts: Sequence[bytes]) -> npt.NDArray[np.float32]:
    content = np.frombuffer(b"".join(texts), dtype=np.uint8).astype(np.uint64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ends = np.cumsum(lengths)
    owners = np.repeat(np.arange(len(texts), dtype=np.uint64) << np.uint64(_HASH_BITS), lengths)
    room = np.repeat(ends, lengths) - np.arange(len(content))
    grams = np.concatenate([_grams(content, owners, room, size) for size in _SIZES])
    grams.sort()
    return _accumulate(grams, len(texts))


def _grams(
    content: npt.NDArray[np.uint64],
    owners: npt.NDArray[np.uint64],
    room: npt.NDArray[np.int64],
    size: int,
) -> npt.NDArray[np.uint64]:
    """Every run of `size` bytes inside a text: the text's number above, the run's hash below."""
    count = max(len(content) - size + 1, 0)
    runs = np.full(count, (_INCREMENT * size) & (2**64 - 1), dtype=np.uint64)
    for offset in range(size):
        runs ^= content[offset : offset + count] << np.uint64(8 * offset)
    runs ^= runs >> np.uint64(30)
    runs *= _MIX_1
    runs ^= runs >> np.uint64(27)
    runs *= _MIX_2
    runs ^= runs >> np.uint64(31)
    runs &= _HASH_MASK
    runs |= owners[:count]
    inside: npt.NDArray[np.uint64] = runs[room[:count] >= size]
    return inside


def _accumulate(grams: npt.NDArray[np.uint64], num_texts: int) -> npt.NDArray[np.float32]:
    """The vectors of sorted grams."""
    starts = np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1]])[: len(grams)])
    repeats = np.diff(starts, append=len(grams))
    unique = grams[starts]
    weights = _DAMPED[np.minimum(repeats, len(_DAMPED) - 1)]
    weights = np.where((unique >> _SIGN_SHIFT) & np.uint64(1), weights, -weights)
    cells = (unique >> np.uint64(_HASH_BITS)) * np.uint64(NUM_DIMENSIONS) + (unique & _BUCKET_MASK)
    sums = np.bincount(
        cells.astype(np.int64), weights=weights, minlength=num_texts * NUM_DIMENSIONS
    ).reshape(num_texts, NUM_DIMENSIONS)
    norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    norms[norms == 0] = 1.0
    vectors: npt.NDArray[np.float32] = (sums / norms[:, None]).astype(np.float32)
    return vectors


_DAMPED = 1.0 + np.log(np.maximum(np.arange(4096), 1))
"""1 + ln(repeats), the usual damping of term frequencies; capped where it no longer matters."""
