"""Places: where the rows of some steps lie in the token caches, and how much of each there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...mixer.packing import Pieces
from ...mixer.shards import Shards
from .gathering import Ranges
from .tokens import Int64s, TokenCache

WHOLE = 1 << 62
"""Where a piece ends that goes on to the end of its row in the cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where the pieces of the rows of some steps lie; a row is at least one piece."""

    pieces: Pieces
    """Rows are numbered from 0; where a row is a row of a cache it is one piece."""
    numbers: Sequence[Int64s]
    """For each source, the numbers of its pieces, rising."""
    ranges: Sequence[Ranges]
    """For each source, where they are in its cache."""
    ends: Int64s
    """Where each piece begins in the tokens of the steps laid end to end; the last is their end."""
    num_tokens: Int64s
    """Per step and source."""
    num_supervised_tokens: Int64s
    """Per step and source."""

    def between(self, held: Shards, first: int, last: int) -> Places:
        """Those of the steps first … last - 1 of the shards that these are the places of."""
        first_row, last_row = held.bounds[first].item(), held.bounds[last].item()
        begin, end = np.searchsorted(self.pieces.rows, (first_row, last_row)).tolist()
        rows, *others = (column[begin:end] for column in self.pieces)
        cuts = [np.searchsorted(numbers, (begin, end)).tolist() for numbers in self.numbers]
        return Places(
            pieces=Pieces(rows - first_row, *others),
            numbers=[
                numbers[low:high] - begin
                for numbers, (low, high) in zip(self.numbers, cuts, strict=True)
            ],
            ranges=[
                Ranges(*(column[low:high] for column in ranges))
                for ranges, (low, high) in zip(self.ranges, cuts, strict=True)
            ],
            ends=self.ends[begin : end + 1] - self.ends[begin],
            num_tokens=self.num_tokens[first:last],
            num_supervised_tokens=self.num_supervised_tokens[first:last],
        )


def places_of(held: Shards, caches: Sequence[TokenCache]) -> Places:
    """Looks up the rows of some steps; `caches` are in the order of the plan's sources.

    Raises:
        DamagedCache: a cache does not match its checksum.
    """
    pieces = _whole(held) if held.pieces is None else held.pieces
    sources = held.rows.sources[pieces.rows]
    order = np.argsort(sources, kind="stable")
    cuts = np.searchsorted(sources[order], np.arange(1, len(caches)))
    numbers = np.split(order, cuts)
    ranges = [
        cache.located(*(column[here] for column in pieces[1:]))
        for cache, here in zip(caches, numbers, strict=True)
    ]
    lengths = np.zeros(len(sources), dtype=np.int64)
    lengths[order] = np.concatenate([found.lengths for found in ranges])
    tokens, supervised = held.num_tokens, held.num_supervised_tokens
    if tokens is None or supervised is None:
        of_rows = np.zeros(len(sources), dtype=np.int64)
        of_rows[order] = np.concatenate(
            [
                cache.num_supervised(pieces.examples[here])
                for cache, here in zip(caches, numbers, strict=True)
            ]
        )
        tokens, supervised = (_sums(held, values, len(caches)) for values in (lengths, of_rows))
    return Places(
        pieces=pieces,
        numbers=numbers,
        ranges=ranges,
        ends=np.concatenate(([0], np.cumsum(lengths))),
        num_tokens=tokens,
        num_supervised_tokens=supervised,
    )


def _whole(held: Shards) -> Pieces:
    """Rows that are those of the caches."""
    examples = held.rows.examples
    starts = np.zeros_like(examples)
    return Pieces(np.arange(len(examples)), examples, starts, np.full_like(starts, WHOLE))


def _sums(held: Shards, of_rows: Int64s, num_sources: int) -> npt.NDArray[np.int64]:
    """The sums of a value of rows per step and source; exact below 2**53."""
    step_of = np.repeat(np.arange(held.num_steps), np.diff(held.bounds))
    cells = step_of * num_sources + held.rows.sources
    sums = np.bincount(cells, weights=of_rows, minlength=held.num_steps * num_sources)
    return sums.astype(np.int64).reshape(held.num_steps, num_sources)
