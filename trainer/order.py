"""The order of rows in a map-style data set, so that who splits it gives each rank its own rows.

Hugging Face's Accelerate, and Trainer and TRL upon it, take rows in turn: so many for rank 0, so
many for rank 1, and round again until a step is full. Laid out in that order, the rows that the
plan deals to a rank come to that rank, on any number of ranks and with any accumulation. The global
batch of a step, and where it begins, stay the same, so a run may be resumed on other ranks.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan

Integers: TypeAlias = npt.NDArray[np.int64]


class RowOrder:
    """Which position of the plan a row of the data set is.

    Args:
        plan: the plan.
        world_size: ranks that share each batch.
        micro_rows: rows that a rank takes at once; None: rows stay at their positions.

    Raises:
        RecollectError: RANK_INVALID; CONFIG_INVALID when `micro_rows` does not divide what each
            rank has of a batch.
    """

    def __init__(self, plan: Plan, world_size: int = 1, micro_rows: int | None = None) -> None:
        self.plan = plan
        self.world_size = world_size
        self.micro_rows = micro_rows
        self.dealing = plan.dealing(world_size)
        batch_size = plan.mix.batch_size
        self._in_turns = world_size > 1 and micro_rows is not None
        self.num_rows = plan.num_positions
        """Rows of the data set."""
        if micro_rows is not None:
            require_whole(plan, world_size, micro_rows)
        if self._in_turns:
            # Accelerate would fill a shorter batch up with rows of the beginning.
            self.num_rows -= plan.num_positions % batch_size

    def positions(self, rows: Integers) -> Integers:
        """The positions of rows.

        Raises:
            RecollectError: PLAN_OUT_OF_RANGE.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_rows:
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"The data set has the rows 0 … {self.num_rows - 1}.",
                where=f"plan {self.plan.plan_id[:12]}",
            )
        if not self._in_turns:
            return rows
        steps, within = np.divmod(rows, self.plan.mix.batch_size)
        positions = np.empty_like(rows)
        for step in np.unique(steps).tolist():
            here = steps == step
            positions[here] = self._turns(step)[within[here]] + step * self.plan.mix.batch_size
        return positions

    def ranks(self, positions: Integers) -> Integers:
        """The rank that each position is dealt to."""
        if self.world_size == 1:
            return np.zeros_like(positions)
        steps, within = np.divmod(positions, self.plan.mix.batch_size)
        ranks = np.empty_like(positions)
        for step in np.unique(steps).tolist():
            here = steps == step
            ranks[here] = self.dealing.ranks(step)[within[here]]
        return ranks

    def are_in_turn(self, positions: Integers) -> bool:
        """Whether these are consecutive rows of one rank; of one step, where ranks share it."""
        if len(positions) < 2:
            return True
        if self.world_size == 1:
            return bool((np.diff(positions) == 1).all())
        steps, within = np.divmod(positions, self.plan.mix.batch_size)
        if (steps != steps[0]).any():
            return False
        dealt = self.dealing.ranks(int(steps[0]))
        first = within[0]
        mine = first + np.flatnonzero(dealt[first:] == dealt[first])
        return np.array_equal(within, mine[: len(within)])

    def _turns(self, step: int) -> Integers:
        """The places of a step's rows in the order in which ranks take them."""
        by_rank = np.argsort(self.dealing.ranks(step), kind="stable")
        turns = by_rank.reshape(self.world_size, -1, self.micro_rows or 1)
        return turns.transpose(1, 0, 2).ravel()


def require_whole(plan: Plan, world_size: int, micro_rows: int) -> None:
    """Refuses to cut the batches of a plan into parts that do not make up a step.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    batch_size = plan.mix.batch_size
    if micro_rows < 1 or batch_size % (world_size * micro_rows):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{batch_size} rows of a step cannot be taken {micro_rows} at a time by {world_size} "
            "ranks.",
            where="micro_rows",
            fix="Rows at a time × ranks × accumulation steps must be the plan's batch_size.",
        )


def out_of_order(positions: Integers) -> RecollectError:
    """Why rows are not handed out."""
    shown = ", ".join(map(str, positions[:4].tolist()))
    return RecollectError(
        Reason.CONFIG_INVALID,
        f"The positions {shown}, … are not consecutive rows of one rank: the sampler shuffles or "
        "strides the plan, or takes other numbers of rows than the data set was made for.",
        where="sampler",
        fix="Sample in order: train_sampling_strategy='sequential' (Trainer, TRL), shuffle=False "
        "with world_size and micro_rows given to plan_dataset (Accelerate), PlanBatchSampler "
        "(torch, Lightning with use_distributed_sampler=False).",
    )
