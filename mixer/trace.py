"""Traces: what a plan serves row by row, as columns that anyone can check without this program.

One entry a row: its position, its source and how many rows of that source came before (`ordinal`),
the pass over the source (`epoch`), which of its examples it is, and the step and rank that train on
it. The laws can be read off it: count the rows of a source up to any position, and compare with its
share of them. Where the lengths of examples matter, the tokens of each row stand there as well, so
that shares of tokens can be counted in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .batch import Batch
from .dealing import Dealing
from .errors import Reason, RecollectError
from .packing import Packing, Pieces
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
    `start` and `stop` (tokens of the example) follow. A plan that counts tokens or packs ends with
    `tokens` and `supervised_tokens`: what the row holds, or the piece, without what was erased.

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


def columns_of(
    plan: Plan, *, world_size: int | None = None, pieces: bool = False
) -> tuple[str, ...]:
    """Names of the columns of a trace."""
    names = ["position", "source", "ordinal", "epoch", "row" if pieces else "example", "step"]
    names += ["rank"] if world_size is not None else []
    names += ["example", "start", "stop"] if pieces else []
    names += ["tokens", "supervised_tokens"] if plan.needs_measures else []
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
        columns: dict[str, Integers] = {
            "position": batch.positions,
            "source": batch.sources,
            "ordinal": batch.ordinals,
            "epoch": batch.epochs,
            "row" if pieces else "example": batch.examples,
            "step": batch.positions // batch_size,
        }
        if dealing is not None:
            columns["rank"] = _ranks(dealing, first, last)
        if pieces:
            columns = _by_piece(plan, batch, columns, erased)
        elif plan.needs_measures:
            columns |= _tokens(plan, batch, erased)
        yield columns
        first = last


def _ranks(dealing: Dealing, first: int, last: int) -> Integers:
    """The rank of each position."""
    batch_size = dealing.batch_size
    steps = range(first // batch_size, (last - 1) // batch_size + 1)
    ranks = np.concatenate([dealing.ranks(step) for step in steps])
    skipped = first - steps.start * batch_size
    return ranks[skipped : skipped + last - first]


def _by_piece(
    plan: Plan, batch: Batch, columns: Mapping[str, Integers], erased: Erased | None
) -> dict[str, Integers]:
    """The same with an entry for each piece of a row."""
    found = plan.pieces(batch, erased)
    repeated = {name: column[found.rows] for name, column in columns.items()}
    return repeated | {
        "example": found.examples,
        "start": found.starts,
        "stop": found.stops,
        "tokens": found.stops - found.starts,
        "supervised_tokens": _supervised(plan, batch, found),
    }


def _tokens(plan: Plan, batch: Batch, erased: Erased | None) -> dict[str, Integers]:
    """The tokens of each row."""
    if erased:
        found = plan.pieces(batch, erased)
        parts = (found.stops - found.starts, _supervised(plan, batch, found))
        tokens, supervised = (_summed(part, found.rows, batch.positions.size) for part in parts)
    else:
        tokens, supervised = np.empty_like(batch.examples), np.empty_like(batch.examples)
        for index, rows in enumerate(plan.source_rows):
            here = batch.sources == index
            tokens[here] = rows.tokens[batch.examples[here]]
            supervised[here] = rows.supervised_tokens[batch.examples[here]]
    return {"tokens": tokens, "supervised_tokens": supervised}


def _supervised(plan: Plan, batch: Batch, pieces: Pieces) -> Integers:
    """The tokens of each piece that carry loss."""
    supervised = np.zeros_like(pieces.examples)
    sources = batch.sources[pieces.rows]
    for index, rows in enumerate(plan.source_rows):
        here = sources == index
        if rows.measures is not None:
            supervised[here] = rows.measures.supervised(
                pieces.examples[here], pieces.starts[here], pieces.stops[here]
            )
    return supervised


def _summed(values: Integers, rows: Integers, num_rows: int) -> Integers:
    """The sum over each row of a value of its pieces."""
    sums = np.zeros(num_rows, dtype=np.int64)
    np.add.at(sums, rows, values)
    return sums
