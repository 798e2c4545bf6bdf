"""The ratio guard: refuses to train on anything but the ratio that was agreed.

It counts the rows of every batch itself, from the tensors that the optimizer is about to step on,
and holds them against the plan's shares with the same pure check that the compiler and the auditor
use.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ..mixer.dealing import SEGMENT_ROWS, Dealing
from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan, dealing_of
from ..mixer.ratio import RANK_BOUND, RatioCount, schedule_bound
from .loader import TrainBatch

Integers = npt.NDArray[np.int64]

STEPS_AT_ONCE = 4096
"""Steps that are counted together when a run resumes."""


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
        counts = served_before(plan, first_step, rank, world_size)
        self._count = RatioCount.start(
            [source.name for source in plan.sources],
            plan.mix.shares,
            counts=counts,
            bound=_bound(plan, world_size),
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each source so far."""
        return dict(zip(self._count.names, self._count.counts, strict=True))

    def realised(self) -> Mapping[str, Fraction]:
        """Fraction of the rows so far that each source has; 0 before the first row."""
        num_rows = max(1, self._count.num_rows)
        return {name: Fraction(count, num_rows) for name, count in self.counts.items()}

    def observe(self, batch: TrainBatch) -> None:
        """Counts a batch; call it before the optimizer sees the batch.

        Raises:
            RecollectError: RATIO_VIOLATED when a step is left out or repeated, when the rows are
                not as many of each source as the plan has for this step and rank, or when a source
                is further from its share than it can be at any row.
        """
        where = f"step {batch.step}, rank {self.rank}"
        if batch.step != self._next_step:
            raise _violated(f"Step {self._next_step} was expected.", where)
        sources = batch.sources.cpu().numpy()
        if len(sources) != batch.input_ids.shape[0]:
            raise _violated("The rows have not one source each.", where)
        after = self._count.extended(sources, where=where)
        planned = self.plan.shard(batch.step, self.rank, self.world_size)
        if not np.array_equal(
            np.bincount(sources, minlength=len(self.plan.sources)),
            planned.counts(len(self.plan.sources)),
        ):
            raise _violated("The rows per source are not those of the plan.", where)
        self.max_deviation = max(self.max_deviation, self._deviation(sources))
        self._count = after
        self._next_step += 1

    def _deviation(self, sources: Integers) -> float:
        """Largest deviation at the end of each row; for display, the check itself is exact."""
        hits = sources[:, None] == np.arange(len(self.plan.sources))
        counts = np.cumsum(hits, axis=0) + np.array(self._count.counts)
        num_rows = np.arange(1, len(sources) + 1) + self._count.num_rows
        shares = np.array([float(share) for share in self.plan.mix.shares])
        return float(np.abs(counts - num_rows[:, None] * shares).max(initial=0.0))


def served_before(plan: Plan, step: int, rank: int, world_size: int) -> Integers:
    """Rows of each source that a rank has in the steps before `step`.

    Where the dealing is too long to be whole, only the rows since the start of its segment can be
    found in bounded time; the bound of the guard allows for that.
    """
    batch_size = plan.mix.batch_size
    if world_size == 1:
        return plan.schedule.served(min(step * batch_size, plan.num_positions))
    dealing = dealing_of(plan.mix.shares, batch_size, world_size)
    counts = np.zeros(len(plan.sources), dtype=np.int64)
    if dealing.whole:
        # In a whole period every rank has its exact share.
        periods = step // dealing.period
        rows = Fraction(periods * dealing.period * batch_size, world_size)
        counts += np.array([int(share * rows) for share in plan.mix.shares], dtype=np.int64)
        first = periods * dealing.period
    else:
        first = step - step % max(SEGMENT_ROWS // batch_size, 1)
    for start in range(first, step, STEPS_AT_ONCE):
        counts += _counted(plan, dealing, range(start, min(step, start + STEPS_AT_ONCE)), rank)
    return counts


def _counted(plan: Plan, dealing: Dealing, steps: range, rank: int) -> Integers:
    positions = np.arange(steps.start * plan.mix.batch_size, steps.stop * plan.mix.batch_size)
    sources, _ = plan.schedule.at(positions)
    mine = np.concatenate([dealing.ranks(step) for step in steps]) == rank
    return np.bincount(sources[mine], minlength=len(plan.sources)).astype(np.int64)


def _bound(plan: Plan, world_size: int) -> Fraction:
    """Rows by which a source may deviate at any row of a rank."""
    if world_size == 1:
        return schedule_bound(len(plan.sources))
    if dealing_of(plan.mix.shares, plan.mix.batch_size, world_size).whole:
        return RANK_BOUND
    # A rank may gain or lose a row of each source with every segment (see `mixer.dealing`), and a
    # segment has more than half of SEGMENT_ROWS rows. Each batch is still compared with the plan.
    return RANK_BOUND + 1 + Fraction(2 * plan.num_positions, SEGMENT_ROWS)


def _violated(message: str, where: str) -> RecollectError:
    return RecollectError(
        Reason.RATIO_VIOLATED,
        message,
        where=where,
        fix="Do not train on it: compare the data loader with the plan.",
    )
