"""Sampling: which examples are looked at, as a function of a seed and of what the store holds.

A simple random sample of the whole store answers for all of it: each example has the same chance.
Sources that are small in it are filled up, so that each has a bound of its own; what fills them up
does not count for the whole, of which it is no fair part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The rows of one source to look at."""

    source: str
    num_examples: int
    """Examples that the source holds."""
    rows: tuple[int, ...]
    """In a random order."""
    num_of_whole: int
    """So many of them, from the first on, are the source's part of the sample of the whole."""


def draw_sample(
    sizes: Mapping[str, int], *, num_examples: int, per_source: int, seed: int
) -> list[Sample]:
    """A sample of the whole store, and of each source.

    Args:
        sizes: examples by source.
        num_examples: how many examples of the whole; all, where there are fewer.
        per_source: how many at least of each source; all, where it holds fewer.
        seed: what the choice depends on, besides `sizes`.

    Returns:
        One for each source that holds examples, in the order of their names.
    """
    names = sorted(name for name, size in sizes.items() if size)
    if not names:
        return []
    held = np.array([sizes[name] for name in names], dtype=np.int64)
    generator = np.random.default_rng([seed, 0])
    shares = generator.multivariate_hypergeometric(
        held, min(num_examples, int(held.sum())), method="marginals"
    )
    return [
        _of_source(name, int(size), int(share), per_source, seed)
        for name, size, share in zip(names, held, shares, strict=True)
    ]


def _of_source(name: str, size: int, share: int, per_source: int, seed: int) -> Sample:
    own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    generator = np.random.default_rng([seed, 1, own])
    count = max(share, min(per_source, size))
    # Shuffled, so that its beginning is a simple random sample as well.
    rows = generator.choice(size, size=count, replace=False, shuffle=True)
    return Sample(source=name, num_examples=size, rows=tuple(rows.tolist()), num_of_whole=share)
