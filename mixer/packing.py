"""Packing: each source on its own becomes rows of a fixed number of tokens, with little padding.

A pack is a list of restore keys (example, token range). It says what a row holds without holding
it, so the same key serves resume, audit and erasure. The table of all packs is computed once from
the lengths alone and is its own index: pack number o is the slice `offsets[o]:offsets[o + 1]`.

`best_fit` puts the documents in the order of a keyed permutation and packs one window of them after
another (see `fitting`): whole documents, hardly any padding.

`split` lays all documents end to end in that order and cuts every `capacity` tokens, so only the
last pack is short, but documents are torn apart. Nothing is lost in either: a document longer than
a pack becomes pieces, and every token is in exactly one. `none` gives every example a row of its
own, cut at the capacity as unpacked rows are.

Pieces share a row, not attention: `cu_seqlens` and `position_ids` say where one ends.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .fitting import pack_window
from .permutation import KeyedPermutation

Integers: TypeAlias = npt.NDArray[np.int64]
Booleans: TypeAlias = npt.NDArray[np.bool_]

PACKING_VERSION = b"recollect-packing-1"
"""Changes whenever the same documents would be packed otherwise."""
DEFAULT_WINDOW = 1 << 14
"""Documents that are packed together. More of them hardly pack better, fewer waste more."""
LARGEST_CAPACITY = 1 << 24
MOST_PIECES = 1 << 26
"""Pieces of a source; each takes some tens of bytes."""
LARGEST_TOTAL = 1 << 61
"""Tokens of a source, at most: sums of them are machine integers."""


class Packing(StrEnum):
    """How the examples of a source become rows."""

    NONE = "none"
    BEST_FIT = "best_fit"
    SPLIT = "split"


class Pieces(NamedTuple):
    """What some rows hold, one piece after the other."""

    rows: Integers
    """Place, in the request, of the row that holds the piece."""
    examples: Integers
    starts: Integers
    stops: Integers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Packs:
    """All packs of a source; no array may be changed."""

    capacity: int
    """Tokens of a row."""
    offsets: Integers
    """The pieces of pack p are `offsets[p]:offsets[p + 1]`."""
    examples: Integers
    """For each piece, the row of its example inside the source."""
    starts: Integers
    """First token of the example that the piece holds."""
    stops: Integers
    """The token after its last."""

    def __post_init__(self) -> None:
        for array in (self.offsets, self.examples, self.starts, self.stops):
            array.setflags(write=False)

    def __len__(self) -> int:
        return self.offsets.size - 1

    @property
    def num_pieces(self) -> int:
        """Pieces in all packs."""
        return self.examples.size

    @property
    def lengths(self) -> Integers:
        """Tokens in each pack."""
        return self.per_pack(self.stops - self.starts)

    @property
    def padding(self) -> Fraction:
        """The share of all slots that hold no token."""
        return 1 - Fraction(int(self.lengths.sum()), len(self) * self.capacity)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, over every piece; the same on every platform."""
        digest = hashlib.sha256(PACKING_VERSION)
        digest.update(np.array([self.capacity, len(self), self.num_pieces], dtype="<i8").tobytes())
        for array in (self.offsets, self.examples, self.starts, self.stops):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def per_pack(self, values: Integers) -> Integers:
        """The sum over each pack of a value of its pieces."""
        sums = np.zeros(values.size + 1, dtype=np.int64)
        np.cumsum(values, out=sums[1:])
        return sums[self.offsets[1:]] - sums[self.offsets[:-1]]

    def pieces(self, packs: Integers) -> Pieces:
        """What the given packs hold, in their order."""
        packs = np.asarray(packs, dtype=np.int64)
        if packs.size and not 0 <= int(packs.min()) <= int(packs.max()) < len(self):
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"there are packs 0 … {len(self) - 1}, and one outside was asked for",
                where="packs",
            )
        firsts = self.offsets[packs]
        counts = self.offsets[packs + 1] - firsts
        rows = np.repeat(np.arange(packs.size), counts)
        before = np.cumsum(counts) - counts
        chosen = np.repeat(firsts - before, counts) + np.arange(rows.size)
        return Pieces(rows, self.examples[chosen], self.starts[chosen], self.stops[chosen])

    def without(self, erased: Booleans) -> Packs:
        """The same packs with nothing of the erased examples: no piece changes its pack.

        What an erased example leaves is padding; the pieces beside it close up within their row,
        where their place has no meaning. A pack may become empty: see `erased_packs`.

        Args:
            erased: for each example of the source, whether it is erased.
        """
        kept = ~erased[self.examples]
        before = np.zeros(kept.size + 1, dtype=np.int64)
        np.cumsum(kept, out=before[1:])
        return Packs(
            capacity=self.capacity,
            offsets=before[self.offsets],
            examples=self.examples[kept],
            starts=self.starts[kept],
            stops=self.stops[kept],
        )

    def erased_packs(self, erased: Booleans) -> Booleans:
        """For each pack, whether nothing of it survives, so that another must be served instead."""
        survives = (~erased[self.examples]).astype(np.int64)
        return np.equal(self.per_pack(survives), 0)


def pack(
    lengths: Integers,
    *,
    capacity: int,
    packing: Packing,
    key: bytes,
    window: int = DEFAULT_WINDOW,
) -> Packs:
    """Packs a source.

    Args:
        lengths: tokens of each example, at least 1.
        capacity: tokens of a row.
        packing: how.
        key: chooses which documents meet in a pack; not used where every row is one example.
        window: documents that are packed together by `best_fit`.

    Raises:
        RecollectError: MIX_EMPTY_SOURCE where there is no example; MIX_INVALID, naming the example,
            where one has no token, or where a size is out of range.
    """
    lengths = _checked(lengths, capacity, window)
    if packing is Packing.NONE:
        return _alone(lengths, capacity)
    order = KeyedPermutation(key, lengths.size).forward(np.arange(lengths.size))
    if packing is Packing.SPLIT:
        return split(lengths, order, capacity)
    return best_fit(lengths, order, capacity, window)


def _alone(lengths: Integers, capacity: int) -> Packs:
    return Packs(
        capacity=capacity,
        offsets=np.arange(lengths.size + 1),
        examples=np.arange(lengths.size),
        starts=np.zeros_like(lengths),
        stops=np.minimum(lengths, capacity),
    )


def split(lengths: Integers, order: Integers, capacity: int) -> Packs:
    """Lays the documents end to end in the given order and cuts every `capacity` tokens."""
    firsts = np.zeros(lengths.size + 1, dtype=np.int64)
    np.cumsum(lengths[order], out=firsts[1:])
    total = int(firsts[-1])
    cuts = np.arange(0, total, capacity)
    # Two sorted runs, which a stable sort merges in one go.
    begins = np.sort(np.concatenate((firsts[:-1], cuts)), kind="stable")
    begins = begins[np.diff(begins, prepend=-1) > 0]
    ends = np.append(begins[1:], total)
    places = np.searchsorted(firsts, begins, side="right") - 1
    return Packs(
        capacity=capacity,
        offsets=np.append(np.searchsorted(begins, cuts), begins.size).astype(np.int64),
        examples=order[places],
        starts=begins - firsts[places],
        stops=ends - firsts[places],
    )


def best_fit(lengths: Integers, order: Integers, capacity: int, window: int) -> Packs:
    """Packs the documents in the given order by best-fit-decreasing, window by window."""
    ordered = lengths[order]
    counts = -(-ordered // capacity)
    ends = np.cumsum(counts)
    places = np.repeat(np.arange(order.size), counts)
    starts = (np.arange(places.size) - np.repeat(ends - counts, counts)) * capacity
    stops = np.minimum(starts + capacity, ordered[places])
    numbers, num_packs = _numbered(stops - starts, ends, capacity, window)
    # Stable, so that the pieces of a pack, and of a document, stay in order.
    by_pack = np.argsort(numbers, kind="stable")
    return Packs(
        capacity=capacity,
        offsets=np.searchsorted(numbers[by_pack], np.arange(num_packs + 1)).astype(np.int64),
        examples=order[places[by_pack]],
        starts=starts[by_pack],
        stops=stops[by_pack],
    )


def _numbered(sizes: Integers, ends: Integers, capacity: int, window: int) -> tuple[Integers, int]:
    """The pack of each piece, and how many packs there are.

    Args:
        sizes: tokens of each piece.
        ends: pieces of each document and those before it.
        capacity: tokens of a pack.
        window: documents that are packed together.
    """
    numbers = np.empty_like(sizes)
    num_packs = first = 0
    for document in range(0, ends.size, window):
        last = int(ends[min(document + window, ends.size) - 1])
        numbers[first:last] = pack_window(sizes[first:last], capacity) + num_packs
        num_packs, first = int(numbers[first:last].max()) + 1, last
    return numbers, num_packs


def cu_seqlens(lengths: Integers) -> npt.NDArray[np.int32]:
    """Where the pieces of a row begin and the last ends, for attention over varying lengths."""
    bounds = np.zeros(lengths.size + 1, dtype=np.int32)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def position_ids(lengths: Integers) -> Integers:
    """Positions that begin at 0 with each piece of a row, also where a document goes on.

    A piece cannot attend to what lies in another row, so to the model it is a text of its own.
    """
    firsts = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)


def _checked(lengths: Integers, capacity: int, window: int) -> Integers:
    lengths = np.asarray(lengths, dtype=np.int64)
    for name, size, most in (
        ("capacity", capacity, LARGEST_CAPACITY),
        ("window", window, LARGEST_TOTAL),
    ):
        if not 1 <= size <= most:
            raise RecollectError(
                Reason.MIX_INVALID, f"it is {size}, and must be 1 … {most}", where=name
            )
    if not lengths.size:
        raise RecollectError(Reason.MIX_EMPTY_SOURCE, "there is no example to pack")
    if int(lengths.min()) < 1:
        row = int(np.argmax(lengths < 1))
        raise RecollectError(
            Reason.MIX_INVALID,
            f"example {row} has {lengths[row]} tokens, so no pack can hold it",
            where=f"examples[{row}]",
            fix="Leave out examples without tokens when the source is ingested.",
        )
    if int(lengths.max()) > LARGEST_TOTAL // lengths.size:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"an example of {lengths.max()} tokens is too long for a source of {lengths.size}",
            where=f"examples[{int(np.argmax(lengths))}]",
        )
    if int((-(-lengths // capacity)).sum()) > MOST_PIECES:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"rows of {capacity} tokens would divide the source into more than {MOST_PIECES:,} "
            "pieces",
            where="max_length",
            fix="Use longer rows.",
        )
    return lengths
