"""The ratio guard for rows that come by position, from any trainer and in any number of parts.

`RatioGuard` takes the batches of a `ReplayLoader`, a step at a time. Here the rows of a step arrive
in parts, as another trainer's sampler chose them. Every part is held against the rows that the plan
deals to this rank before the model sees it, and every whole step against the agreed ratio before
the optimizer does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import pad

from ..mixer.errors import Reason, RecollectError
from ..mixer.holding import holding
from ..mixer.plan import Batch, Plan
from .batch import IGNORED, PAD_ID, TrainBatch
from .client import Client
from .dataset import WATCHED
from .guard import RatioGuard
from .state import STATE_VERSION, State, next_step_in, require_state
from .tally import SourceTally

Mode = Literal["enforce", "observe"]
Part = Mapping[str, torch.Tensor]
Integers = npt.NDArray[np.int64]

log = logging.getLogger(__name__)


class RowGuard:
    """What one rank trains on, part by part; see the module.

    `mode="observe"` logs and counts what `mode="enforce"` refuses, and never raises.
    """

    def __init__(
        self,
        plan: Plan,
        rank: int = 0,
        world_size: int = 1,
        *,
        first_step: int = 0,
        mode: Mode = "enforce",
    ) -> None:
        """Begins at `first_step`, with the rows before it counted as the plan has them."""
        self.plan = plan
        self.rank = rank
        self.world_size = world_size
        self.mode = mode
        self.num_violations = 0
        """What was observed and not refused: parts or steps that are not what the plan has."""
        self._begin(first_step)
        self._amounts: Integers = np.zeros((3, len(plan.sources)), dtype=np.int64)

    def _begin(self, step: int) -> None:
        self.next_step = step
        """The step whose rows are being taken: all before it are whole."""
        self._parts: list[Part] = []
        self._last: TrainBatch | None = None
        self._ratio = RatioGuard(self.plan, self.rank, self.world_size, first_step=step)

    def take(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Checks a part of a step; returns it without the columns that a model refuses.

        Call it on every batch of a `plan_dataset(..., watched=True)`, before the model.

        Raises:
            RecollectError: RATIO_VIOLATED when its rows are not the next ones of this rank, or the
                step that they complete departs from the ratio; CONFIG_INVALID when the batch was
                not watched.
        """
        try:
            self._take(batch)
        except RecollectError as error:
            self.refuse(error)
            self._pass_over(batch)
        return {name: column for name, column in batch.items() if name not in WATCHED}

    def refuse(self, error: RecollectError) -> None:
        """Raises an error, or logs and counts it where violations are only observed."""
        if self.mode == "enforce":
            raise error
        self.num_violations += 1
        log.warning("%s", error)

    @property
    def last(self) -> TrainBatch | None:
        """The last whole step that was taken, if there is one."""
        return self._last

    @property
    def is_between_steps(self) -> bool:
        """Whether every step that was begun is whole."""
        return not self._parts

    @property
    def tallies(self) -> Mapping[str, SourceTally]:
        """What was taken of each source since this guard began."""
        return {
            source.name: SourceTally(num_rows=rows, num_tokens=tokens, num_supervised_tokens=learnt)
            for source, rows, tokens, learnt in zip(
                self.plan.sources, *self._amounts.tolist(), strict=True
            )
        }

    def realised(self) -> Mapping[str, Fraction]:
        """Fraction of what was taken that each source has, in the plan's unit; 0 of nothing."""
        amounts = {name: tally.amount(self.plan.mix.unit) for name, tally in self.tallies.items()}
        whole = max(1, sum(amounts.values()))
        return {name: Fraction(amount, whole) for name, amount in amounts.items()}

    def ack(self, client: Client, run_id: str) -> None:
        """Says that the optimizer has stepped on the last whole step; durable on return.

        Raises:
            RecollectError: RATIO_VIOLATED when no step is whole; and what the service refuses.
        """
        if self._last is None:
            raise self._violated("No step is whole, so there is nothing to acknowledge.")
        client.ack(
            run_id,
            step=self._last.step,
            rank=self.rank,
            world_size=self.world_size,
            digest=self._last.digest,
            counts=self._last.tallies,
        )

    def state_dict(self) -> dict[str, int | str]:
        """The next step to train on; for `PlanBatchSampler` as well."""
        return {
            "version": STATE_VERSION,
            "plan_id": self.plan.plan_id,
            "next_step": self.next_step,
        }

    def load_state_dict(self, state: State) -> None:
        """Goes on where a state was taken.

        Raises:
            RecollectError: VERSION_UNKNOWN; CONFIG_INVALID when the state is of another plan, or
                none; PLAN_OUT_OF_RANGE.
        """
        require_state(state, self.plan)
        self._begin(next_step_in(state, self.plan))

    def _take(self, batch: Mapping[str, torch.Tensor]) -> None:
        missing = [name for name in WATCHED if name not in batch]
        if missing:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"The batch has no column {missing[0]!r}.",
                where="batch",
                fix="Make the data set with plan_dataset(..., watched=True), and keep its columns "
                "(remove_unused_columns=False).",
            )
        part = {name: column.detach().cpu() for name, column in batch.items()}
        if len({len(column) for column in part.values()}) > 1:
            raise self._violated("The columns have not one value for each row.")
        shard = self._shard()
        positions = part["position"].numpy()
        if part["source"].max() >= len(self.plan.sources) or part["source"].min() < 0:
            raise self._violated("A row is of no source of the plan.")
        self._count(part)
        taken = sum(len(earlier["position"]) for earlier in self._parts)
        expected = shard.positions[taken : taken + len(positions)]
        if not np.array_equal(positions, expected):
            raise self._violated(
                f"The positions {_range(positions)} came where {_range(expected)} are next."
            )
        if not np.array_equal(
            part["source"].numpy(), shard.sources[taken : taken + len(positions)]
        ):
            raise self._violated("The rows are not of the sources that the plan has there.")
        self._parts.append(part)
        if taken + len(positions) == len(shard):
            self._complete(shard)

    def _shard(self) -> Batch:
        return self.plan.shard(self.next_step, self.rank, self.world_size)

    def _complete(self, shard: Batch) -> None:
        step = _joined(self.plan, shard, self._parts)
        self._ratio.observe(step)
        self.next_step += 1
        self._parts = []
        self._last = step

    def _count(self, part: Part) -> None:
        num_sources = len(self.plan.sources)
        sources = part["source"]
        learnt = (part["labels"] != IGNORED).sum(1)
        for place, amounts in enumerate((torch.ones_like(sources), part["num_tokens"], learnt)):
            counted = torch.zeros(num_sources, dtype=torch.int64)
            self._amounts[place] += counted.index_add_(0, sources, amounts).numpy()

    def _pass_over(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Goes on after something that was refused, at the step after what came."""
        if "position" in batch and len(batch["position"]):
            last = int(batch["position"].max()) // self.plan.mix.batch_size
            self._begin(min(last + 1, self.plan.num_steps))

    def _violated(self, message: str) -> RecollectError:
        return RecollectError(
            Reason.RATIO_VIOLATED,
            message,
            where=f"step {self.next_step}, rank {self.rank} of {self.world_size}",
            fix="Do not train on it: compare sampler, ranks and rows at a time with the plan.",
        )


def _joined(plan: Plan, shard: Batch, parts: list[Part]) -> TrainBatch:
    """The parts of a step as one batch, counted from what they hold."""
    length = max(part["input_ids"].shape[1] for part in parts)

    def column(name: str, padding: int) -> torch.Tensor:
        fitted = [
            pad(part[name], (0, length - part[name].shape[1]), value=padding) for part in parts
        ]
        return torch.cat(fitted)

    lengths = torch.cat([part["num_tokens"] for part in parts])
    mask = column("labels", IGNORED) != IGNORED
    num_sources = len(plan.sources)
    counts = [
        np.bincount(shard.sources, weights=weights, minlength=num_sources).astype(np.int64)
        for weights in (None, lengths.numpy(), mask.sum(1).numpy())
    ]
    held = holding(plan, shard)
    pieces = lengths.numpy() if held.pieces is None else held.pieces.stops - held.pieces.starts
    return TrainBatch(
        step=shard.step,
        input_ids=column("input_ids", PAD_ID),
        loss_mask=mask,
        lengths=lengths,
        pieces=pieces,
        packed=held.packed,
        sources=torch.cat([part["source"] for part in parts]),
        names=tuple(source.name for source in plan.sources),
        counts_by_source=np.stack(counts),
        digest=held.digest,
    )


def _range(positions: Integers) -> str:
    if not len(positions):
        return "(none)"
    return f"{positions[0]} … {positions[-1]}"
