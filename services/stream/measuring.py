"""What the rows of a source hold, read from its token cache: measures, or contents."""

from __future__ import annotations

import numpy as np

from ...mixer.contents import Contents, RowContents
from ...mixer.measures import Measures
from .tokens import TokenCache

MOST_TOKENS_READ = 1 << 28
"""Tokens of a cache that is looked at row by row, since what is read is checked with all that it
lies in: a GB. Of a larger one the totals have to do."""


def contents_of(cache: TokenCache) -> Contents:
    """What the rows of a cache hold: row by row, or in all if there are very many.

    Raises:
        DamagedCache: the cache does not match its checksums.
    """
    if cache.totals.num_tokens > MOST_TOKENS_READ:
        return cache.totals
    return RowContents(
        tokens=cache.lengths,
        supervised_tokens=cache.supervised_lengths,
        num_truncated=cache.totals.num_truncated,
    )


def measures_of(cache: TokenCache) -> Measures:
    """The measures of the rows of a cache, worked out a record batch at a time.

    Raises:
        DamagedCache: the cache does not match its checksums.
    """
    parts = [Measures.of_masks(lengths, mask) for lengths, mask in cache.masks()]
    offsets = np.concatenate([np.diff(part.run_offsets) for part in parts] or [_NONE])
    return Measures(
        lengths=np.concatenate([part.lengths for part in parts] or [_NONE]),
        run_offsets=np.concatenate(([0], np.cumsum(offsets))).astype(np.int64),
        run_starts=np.concatenate([part.run_starts for part in parts] or [_NONE]),
        run_stops=np.concatenate([part.run_stops for part in parts] or [_NONE]),
    )


_NONE = np.empty(0, dtype=np.int64)
