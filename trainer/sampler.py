"""A batch sampler for plain torch and Lightning: every rank's rows, step by step.

torch's own DistributedSampler takes every W-th position, which aliases with an interleaved plan: of
two sources in turn, each of two ranks would see only one. This one takes the plan's own dealing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ..mixer.plan import Plan
from .order import require_whole
from .state import STATE_VERSION, State, next_step_in, number_in, require_state, require_step


class PlanBatchSampler(Sampler[list[int]]):
    """Lists of positions, one for each step of a rank, or for each part of one.

    For `DataLoader(plan_dataset(address, plan_id, world_size=W), batch_sampler=...)`. A last step
    with fewer rows than ranks is left out, since some rank would have nothing to train on.
    """

    def __init__(
        self,
        plan: Plan,
        rank: int = 0,
        world_size: int = 1,
        *,
        first_step: int = 0,
        micro_rows: int | None = None,
    ) -> None:
        """Begins at `first_step`.

        Args:
            plan: the plan; `PlanRows.of(dataset).plan` is that of a data set.
            rank: this process, from 0.
            world_size: ranks that share each batch.
            first_step: the first step to hand out.
            micro_rows: rows of a list, where a step is taken in parts; None: a step is one list.

        Raises:
            RecollectError: RANK_INVALID; CONFIG_INVALID when `micro_rows` does not fit;
                PLAN_OUT_OF_RANGE.
        """
        plan.shard(0, rank, world_size)  # Refuses a rank that there is not.
        if micro_rows is not None:
            require_whole(plan, world_size, micro_rows)
        self.plan = plan
        self.rank = rank
        self.world_size = world_size
        self.micro_rows = micro_rows
        rest = plan.num_positions % plan.mix.batch_size
        self.num_steps = plan.num_steps - (1 if 0 < rest < world_size else 0)
        """Steps that every rank has rows in."""
        self._next = (require_step(first_step, plan, where="first_step"), 0)

    def __len__(self) -> int:
        """Lists that are still to come."""
        step, part = self._next
        if step >= self.num_steps:
            return 0
        last = len(self._parts(self.num_steps - 1))
        whole = 1 if self.micro_rows is None else len(self._parts(0))
        return (self.num_steps - 1 - step) * whole + last - part

    def __iter__(self) -> Iterator[list[int]]:
        step, part = self._next
        while step < self.num_steps:
            parts = self._parts(step)
            while part < len(parts):
                # Said before it is handed out: a state that is taken then has it behind it.
                self._next = (step, part + 1) if part + 1 < len(parts) else (step + 1, 0)
                yield parts[part]
                part += 1
            step, part = step + 1, 0

    def state_dict(self) -> dict[str, int | str]:
        """Where to go on, after the last list that was handed out.

        A DataLoader with workers asks ahead of the training: what was trained is what `RowGuard`
        counts, and its state may be loaded here.
        """
        step, part = self._next
        return {
            "version": STATE_VERSION,
            "plan_id": self.plan.plan_id,
            "next_step": step,
            "next_part": part,
        }

    def load_state_dict(self, state: State) -> None:
        """Goes on where a state was taken; at the beginning of a step on any number of ranks.

        Raises:
            RecollectError: VERSION_UNKNOWN; CONFIG_INVALID when the state is of another plan, or
                none; PLAN_OUT_OF_RANGE.
        """
        require_state(state, self.plan)
        self._next = (next_step_in(state, self.plan), number_in(state, "next_part", 0))

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the epochs of a plan are inside it. Trainers call this on any sampler."""

    def _parts(self, step: int) -> list[list[int]]:
        shard = self.plan.shard(step, self.rank, self.world_size).positions
        size = self.micro_rows or max(1, len(shard))
        return [part.tolist() for part in np.split(shard, range(size, len(shard), size))]
