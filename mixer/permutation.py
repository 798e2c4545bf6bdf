"""The shuffle: a keyed permutation of 0 … size - 1 that any index asks for by itself.

Up to `LARGEST_TABLE` elements the whole order is drawn at once: the elements are sorted by words of
SHAKE-256, so that all size! orders are equally likely. Above, no order is stored. Write an index in
two digits, left · 2^b + right, with b such that either digit has about √size values and fewer than
2^b of all pairs lie beyond the size. Eight rounds change, in turn, one digit by a keyed function of
the other,

    left  ←  left + F(right)  mod num_left            right  ←  right ⊕ G(left)

which is a generalised Feistel network (Black and Rogaway, "Ciphers with arbitrary finite domains",
2002). An index that ends beyond the size is sent through again until it does not (cycle walking),
which keeps it a permutation; at most about one in √size does. Every index costs the same in either
direction, so there is nothing to rebuild on resume.

Why eight rounds: with four, places a row of 2^b apart betray themselves over a few hundred keys at
4,097 elements, the smallest network; with six, over 20,000 keys; with eight not over 40,000. The
functions are products of 32-bit words that wrap, the same on every machine and under every numpy.
They order training data well; they are no cipher to hide anything with.

The orders are frozen under `PERMUTATION_VERSION`. A plan sealed today is served the same for ever,
so whatever changes the order of any key and size is a new version beside this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError

Integers: TypeAlias = npt.NDArray[np.int64]
Digits: TypeAlias = npt.NDArray[np.uint32]

PERMUTATION_VERSION = 2
LARGEST_SIZE = 1 << 48
LARGEST_SEED = (1 << 63) - 1
LARGEST_TABLE = 1 << 12
"""Sizes up to which the whole order is drawn and kept: two bytes an element."""

NUM_ROUNDS = 8
CHUNK = 1 << 14
"""Indexes that go through the network together, few enough for their digits to stay in cache."""
PAGE = 1 << 10
"""Consecutive places that are worked out together for those who read in order, batch by batch."""
FEW = 16
"""Indexes up to which plain Python is done before numpy would be."""

# The factors of lowbias32 (Wellons, "Prospecting for hash functions", 2018).
_WORD = (1 << 32) - 1
_FIRST_FACTOR, _SECOND_FACTOR, _FOLD = 0x7FEB352D, 0x846CA68B, 15
_WORD_FIRST_FACTOR, _WORD_SECOND_FACTOR = np.uint32(_FIRST_FACTOR), np.uint32(_SECOND_FACTOR)
_WORD_FOLD = np.uint32(_FOLD)


def derive_key(seed: int, source: str, epoch: int) -> bytes:
    """The key of one pass over one source; distinct arguments have independent keys.

    Args:
        seed: 0 … 2**63 - 1.
        source: the name of the source.
        epoch: 0 … 2**63 - 1.

    Raises:
        RecollectError: MIX_INVALID, naming the field, if a number is out of range.
    """
    for field, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value <= LARGEST_SEED:
            raise RecollectError(
                Reason.MIX_INVALID,
                f"the {field} is {value}, which is not in 0 … 2^63 - 1",
                where=field,
                fix=f"Choose a {field} from 0 to {LARGEST_SEED}.",
            )
    text = f"{seed}:{epoch}:{source}".encode()
    return hashlib.blake2b(text, digest_size=32, person=b"recollect-order").digest()


class KeyedPermutation:
    """A permutation of 0 … size - 1 that is chosen by a key; of one element, the identity.

    Args:
        key: any bytes.
        size: 1 … 2**48.

    Raises:
        RecollectError: MIX_EMPTY_SOURCE if there is nothing to order, MIX_INVALID if there is more
            than can be.
    """

    def __init__(self, key: bytes, size: int) -> None:
        _check_size(size)
        self.size = size
        self._table: npt.NDArray[np.uint16] | None = None
        self._inverse_table: npt.NDArray[np.uint16] | None = None
        if size <= LARGEST_TABLE:
            self._table = _drawn_order(key, size)
        else:
            self._network = Network(key, size)
        # The page that was worked out last, and where the last small request ended.
        self._page: tuple[int, Integers] = (-1, np.empty(0, dtype=np.int64))
        self._last = -PAGE

    def forward(self, indexes: Integers) -> Integers:
        """The element at each place: int64[n] to int64[n].

        Raises:
            RecollectError: PLAN_OUT_OF_RANGE if an index is not in 0 … size - 1.
        """
        lowest, highest = self._range(indexes)
        if self._table is not None:
            return self._table[indexes].astype(np.int64)
        if indexes.size <= PAGE // 4:
            return self._read_on(indexes, lowest, highest)
        return self._network.forward(indexes)

    def inverse(self, indexes: Integers) -> Integers:
        """The place of each element: `inverse(forward(x)) == x`.

        Raises:
            RecollectError: PLAN_OUT_OF_RANGE if an index is not in 0 … size - 1.
        """
        self._range(indexes)
        if self._table is None:
            return self._network.inverse(indexes)
        if self._inverse_table is None:
            self._inverse_table = np.argsort(self._table).astype(np.uint16)
        return self._inverse_table[indexes].astype(np.int64)

    def _range(self, indexes: Integers) -> tuple[int, int]:
        """The lowest and the highest index, neither of them outside the permutation."""
        if not indexes.size:
            return 0, 0
        if indexes.size <= 4 * FEW:
            values = indexes.tolist()
            lowest, highest = min(values), max(values)
        else:
            lowest, highest = int(indexes.min()), int(indexes.max())
        if lowest < 0 or highest >= self.size:
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"index {min(lowest, 0) or highest} is not in 0 … {self.size - 1}",
                where="indexes",
                fix="Ask for places that the order has.",
            )
        return lowest, highest

    def _read_on(self, indexes: Integers, lowest: int, highest: int) -> Integers:
        """What a small request asks for; from a page, if it goes on where the last one ended."""
        number = lowest // PAGE
        kept, order = self._page
        follows = 0 < lowest - self._last <= PAGE // 8
        self._last = highest
        if highest // PAGE != number or (kept != number and not follows):
            return self._network.forward(indexes)
        if kept != number:
            last = min((number + 1) * PAGE, self.size)
            order = self._network.forward(np.arange(number * PAGE, last, dtype=np.int64))
            self._page = (number, order)
        return order[indexes - number * PAGE]


class Network:
    """The Feistel rounds and the walk back into 0 … size - 1.

    Args:
        key: any bytes.
        size: more than `LARGEST_TABLE`, below which digits have too few values for their functions
            to reach most orders, and at most 2**48.
    """

    def __init__(self, key: bytes, size: int) -> None:
        self._size = size
        self._right_bits = (size - 1).bit_length() // 2
        self._num_left = -(-size >> self._right_bits)
        # Any word over the divisor is below num_left; its values come about equally often.
        self._divisor = -(-(1 << 32) // self._num_left)
        words = _stream(key, size, 4 * NUM_ROUNDS)
        self._keys = [int(word) for word in np.frombuffer(words, dtype="<u4")]

    def forward(self, indexes: Integers) -> Integers:
        """The image of each index."""
        return self._walk(indexes, range(NUM_ROUNDS), inverse=False)

    def inverse(self, indexes: Integers) -> Integers:
        """The index of each image."""
        return self._walk(indexes, range(NUM_ROUNDS)[::-1], inverse=True)

    def _walk(self, indexes: Integers, rounds: Sequence[int], *, inverse: bool) -> Integers:
        """Sends indexes through until each is below the size."""
        if indexes.size <= FEW:
            words = [self._image(word, rounds, inverse=inverse) for word in indexes.tolist()]
            return np.array(words, dtype=np.int64)
        images = np.empty_like(indexes)
        outside: list[Integers] = []
        for first in range(0, indexes.size, CHUNK):
            part = images[first : first + CHUNK]
            self._pass(indexes[first : first + CHUNK], part, rounds, inverse=inverse)
            outside.append(np.flatnonzero(part >= self._size) + first)
        again = np.concatenate(outside)
        if again.size:
            images[again] = self._walk(images[again], rounds, inverse=inverse)
        return images

    def _pass(
        self, indexes: Integers, images: Integers, rounds: Sequence[int], *, inverse: bool
    ) -> None:
        """Sends indexes through once and writes where they end into `images`."""
        left = (indexes >> self._right_bits).astype(np.uint32)
        right = (indexes & ((1 << self._right_bits) - 1)).astype(np.uint32)
        scratch = np.empty_like(left)
        mixed = np.empty_like(left)
        num_left, divisor = np.uint32(self._num_left), np.uint32(self._divisor)
        shift = np.uint32(32 - self._right_bits)
        for number in rounds:
            key = np.uint32(self._keys[number])
            if number % 2:
                _mix(left, key, mixed, scratch)
                np.right_shift(mixed, shift, out=mixed)
                np.bitwise_xor(right, mixed, out=right)
                continue
            _mix(right, key, mixed, scratch)
            np.floor_divide(mixed, divisor, out=mixed)
            # Of two words that differ by num_left, the one in range is the one that did not wrap.
            if inverse:
                np.subtract(left, mixed, out=left)
                np.add(left, num_left, out=scratch)
            else:
                np.add(left, mixed, out=left)
                np.subtract(left, num_left, out=scratch)
            np.minimum(left, scratch, out=left)
        np.copyto(images, left)
        np.left_shift(images, self._right_bits, out=images)
        np.bitwise_or(images, right, out=images)

    def _image(self, word: int, rounds: Sequence[int], *, inverse: bool) -> int:
        """Where one index ends, in plain Python; the same as in numpy."""
        shift = 32 - self._right_bits
        sign = -1 if inverse else 1
        while True:
            left, right = word >> self._right_bits, word & ((1 << self._right_bits) - 1)
            for number in rounds:
                if number % 2:
                    right ^= _mixed(left, self._keys[number]) >> shift
                else:
                    addend = _mixed(right, self._keys[number]) // self._divisor
                    left = (left + sign * addend) % self._num_left
            word = left << self._right_bits | right
            if word < self._size:
                return word


@lru_cache(maxsize=2048)
def permutation_of(seed: int, source: str, epoch: int, size: int) -> KeyedPermutation:
    """The order of one pass over one source; those in use are kept, at most 16 KiB each."""
    return KeyedPermutation(derive_key(seed, source, epoch), size)


def _check_size(size: int) -> None:
    if size < 1:
        raise RecollectError(
            Reason.MIX_EMPTY_SOURCE,
            f"a permutation of {size} elements orders nothing",
            where="size",
        )
    if size > LARGEST_SIZE:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"a permutation has at most 2^48 elements, not {size}",
            where="size",
            fix="Split the source.",
        )


def _stream(key: bytes, size: int, num_bytes: int) -> bytes:
    """As many bytes as wanted that look random and depend on key, size and version."""
    label = f"recollect order {PERMUTATION_VERSION} of {size}:".encode()
    return hashlib.shake_256(label + key).digest(num_bytes)


def _drawn_order(key: bytes, size: int) -> npt.NDArray[np.uint16]:
    """The elements sorted by random words, whose low 12 bits, the element itself, break ties."""
    words = np.frombuffer(_stream(key, size, 8 * size), dtype="<u8").astype(np.uint64)
    low = np.uint64(LARGEST_TABLE - 1)
    words = (words & ~low) | np.arange(size, dtype=np.uint64)
    words.sort()
    return (words & low).astype(np.uint16)


def _mix(digits: Digits, key: np.uint32, mixed: Digits, scratch: Digits) -> None:
    """Writes a keyed function of digits into `mixed`; its high bits depend on every bit."""
    np.add(digits, key, out=mixed)
    np.multiply(mixed, _WORD_FIRST_FACTOR, out=mixed)
    np.right_shift(mixed, _WORD_FOLD, out=scratch)
    np.bitwise_xor(mixed, scratch, out=mixed)
    np.multiply(mixed, _WORD_SECOND_FACTOR, out=mixed)


def _mixed(digit: int, key: int) -> int:
    """What `_mix` does to one digit."""
    word = (digit + key) * _FIRST_FACTOR & _WORD
    return (word ^ word >> _FOLD) * _SECOND_FACTOR & _WORD
