"""Shards: what one rank trains on in consecutive steps, worked out at once.

Nearly all of what a single step costs is the overhead of its few rows; a hundred steps cost little
more. A step out of the middle is the same, digest for digest, as the step by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .batch import Batch
from .packing import Packing, Pieces
from .plan import Erased, Plan

Integers: TypeAlias = npt.NDArray[np.int64]

ROWS_AT_ONCE = 1 << 12
"""Rows that are worth working out together: beyond that a step gets no cheaper."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shards:
    """The rows of one rank in consecutive steps."""

    first_step: int
    rows: Batch
    """The rows of all the steps, one step after the other."""
    bounds: Integers
    """Step number i of these has the rows bounds[i]:bounds[i + 1]."""
    digests: tuple[bytes, ...]
    """SHA-256 of the restore keys of each step, and of its pieces where rows are packs."""
    packed: bool
    """Whether a row may hold several examples."""
    pieces: Pieces | None
    """Examples and ranges of their tokens, row by row; None where lengths do not matter, and every
    row is one example, cut to the length of a row."""
    num_rows: Integers
    """Per step and source, its rows."""
    num_tokens: Integers | None
    """Per step and source, its tokens; None where lengths do not matter."""
    num_supervised_tokens: Integers | None
    """Per step and source, those of them that are supervised."""

    @property
    def num_steps(self) -> int:
        """Steps that are here."""
        return len(self.digests)

    def __getitem__(self, place: int) -> Batch:
        """The rows of the step first_step + place."""
        first, last = self.bounds[place : place + 2].tolist()
        return self.rows.between(first, last, step=self.first_step + place)

    def between(self, first: int, last: int) -> Shards:
        """The steps first_step + first … first_step + last - 1."""
        begin, end = self.bounds[first].item(), self.bounds[last].item()
        rows = self.rows
        pieces = self.pieces
        if pieces is not None:
            pieces = _pieces_between(pieces, begin, end)
        tokens, supervised = self.num_tokens, self.num_supervised_tokens
        return Shards(
            first_step=self.first_step + first,
            rows=rows.between(begin, end, step=self.first_step + first),
            bounds=self.bounds[first : last + 1] - begin,
            digests=self.digests[first:last],
            packed=self.packed,
            pieces=pieces,
            num_rows=self.num_rows[first:last],
            num_tokens=None if tokens is None else tokens[first:last],
            num_supervised_tokens=None if supervised is None else supervised[first:last],
        )

    def pieces_of(self, place: int) -> Pieces | None:
        """The pieces of a step, with rows numbered from 0."""
        first, last = self.bounds[place : place + 2].tolist()
        return None if self.pieces is None else _pieces_between(self.pieces, first, last)


def shards(
    plan: Plan,
    first_step: int,
    num_steps: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    erased: Erased | None = None,
) -> Shards:
    """What a rank trains on in `num_steps` steps.

    Raises:
        RecollectError: `PLAN_OUT_OF_RANGE`, `RANK_INVALID`, or `MEASURES_DIFFER` if the plan needs
            measures and has none.
    """
    rows, bounds = plan.rows_of(first_step, num_steps, rank, world_size, erased)
    pieces: Pieces | None = None
    sums: tuple[Integers | None, Integers | None] = None, None
    num_sources = len(plan.sources)
    step_of = np.repeat(np.arange(num_steps), np.diff(bounds))
    cells = step_of * num_sources + rows.sources
    if plan.needs_measures:
        pieces = plan.pieces(rows, erased) if len(rows) else _NO_PIECES
        sums = _tokens(plan, rows, cells, num_steps)
    packed = plan.mix.packing is not Packing.NONE
    return Shards(
        first_step=first_step,
        rows=rows,
        bounds=bounds,
        digests=tuple(_digests(rows, bounds, pieces if packed else None)),
        packed=packed,
        pieces=pieces,
        num_rows=np.bincount(cells, minlength=num_steps * num_sources).reshape(num_steps, -1),
        num_tokens=sums[0],
        num_supervised_tokens=sums[1],
    )


class RankSteps:
    """The steps of one rank, worked out a block ahead for who asks for one after the other.

    Not safe to share between threads.
    """

    def __init__(self, plan: Plan, *, rank: int = 0, world_size: int = 1) -> None:
        self.plan, self.rank, self.world_size = plan, rank, world_size
        self._block: Shards | None = None

    def between(self, first_step: int, last_step: int) -> Shards:
        """The steps first_step … last_step - 1.

        Raises:
            RecollectError: as `shards` does.
        """
        block = self._block
        if (
            block is None
            or first_step < block.first_step
            or last_step > block.first_step + block.num_steps
        ):
            ahead = max(last_step - first_step, num_steps_at_once(self.plan, self.world_size))
            num_steps = max(min(ahead, self.plan.num_steps - first_step), last_step - first_step)
            block = self._block = shards(
                self.plan, first_step, num_steps, rank=self.rank, world_size=self.world_size
            )
        return block.between(first_step - block.first_step, last_step - block.first_step)


def num_steps_at_once(plan: Plan, world_size: int) -> int:
    """Steps of a rank that are worth working out together."""
    return max(1, ROWS_AT_ONCE * world_size // plan.mix.batch_size)


def _tokens(plan: Plan, rows: Batch, cells: Integers, num_steps: int) -> tuple[Integers, Integers]:
    """Per step and source, tokens and supervised tokens."""
    num_sources = len(plan.sources)
    sums = np.zeros((2, num_steps * num_sources), dtype=np.int64)
    for index in np.flatnonzero(np.bincount(rows.sources, minlength=num_sources)).tolist():
        here = rows.sources == index
        source, examples = plan.source_rows[index], rows.examples[here]
        np.add.at(sums[0], cells[here], source.tokens[examples])
        np.add.at(sums[1], cells[here], source.supervised_tokens[examples])
    tokens, supervised = sums.reshape(2, num_steps, num_sources)
    return tokens, supervised


def _digests(rows: Batch, bounds: Integers, pieces: Pieces | None) -> Iterator[bytes]:
    """What `batch_digest` gives of each step."""
    begun = hashlib.sha256(rows.plan_id.encode())
    columns = [
        np.ascontiguousarray(column, dtype="<i8").data
        for column in (rows.positions, rows.sources, rows.examples)
    ]
    ends = bounds.tolist()
    for first, last in pairwise(ends):
        digest = begun.copy()
        digest.update((last - first).to_bytes(8, "little"))
        for column in columns:
            digest.update(column[first:last])
        if pieces is not None:
            within = _pieces_between(pieces, first, last)
            digest.update(len(within.rows).to_bytes(8, "little"))
            for values in within:
                digest.update(np.ascontiguousarray(values, dtype="<i8").data)
        yield digest.digest()


def _pieces_between(pieces: Pieces, first_row: int, last_row: int) -> Pieces:
    """The pieces of some rows, which are numbered from 0 in them."""
    first, last = np.searchsorted(pieces.rows, (first_row, last_row)).tolist()
    rows, *others = (column[first:last] for column in pieces)
    return Pieces(rows - first_row, *others)


_NO_PIECES = Pieces(*(np.empty(0, dtype=np.int64) for _ in range(4)))
