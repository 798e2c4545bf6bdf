"""The ratio guard: refuses to train on anything but the ratio that was agreed.

It counts the rows of every batch itself, from the tensors that the optimizer is about to step on,
and holds them against the plan's shares with the same pure check that the compiler and the auditor
use. Where the shares are of tokens, it counts those as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch

from ..mixer.errors import Reason, RecollectError
from ..mixer.lengthwise import LengthwiseSchedule
from ..mixer.mix import Unit
from ..mixer.plan import Plan
from ..mixer.ratio import RatioCount, check_counts, deviation
from ..mixer.shards import RankSteps, Shards
from .frame import IGNORED, TrainBatch

Integers = npt.NDArray[np.int64]


class RatioGuard:
    """What one rank has trained on so far, checked at every row."""

    def __init__(
        self, plan: Plan, rank: int = 0, world_size: int = 1, *, first_step: int = 0
    ) -> None:
        """Starts at `first_step`, with the rows before it counted as the plan has them."""
        self.plan = plan
        self.rank = rank
        self.world_size = world_size
        self.max_deviation = 0.0
        """Largest distance, in rows, of a source from its share at any row that was observed."""
        self._next_step = first_step
        self._planned = RankSteps(plan, rank=rank, world_size=world_size)
        self._count = RatioCount.start(
            [source.name for source in plan.sources],
            plan.mix.timeline,
            counts=served_before(plan, first_step, rank, world_size),
        )
        self._weights: Integers = np.zeros(len(plan.sources), dtype=np.int64)
        if isinstance(plan.schedule, LengthwiseSchedule) and world_size == 1:
            self._weights = plan.schedule.weight(self._num_positions(first_step))

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each source so far."""
        return dict(zip(self._count.names, self._count.counts, strict=True))

    def realised(self) -> Mapping[str, Fraction]:
        """Fraction of all so far that each source has, in the unit of the plan; 0 of nothing.

        Of tokens, one of several ranks knows only what it has observed.
        """
        if self.plan.mix.unit is Unit.EXAMPLES:
            amounts = list(self._count.counts)
        else:
            amounts = self._weights.tolist()
        whole = max(1, sum(amounts))
        return {
            name: Fraction(amount, whole)
            for name, amount in zip(self._count.names, amounts, strict=True)
        }

    def observe(self, batch: TrainBatch) -> None:
        """Counts a batch; call it before the optimizer sees the batch.

        Raises:
            RecollectError: RATIO_VIOLATED when a step is left out or repeated, when the rows are
                not as many of each source as the plan has for this step and rank, or, where it
                depends on lengths, their tokens or supervised tokens; or when a source
                is further from its share than it can be: at any row where one rank has them all,
                at the end of the step where several share them.
        """
        where = f"step {batch.step}, rank {self.rank}"
        if batch.step != self._next_step:
            raise _violated(f"Step {self._next_step} was expected.", where)
        sources = batch.sources.cpu().numpy()
        if len(sources) != batch.input_ids.shape[0]:
            raise _violated("The rows have not one source each.", where)
        after = self._checked(sources, where)
        planned = self._planned.between(batch.step, batch.step + 1)
        if not np.array_equal(
            np.bincount(sources, minlength=len(self.plan.sources)), planned.num_rows[0]
        ):
            raise _violated("The rows per source are not those of the plan.", where)
        if self.plan.needs_measures:
            self._weigh(batch, planned, where)
        self._count = after
        self._next_step += 1
        if self.plan.mix.unit is Unit.EXAMPLES:
            self.max_deviation = max(self.max_deviation, self._deviation(sources))

    def _weigh(self, batch: TrainBatch, planned: Shards, where: str) -> None:
        """Counts the tokens of a batch that depends on lengths, and holds them to the plan's."""
        assert planned.num_tokens is not None and planned.num_supervised_tokens is not None
        [num_tokens], [num_supervised] = planned.num_tokens, planned.num_supervised_tokens
        for name, of_rows, expected in (
            ("tokens", batch.attention_mask.sum(1), num_tokens),
            ("supervised tokens", (batch.labels != IGNORED).sum(1), num_supervised),
        ):
            counted = torch.zeros(len(self.plan.sources), dtype=torch.int64)
            counted.index_add_(0, batch.sources.cpu(), of_rows.cpu())
            if counted.tolist() != expected.tolist():
                raise _violated(f"The {name} per source are not those of the plan.", where)
        supervised = self.plan.mix.unit is Unit.SUPERVISED_TOKENS
        self._weights = self._weights + (num_supervised if supervised else num_tokens)

    def _checked(self, sources: Integers, where: str) -> RatioCount:
        """The count after a batch, with its ratio checked as closely as the plan promises it."""
        by_rows = self.plan.mix.unit is Unit.EXAMPLES
        if by_rows and self.world_size == 1:
            return self._count.extended(sources, where=where)
        known = sources.size == 0 or 0 <= sources.min() <= sources.max() < len(self.plan.sources)
        if not known:
            raise _violated("A row is of no source of the plan.", where)
        added = np.bincount(sources, minlength=len(self.plan.sources)).tolist()
        counts = tuple(was + more for was, more in zip(self._count.counts, added, strict=True))
        if by_rows:
            check_counts(
                self.plan.mix.timeline,
                counts,
                self._num_positions(self._next_step + 1),
                names=self._count.names,
                bound=self.plan.dealing(self.world_size).bound,
                world_size=self.world_size,
                where=where,
            )
        return replace(self._count, counts=counts)

    def _num_positions(self, num_steps: int) -> int:
        """Rows of the first steps, of all ranks."""
        return min(num_steps * self.plan.mix.batch_size, self.plan.num_positions)

    def _deviation(self, sources: Integers) -> float:
        """Largest deviation at the rows of the last batch, or at its end where ranks share it."""
        timeline = self.plan.mix.timeline
        ends = [self._count.counts]
        num_rows = self._num_positions(self._next_step)
        if self.world_size == 1:
            hits = sources[:, None] == np.arange(len(self.plan.sources))
            ends = (np.array(ends[0]) - np.cumsum(hits[::-1], axis=0) + hits[::-1]).tolist()
        return max(
            float(abs(rows))
            for back, counts in enumerate(ends)
            for rows in deviation(timeline, counts, num_rows - back, world_size=self.world_size)
        )


def served_before(plan: Plan, step: int, rank: int, world_size: int) -> Integers:
    """Rows of each source that a rank has in the steps before `step`."""
    return plan.dealing(world_size).served(step, rank)


def _violated(message: str, where: str) -> RecollectError:
    return RecollectError(
        Reason.RATIO_VIOLATED,
        message,
        where=where,
        fix="Do not train on it: compare the data loader with the plan.",
    )
