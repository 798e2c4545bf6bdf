"""Measures of a source, read from its token cache: lengths and runs of supervised tokens."""

from __future__ import annotations

import numpy as np

from ...mixer.measures import Measures
from .tokens import TokenCache


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
