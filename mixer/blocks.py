"""Blocks: stretches of positions that a schedule computes together, and where examples lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive positions that were computed together."""

    first: int
    sources: Integers
    ordinals: Integers
    served: Integers
    """Rows that each source has served before it."""
    waiting: Integers
    """What waits after its last row, so that the next block can go on from there."""

    @property
    def last(self) -> int:
        """The position after it."""
        return self.first + len(self.sources)

    @cached_property
    def by_source(self) -> tuple[Integers, Integers]:
        """Its rows ordered by source, and where each source begins among them."""
        counts = np.bincount(self.sources, minlength=len(self.served))
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return np.argsort(self.sources, kind="stable").astype(np.int64), starts


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Positions that are cut into blocks in one way."""

    first: int
    last: int
    """The position after it."""
    block_length: int
    repeats: bool
    """Whether its first block is all of it, over and over."""
    per_lap: Integers
    """Rows that each source serves in that block; zeros if it does not repeat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A block where it lies: moved by whole laps if it repeats."""

    block: Block
    moved: int
    """Positions by which it is moved."""
    served: Integers
    """Rows that each source has served before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bracket:
    """Positions within which an example is served: from its release on, until it is due."""

    source: int
    ordinal: int
    low: int
    """First position at which it may be served."""
    high: int
    """Last position at which it may be served."""

    def at(self, position: int) -> Bracket:
        """The example where it was found."""
        return replace(self, low=position, high=position)
