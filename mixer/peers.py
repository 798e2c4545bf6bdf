"""What the same mix would get under the rules of other loaders, measured row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .peer_rules import (
    RAY_BLOCK_ROWS,
    RULES,
    Division,
    Floats,
    Integers,
    MixRefusedError,
    PeerRule,
    Shares,
)
from .plan import dealing_of
from .shares import check_shares

WINDOW_ROWS = 1000
DEFAULT_SHARES = (Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20))
"""Task, general, rare skills, refusals: the mix of the example throughout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixFigures:
    """How far a sequence of rows strays from its shares.

    Errors of a stretch of rows are in percentage points: of all sources, the one that is off most.
    """

    worst_batch: float
    p99_batch: float
    """99 of 100 batches are off by no more."""
    worst_window: float
    """The worst 1,000 consecutive rows, wherever they start."""
    long_run: float
    """All rows together."""
    batches_without_rarest: float
    """Fraction of the batches in which the rarest source has no row."""
    worst_prefix_rows: float
    """Largest |served - share·n| over all sources and prefixes n, in rows."""
    rank_shares: tuple[float, ...]
    """Share of the rarest source among the rows of each rank."""
    worst_rank_rows: float
    """Largest |served - share·rows| over sources, ranks and steps, in rows of the rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRow:
    """One rule of the comparison."""

    rule: PeerRule
    figures: MixFigures | None
    refusal: str = ""
    """What the package does instead of serving the mix."""


def compare(
    shares: Sequence[Fraction] = DEFAULT_SHARES,
    *,
    batch_size: int = 32,
    world_size: int = 4,
    num_batches: int = 10_000,
    seed: int = 0,
) -> list[PeerRow]:
    """Serves the mix by every rule, and measures.

    Raises:
        RecollectError: `MIX_SHARES`, or `RANK_INVALID` if a batch has fewer rows than ranks.
    """
    check_shares(shares)
    exact = tuple(shares)
    dealing_of(exact, batch_size, world_size)
    rows = []
    for rule in RULES:
        try:
            sources, ranks = serve(rule, exact, batch_size, world_size, num_batches, seed)
        except MixRefusedError as refusal:
            rows.append(PeerRow(rule=rule, figures=None, refusal=str(refusal)))
            continue
        figures = measure(exact, sources, ranks, batch_size=batch_size, world_size=world_size)
        rows.append(PeerRow(rule=rule, figures=figures))
    return rows


def serve(
    rule: PeerRule,
    shares: Shares,
    batch_size: int,
    world_size: int,
    num_batches: int,
    seed: int = 0,
) -> tuple[Integers, Integers]:
    """The source and the rank of every row of the first batches under a rule.

    Raises:
        MixRefusedError: the package would not serve this mix.
    """
    num_positions = batch_size * num_batches
    if rule.division is Division.STRIDED:
        sources = rule.order(shares, num_positions, batch_size, seed)
        return sources, np.arange(num_positions, dtype=np.int64) % world_size
    if rule.division is Division.DEALT:
        dealing = dealing_of(shares, batch_size, world_size)
        ranks = np.concatenate([dealing.ranks(step) for step in range(num_batches)])
        return rule.order(shares, num_positions, batch_size, seed), ranks
    places = np.arange(batch_size, dtype=np.int64)
    runs = places * world_size // batch_size
    ranks = np.tile(runs, num_batches)
    if rule.division is Division.CONTIGUOUS:
        return rule.order(shares, num_positions, batch_size, seed), ranks
    # In the others a rank has a stream of its own, and every step takes the next rows of each.
    sizes = np.bincount(runs, minlength=world_size)
    longest = int(sizes.max()) * num_batches
    steps = np.arange(num_batches, dtype=np.int64)[:, None]
    own = (steps * sizes[runs] + places - np.searchsorted(runs, runs)).ravel()
    if rule.division is Division.OWN_STREAM:
        return rule.order(shares, longest, int(sizes.max()), seed)[own], ranks
    blocks, within = np.divmod(own, RAY_BLOCK_ROWS)
    positions = (blocks * world_size + ranks) * RAY_BLOCK_ROWS + within
    return rule.order(shares, int(positions.max()) + 1, batch_size, seed)[positions], ranks


def measure(
    shares: Shares, sources: Integers, ranks: Integers, *, batch_size: int, world_size: int
) -> MixFigures:
    """Measures a sequence of rows.

    Args:
        shares: what was asked for.
        sources: int64[rows], what was served; whole batches.
        ranks: int64[rows], who was served.
        batch_size: rows of a step.
        world_size: number of ranks.
    """
    wanted = np.array([float(share) for share in shares])
    num_rows, num_sources = sources.size, wanted.size
    steps = np.arange(num_rows, dtype=np.int64) // batch_size
    num_steps = num_rows // batch_size
    counts = np.bincount(steps * num_sources + sources, minlength=num_steps * num_sources)
    batches = np.abs(counts.reshape(num_steps, num_sources) / batch_size - wanted).max(axis=1)
    # Of sources that are equally rare, the last.
    rarest = num_sources - 1 - int(np.argmin(wanted[::-1]))
    total = np.bincount(sources, minlength=num_sources)
    rank_rows = np.bincount(ranks, minlength=world_size)
    rank_rarest = np.bincount(ranks[sources == rarest], minlength=world_size)
    every_row = np.arange(num_rows + 1, dtype=np.int64)
    rank_steps = np.bincount(ranks * num_steps + steps, minlength=world_size * num_steps)
    rows_until = np.zeros((world_size, num_steps + 1), dtype=np.int64)
    np.cumsum(rank_steps.reshape(world_size, num_steps), axis=1, out=rows_until[:, 1:])
    return MixFigures(
        worst_batch=100 * float(batches.max()),
        p99_batch=100 * float(np.quantile(batches, 0.99, method="inverted_cdf")),
        worst_window=100 * _worst_window(wanted, sources, min(WINDOW_ROWS, num_rows)),
        long_run=100 * float(np.abs(total / num_rows - wanted).max()),
        batches_without_rarest=float(np.mean(counts.reshape(num_steps, -1)[:, rarest] == 0)),
        worst_prefix_rows=_worst_deviation(
            wanted, sources, np.zeros_like(ranks), every_row[:-1], every_row[None]
        ),
        rank_shares=tuple((rank_rarest / rank_rows).tolist()),
        worst_rank_rows=_worst_deviation(wanted, sources, ranks, steps, rows_until),
    )


def _sorted_by(groups: Integers) -> Integers:
    """A stable order by group; few groups are sorted as short numbers, which is much faster."""
    short = groups.astype(np.uint16) if int(groups.max()) < 1 << 16 else groups
    return np.argsort(short, kind="stable")


def _worst_deviation(
    wanted: Floats, sources: Integers, ranks: Integers, ticks: Integers, rows: Integers
) -> float:
    """Largest |served - share·rows| of any source and rank at the end of any tick.

    A source strays most just before a tick that serves it or just after, so only those are looked
    at: the work depends on the number of rows, not on sources times rows.

    Args:
        wanted: the shares.
        sources: int64[n], in order.
        ranks: int64[n], who was served.
        ticks: int64[n], the tick of each row, never falling.
        rows: rows[r, t] rows were served to rank r before tick t; last of all, the sum.
    """
    groups = ranks * wanted.size + sources
    num_groups = rows.shape[0] * wanted.size
    order = _sorted_by(groups)
    group, tick = groups[order], ticks[order]
    is_first = np.ones(group.size, dtype=np.bool_)
    is_first[1:] = (np.diff(group) != 0) | (np.diff(tick) != 0)
    starts = np.flatnonzero(is_first)
    ends = np.append(starts[1:], group.size)
    sizes = np.bincount(groups, minlength=num_groups)
    group, tick = group[starts], tick[starts]
    earlier = (np.cumsum(sizes) - sizes)[group]
    rank, source = np.divmod(group, wanted.size)
    behind = wanted[source] * rows[rank, tick] - (starts - earlier)
    ahead = (ends - earlier) - wanted[source] * rows[rank, tick + 1]
    at_the_end = sizes.reshape(-1, wanted.size) - np.outer(rows[:, -1], wanted)
    return float(max(behind.max(), ahead.max(), np.abs(at_the_end).max()))


def _worst_window(wanted: Floats, sources: Integers, num_rows: int) -> float:
    """Largest |served/rows - share| over all windows of so many consecutive rows.

    A window holds most of a source if it starts with a row of it, and least if it starts just
    after one.
    """
    last_start = sources.size - num_rows
    order = _sorted_by(sources)
    source, rows = sources[order], np.arange(sources.size)
    keys = source * sources.size + order
    next_row = np.searchsorted(keys, keys + num_rows)
    # The window that starts one row later may reach one row of the source further.
    reached = np.append(keys, -1)[next_row] == keys + num_rows
    over = ((next_row - rows) / num_rows - wanted[source])[order <= last_start]
    under = (wanted[source] - (next_row + reached - rows - 1) / num_rows)[order < last_start]
    edges = [
        np.abs(np.bincount(window, minlength=wanted.size) / num_rows - wanted)
        for window in (sources[:num_rows], sources[last_start:])
    ]
    return float(max(over.max(initial=0), under.max(initial=0), np.max(edges)))
