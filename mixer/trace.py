"""Traces: what a plan serves row by row, as columns that anyone can check without this program.

One entry a row: its position, its source and how many rows of that source came before (`ordinal`),
the pass over the source (`epoch`), which of its examples it is, and the step and rank that train on
it. The laws can be read off it: count the rows of a source up to any position, and compare with its
share of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .batch import Batch
from .dealing import Dealing
from .errors import Reason, RecollectError
from .packing import Packing
from .plan import Erased, Plan

Integers: TypeAlias = npt.NDArray[np.int64]
Columns: TypeAlias = Mapping[str, Integers]
"""Columns of equal length, in their order."""

ROWS_AT_ONCE = 1 << 14
"""Rows of a chunk; it ends with a batch where batches are shorter."""


def trace(
    plan: Plan,
    first: int = 0,
    last: int | None = None,
    *,
    world_size: int | None = None,
    pieces: bool = False,
    erased: Erased | None = None,
) -> Iterator[Columns]:
    """Columns of the rows at positions `first` … `last` - 1, chunk by chunk, in order.

    The columns are position, source (its number in the plan), ordinal, epoch, example, step and,
    for a number of ranks, rank. Where rows are packs, `example` is the number of the pack. Asked
    for pieces, there is an entry for each piece: the number of the pack is in `row`, and `example`,
    `start` and `stop` (tokens of the example) stand at the end.

    Args:
        plan: the plan.
        first: the first position.
        last: the position after the last; None for the end of the plan.
        world_size: number of ranks.
        pieces: whether to list the pieces of packs.
        erased: by source, the examples that have been erased since the plan was sealed.

    Raises:
        RecollectError: `PLAN_OUT_OF_RANGE`, `RANK_INVALID`, `MEASURES_DIFFER` if the plan has no
            measures and needs them, or `MIX_INVALID` if it has no pieces.
    """
    end = plan.num_positions if last is None else last
    if not 0 <= first <= end <= plan.num_positions:
        raise RecollectError(
            Reason.PLAN_OUT_OF_RANGE,
            f"positions {first} … {end - 1} were asked for, and the plan has 0 … "
            f"{plan.num_positions - 1}",
            where=f"plan {plan.plan_id[:12]}",
            fix="Give the first position, and the one after the last.",
        )
    if pieces and plan.mix.packing is Packing.NONE:
        raise RecollectError(
            Reason.MIX_INVALID,
            "every row of the plan is one example, so there are no pieces to list",
            where="packing",
            fix="Ask for the trace without its pieces.",
        )
    dealing = None if world_size is None else plan.dealing(world_size)
    _ = plan.source_rows
    return _chunks(plan, first, end, dealing, pieces, erased)


def columns_of(*, world_size: int | None = None, pieces: bool = False) -> tuple[str, ...]:
    """Names of the columns of a trace."""
    names = ["position", "source", "ordinal", "epoch", "row" if pieces else "example", "step"]
    names += ["rank"] if world_size is not None else []
    names += ["example", "start", "stop"] if pieces else []
    return tuple(names)


def _chunks(
    plan: Plan,
    first: int,
    end: int,
    dealing: Dealing | None,
    pieces: bool,
    erased: Erased | None,
) -> Iterator[Columns]:
    batch_size = plan.mix.batch_size
    at_once = max(1, ROWS_AT_ONCE // batch_size) * batch_size
    while first < end:
        last = min(end, (first // at_once + 1) * at_once)
        batch = plan.at(
            np.arange(first, last, dtype=np.int64), step=first // batch_size, erased=erased
        )
        columns = {
            "position": batch.positions,
            "source": batch.sources,
            "ordinal": batch.ordinals,
            "epoch": batch.epochs,
            "row" if pieces else "example": batch.examples,
            "step": batch.positions // batch_size,
        }
        if dealing is not None:
            columns["rank"] = _ranks(dealing, first, last)
        yield _pieces(plan, batch, columns, erased) if pieces else columns
        first = last


def _ranks(dealing: Dealing, first: int, last: int) -> Integers:
    """The rank of each position."""
    batch_size = dealing.batch_size
    steps = range(first // batch_size, (last - 1) // batch_size + 1)
    ranks = np.concatenate([dealing.ranks(step) for step in steps])
    skipped = first - steps.start * batch_size
    return ranks[skipped : skipped + last - first]


def _pieces(
    plan: Plan, batch: Batch, columns: Mapping[str, Integers], erased: Erased | None
) -> Columns:
    """The same with an entry for each piece of a row."""
    found = plan.pieces(batch, erased)
    repeated = {name: column[found.rows] for name, column in columns.items()}
    return repeated | {"example": found.examples, "start": found.starts, "stop": found.stops}
