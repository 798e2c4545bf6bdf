"""Holdings: what the rows of a batch hold, and how much of it counts, by source.

Whoever serves, trains on or audits a batch works these out alike, and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .batch import Batch
from .packing import Packing, Pieces
from .plan import Plan

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Holding:
    """What the rows of a batch hold."""

    digest: bytes
    """SHA-256 of the restore keys, and of the pieces where rows are packs."""
    packed: bool
    """Whether a row may hold several examples."""
    pieces: Pieces | None = None
    """Examples and ranges of their tokens, row by row; None where lengths do not matter, and every
    row is one example, cut to the length of a row."""
    num_tokens: Integers | None = None
    """Tokens of each source of the plan; None where lengths do not matter."""
    num_supervised_tokens: Integers | None = None
    """Those of them that carry loss."""


def holding(plan: Plan, batch: Batch) -> Holding:
    """What a batch of a plan, or the shard of a rank, holds.

    Raises:
        RecollectError: `MEASURES_DIFFER`, if the plan needs measures and has none.
    """
    if not plan.needs_measures:
        return Holding(digest=batch.digest, packed=False)
    packed = plan.mix.packing is not Packing.NONE
    rows = plan.source_rows
    pieces = plan.pieces(batch) if len(batch) else Pieces(_NONE, _NONE, _NONE, _NONE)
    return Holding(
        digest=batch.digest_with(pieces if packed else None),
        packed=packed,
        pieces=pieces,
        num_tokens=_sums(batch, [item.tokens for item in rows]),
        num_supervised_tokens=_sums(batch, [item.supervised_tokens for item in rows]),
    )


def _sums(batch: Batch, values: Sequence[Integers]) -> Integers:
    """By source, the sum of a value over its rows."""
    sums = np.zeros(len(values), dtype=np.int64)
    for index in np.unique(batch.sources).tolist():
        sums[index] = values[index][batch.examples[batch.sources == index]].sum()
    return sums


_NONE = np.empty(0, dtype=np.int64)
