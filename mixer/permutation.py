"""The shuffle: a keyed permutation of 0 … size - 1 that needs no array.

An alternating Feistel network works on the smallest power of two that holds the size; what falls
outside is sent through again until it falls inside (cycle walking), which keeps it a permutation.
Any index, in either direction, costs the same, so there is nothing to store or to rebuild on
resume. It orders training data well; it is not a cipher to hide anything with.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]

NUM_ROUNDS = 8
LARGEST_SIZE = 1 << 62
LARGEST_TABLE = 1 << 14
"""Sizes up to which the whole order is worked out at once: small batches then cost one look-up."""

# The finaliser of splitmix64 (Stafford's variant 13): every input bit changes every output bit.
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
_FIRST_SHIFT, _SECOND_SHIFT, _THIRD_SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)


def derive_key(seed: int, source: str, epoch: int) -> bytes:
    """The key of one pass over one source; distinct arguments have independent keys."""
    text = f"{seed}:{epoch}:{source}".encode()
    return hashlib.blake2b(text, digest_size=32, person=b"recollect-order").digest()


class KeyedPermutation:
    """A permutation of 0 … size - 1 that is chosen by a key.

    Args:
        key: at most 64 bytes.
        size: at least 1 and at most 2**62.
    """

    def __init__(self, key: bytes, size: int) -> None:
        if not 1 <= size <= LARGEST_SIZE:
            raise ValueError(f"a permutation has 1 to 2**62 elements, not {size}")
        self.size = size
        digest = hashlib.blake2b(key=key, digest_size=8 * NUM_ROUNDS, person=b"recollect-round")
        self._keys = np.frombuffer(digest.digest(), dtype="<u8").astype(np.uint64)
        num_bits = max((size - 1).bit_length(), 2)
        low_bits = num_bits // 2
        self._shift = np.uint64(low_bits)
        self._masks = np.uint64((1 << low_bits) - 1), np.uint64((1 << (num_bits - low_bits)) - 1)
        self._table: Integers | None = None
        self._inverse_table: Integers | None = None
        if size <= LARGEST_TABLE:
            order = self._walk(np.arange(size, dtype=np.uint64), inverse=False)
            self._table = order
            self._inverse_table = np.argsort(order).astype(np.int64)

    def forward(self, indexes: Integers) -> Integers:
        """Where each index goes."""
        words = self._checked(indexes)
        if self._table is not None:
            return self._table[words.astype(np.int64)]
        return self._walk(words, inverse=False)

    def inverse(self, indexes: Integers) -> Integers:
        """Where each index came from: `inverse(forward(x)) == x`."""
        words = self._checked(indexes)
        if self._inverse_table is not None:
            return self._inverse_table[words.astype(np.int64)]
        return self._walk(words, inverse=True)

    def _checked(self, indexes: Integers) -> Words:
        indexes = np.atleast_1d(np.asarray(indexes, dtype=np.int64))
        if indexes.size and not 0 <= int(indexes.min()) <= int(indexes.max()) < self.size:
            raise IndexError(f"indexes must be in 0 … {self.size - 1}")
        return indexes.astype(np.uint64)

    def _walk(self, words: Words, *, inverse: bool) -> Integers:
        """Sends words through the network until each is below the size."""
        words = self._network(words, inverse=inverse)
        outside = np.flatnonzero(words >= self.size)
        while outside.size:
            words[outside] = self._network(words[outside], inverse=inverse)
            outside = outside[words[outside] >= self.size]
        return words.astype(np.int64)

    def _network(self, words: Words, *, inverse: bool) -> Words:
        """One pass: each round changes one half by a keyed function of the other."""
        halves = [words & self._masks[0], words >> self._shift]
        rounds = range(NUM_ROUNDS)
        for number in reversed(rounds) if inverse else rounds:
            side = number % 2
            halves[side] ^= _mixed(halves[1 - side], self._keys[number]) & self._masks[side]
        return halves[0] | (halves[1] << self._shift)


@lru_cache(maxsize=64)
def permutation_of(seed: int, source: str, epoch: int, size: int) -> KeyedPermutation:
    """The order of one pass over one source; the few in use are kept."""
    return KeyedPermutation(derive_key(seed, source, epoch), size)


def _mixed(words: Words, key: np.uint64) -> Words:
    """A keyed function of 64-bit words, with the arithmetic of 64-bit integers that wrap."""
    words = words + key
    words ^= words >> _FIRST_SHIFT
    words *= _FIRST_FACTOR
    words ^= words >> _SECOND_SHIFT
    words *= _SECOND_FACTOR
    words ^= words >> _THIRD_SHIFT
    return words
