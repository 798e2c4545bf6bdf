"""A callback for Trainer of transformers and what is built on it, such as TRL's SFTTrainer.

It refuses a sampler that shuffles or strides the plan before the first step, and every batch that
is not the next one of this rank before the model sees it. With a run id it acknowledges every
step, so the ledger says what was trained.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler, SequentialSampler
from transformers import TrainerCallback

from ..mixer.errors import Reason, RecollectError
from ..mixer.packing import Packing
from .dataset import WATCHED, PlanRows
from .model import require_rows
from .rowguard import Mode, RowGuard
from .sampler import PlanBatchSampler

if TYPE_CHECKING:
    import datasets


class TrainerGuard(TrainerCallback):
    """Holds every step of a Trainer against the plan of its data set.

    Give it to the Trainer with `callbacks=[TrainerGuard(dataset)]`; the data set is a
    `plan_dataset(..., watched=True)`.
    """

    def __init__(
        self, dataset: datasets.Dataset, *, mode: Mode = "enforce", run_id: str | None = None
    ) -> None:
        """Reads the plan off the data set.

        Args:
            dataset: what the Trainer trains on.
            mode: `enforce` raises, `observe` logs and counts.
            run_id: a run that the service knows (`Client.start_run`), to acknowledge steps for.

        Raises:
            RecollectError: CONFIG_INVALID when it is no `plan_dataset`, or not watched.
        """
        self._rows = PlanRows.of(dataset)
        if not self._rows.watched:
            raise _invalid("dataset", "The data set is not watched.", "Give watched=True.")
        self._mode = mode
        self._run_id = run_id
        self._hook: Any = None
        self.guard: RowGuard | None = None
        """The guard of this rank, once training has begun."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Looks at settings and sampler, and begins to watch the model at the step to resume at.

        Raises:
            RecollectError: CONFIG_INVALID; MIX_INVALID or MODEL_UNUSABLE when the model cannot take
                the rows of the plan as they are meant.
        """
        plan = self._rows.plan
        self.guard = RowGuard(
            plan,
            args.process_index,
            args.world_size,
            first_step=state.global_step,
            mode=self._mode,
        )
        for require in (
            partial(require_rows, others["model"], plan),
            partial(require_settings, self._rows, args),
            partial(require_in_order, others["train_dataloader"]),
        ):
            try:
                require()
            except RecollectError as error:
                self.guard.refuse(error)
        self._hook = others["model"].register_forward_pre_hook(self._forward, with_kwargs=True)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Refuses to step on less, or more, than the rows of one step.

        Raises:
            RecollectError: RATIO_VIOLATED.
        """
        guard = self._guard
        if guard.is_between_steps and guard.next_step == state.global_step + 1:
            return
        guard.refuse(
            RecollectError(
                Reason.RATIO_VIOLATED,
                f"The optimizer is about to take step {state.global_step} on other rows than those "
                f"of that step: the rows of step {guard.next_step} are being taken.",
                where=f"step {state.global_step}, rank {guard.rank}",
                fix="Do not train on it: compare gradient accumulation with the plan's batch_size.",
            )
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Acknowledges the step, if there is a run."""
        # Where violations are only observed, a step may be none of the plan's.
        if self._run_id is not None and self._guard.next_step == state.global_step:
            self._guard.ack(self._rows.client, self._run_id)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leaves the model alone again."""
        self._hook.remove()

    @property
    def _guard(self) -> RowGuard:
        assert self.guard is not None
        return self.guard

    def _forward(
        self, model: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before the model: counts what it is about to train on, and takes out what it refuses."""
        if model.training:
            columns = (*WATCHED, "input_ids", "labels")
            self._guard.take({name: named[name] for name in columns if name in named})
        kept = {name: value for name, value in named.items() if name not in WATCHED}
        if self._rows.plan.mix.packing is not Packing.NONE:
            # With a cache, transformers does not look for pieces, and they would see one another.
            kept["use_cache"] = False
        return inputs, kept


def require_settings(rows: PlanRows, args: Any) -> None:
    """Refuses training arguments that would not train on the steps of the plan.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    micro_rows, accumulation = args.per_device_train_batch_size, args.gradient_accumulation_steps
    batch_size = rows.plan.mix.batch_size
    if micro_rows * accumulation * args.world_size != batch_size:
        raise _invalid(
            "per_device_train_batch_size, gradient_accumulation_steps",
            f"{micro_rows} rows × {accumulation} accumulation steps × {args.world_size} ranks are "
            f"not the {batch_size} rows of a step of the plan.",
            "Make their product the plan's batch_size.",
        )
    order = rows.order
    fits = order.world_size == args.world_size and order.micro_rows in (None, micro_rows)
    if not fits or (order.micro_rows is None and args.world_size > 1):
        raise _invalid(
            "plan_dataset",
            f"The data set was made for {order.world_size} ranks that take "
            f"{order.micro_rows or 'any number of'} rows at a time.",
            f"Give it world_size={args.world_size}, micro_rows={micro_rows}.",
        )


def require_in_order(loader: Any) -> None:
    """Refuses a data loader whose sampler does not go through the rows in order.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    batches: Any = getattr(loader, "batch_sampler", None)
    # Accelerate wraps the batch sampler in one that hands each rank its batches.
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    sampler = batches.sampler if isinstance(batches, BatchSampler) else batches
    if not isinstance(sampler, SequentialSampler | PlanBatchSampler):
        raise _invalid(
            "sampler",
            f"{type(sampler).__name__} does not keep the order of the plan.",
            "Set train_sampling_strategy='sequential' in the training arguments.",
        )


def _invalid(where: str, message: str, fix: str) -> RecollectError:
    return RecollectError(Reason.CONFIG_INVALID, message, where=where, fix=fix)
