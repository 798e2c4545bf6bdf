"""The footprint of a plan: how much memory working out its batches can take at most.

What grows with a plan is counted: measures and packs with its examples, tables with the period of
its schedule and with the ranks, checkpoints with its length. The rows themselves lie in token
caches, which are mapped and not held. Figures are bytes of arrays, to within a factor of two or so.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import lengthwise, schedule
from .packing import Packing
from .plan import Plan, needs_measures

FIXED_BYTES = 1 << 20
"""What does not grow: orders of small sources, buffers of the permutation."""
RUNS_PER_EXAMPLE = 4
"""Answers of an example, where they were not counted."""
COLUMNS_WHILE_PACKING = 12
"""Arrays of one value for each piece that packing has at once."""
BYTES_WHILE_DEALING = 112
"""Per row of a table of ranks, while it is made; empty rows that fill up a hand count, too."""


def peak_bytes(plan: Plan, world_sizes: Iterable[int] = ()) -> int:
    """Most memory that the batches of a plan take, beside the token caches."""
    return (
        FIXED_BYTES
        + _row_bytes(plan)
        + _schedule_bytes(plan)
        + max((_dealing_bytes(plan, size) for size in world_sizes), default=0)
        + _batch_bytes(plan)
    )


def _row_bytes(plan: Plan) -> int:
    """Measures and packs."""
    if not needs_measures(plan.mix):
        return 0
    kept = largest = 0
    for number, source in enumerate(plan.sources):
        examples, pieces = source.num_examples, source.num_examples
        runs = RUNS_PER_EXAMPLE * examples
        rows = plan.rows[number] if plan.rows else None
        if rows is not None and rows.packs is not None and rows.measures is not None:
            pieces, runs = rows.packs.num_pieces, rows.measures.run_starts.size
        elif plan.mix.packing is not Packing.NONE:
            pieces += source.num_rows
        # Lengths, offsets and first tokens; runs twice, within examples and over all of them.
        kept += 8 * (3 * examples + 4 * runs)
        # Pieces of three numbers; per row where they begin, tokens and supervised tokens.
        kept += 8 * (3 * pieces + 3 * source.num_rows)
        largest = max(largest, 8 * COLUMNS_WHILE_PACKING * pieces)
    return kept + largest


def _schedule_bytes(plan: Plan) -> int:
    """Blocks that are kept, and checkpoints."""
    num_sources, num_rows = len(plan.sources), plan.num_positions
    if plan.mix.unit.value != "examples":
        blocks = min(lengthwise.MOST_BLOCKS * lengthwise.BLOCK_LENGTH, num_rows)
        checkpoints = num_rows // lengthwise.BLOCK_LENGTH + 2
        return 24 * (blocks + num_sources * checkpoints)
    longest = sum(min(period, schedule.LONGEST_TABLE) for period in plan.mix.timeline.periods)
    blocks = min(schedule.MOST_BLOCKS * schedule.BLOCK_LENGTH, num_rows)
    # Sources, ordinals and their order, and as much again while a block is worked out.
    return 48 * max(min(longest, num_rows), blocks if longest > schedule.LONGEST_TABLE else 0)


def _dealing_bytes(plan: Plan, world_size: int) -> int:
    """A table of ranks, while it is made."""
    if world_size < 2:
        return 0
    num_hands = -(-plan.mix.batch_size // world_size)
    return plan.dealing(world_size).lap_steps * num_hands * world_size * BYTES_WHILE_DEALING


def _batch_bytes(plan: Plan) -> int:
    """Restore keys of a batch, and its tokens with their mask."""
    return plan.mix.batch_size * (8 * 16 + 8 * plan.mix.max_length)
