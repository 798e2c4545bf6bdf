"""Batches: the rows of one step as restore keys, which identify them and say where they lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .packing import Pieces

Integers: TypeAlias = npt.NDArray[np.int64]
AnyIntegers: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """The rows of one step, or of one rank in it, in the order of their positions."""

    plan_id: str
    step: int
    positions: Integers
    sources: Integers
    """Number of the source in the plan."""
    ordinals: Integers
    """How many rows of the same source came before, in the whole plan."""
    examples: Integers
    """Row inside its source of the snapshot: the number of an example, or of a pack of them."""
    epochs: Integers
    """Pass over the source, from 0."""

    def __len__(self) -> int:
        return int(self.positions.size)

    def counts(self, num_sources: int) -> Integers:
        """Rows of each source."""
        return np.bincount(self.sources, minlength=num_sources).astype(np.int64)

    @property
    def digest(self) -> bytes:
        """SHA-256 over plan id and restore keys: what makes two batches the same batch."""
        return self.digest_with(None)

    def digest_with(self, pieces: Pieces | None) -> bytes:
        """The digest of a batch whose rows are packs of these pieces."""
        return batch_digest(self.plan_id, self.positions, self.sources, self.examples, pieces)

    def between(self, first: int, last: int, *, step: int) -> Batch:
        """The rows first … last - 1 of this batch, as those of a step."""
        return Batch(
            plan_id=self.plan_id,
            step=step,
            positions=self.positions[first:last],
            sources=self.sources[first:last],
            ordinals=self.ordinals[first:last],
            examples=self.examples[first:last],
            epochs=self.epochs[first:last],
        )

    def take(self, rows: npt.NDArray[np.bool_]) -> Batch:
        """The rows of this batch that are marked."""
        return Batch(
            plan_id=self.plan_id,
            step=self.step,
            positions=self.positions[rows],
            sources=self.sources[rows],
            ordinals=self.ordinals[rows],
            examples=self.examples[rows],
            epochs=self.epochs[rows],
        )


def batch_digest(
    plan_id: str,
    positions: AnyIntegers,
    sources: AnyIntegers,
    examples: AnyIntegers,
    pieces: Pieces | None = None,
) -> bytes:
    """SHA-256 that identifies rows of a plan; any integer types give the same digest.

    Where rows are packs, what they hold is part of it.
    """
    digest = hashlib.sha256(plan_id.encode())
    digest.update(len(positions).to_bytes(8, "little"))
    for column in (positions, sources, examples):
        digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
    if pieces is not None:
        digest.update(len(pieces.rows).to_bytes(8, "little"))
        for column in pieces:
            digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
    return digest.digest()
