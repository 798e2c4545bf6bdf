"""A plan as a map-style data set, which Hugging Face Trainer, TRL and Accelerate can resume.

The data set is one column, `row`, that is turned into tensors when rows are asked for. Sample it in
order (`train_sampling_strategy="sequential"`) and keep its columns (`remove_unused_columns=False`).
Whoever asks for rows out of order is refused: a shuffling or striding sampler would throw the plan
away without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..mixer.errors import Reason, RecollectError
from ..mixer.packing import Packing
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from ..v1.connection import Credentials
from .batch import IGNORED, PAD_ID, TrainBatch
from .client import Client, Patience, connect
from .order import Integers, RowOrder, out_of_order
from .rows import RowReader

if TYPE_CHECKING:
    import datasets

WATCHED = ("position", "source", "num_tokens")
"""Columns that a guard needs and takes out again: position and source in the plan, and length."""


def plan_dataset(
    address: str,
    plan_id: str,
    *,
    world_size: int = 1,
    micro_rows: int | None = None,
    watched: bool = False,
    any_order: bool = False,
    patience: Patience | None = None,
    credentials: Credentials | None = None,
) -> datasets.Dataset:
    """The rows of a sealed plan: `input_ids`, `labels`, `position_ids` and `attention_mask`.

    Rows that are packs have no `attention_mask`: without one, and with `use_cache=False`, the
    attention of transformers keeps the pieces of a row apart by their positions. Rows that are
    asked for together are padded to one length, so any collator can stack them.

    Args:
        address: `host:port` or `unix:path` of the service.
        plan_id: the sealed plan.
        world_size: ranks that share each batch. Every one fetches its own rows alone, those that
            the plan deals to it.
        micro_rows: where Trainer or Accelerate hand out the rows: how many a rank takes at once,
            which is `per_device_train_batch_size`. The rows are then in the order that gives every
            rank its own when each takes so many in turn, and a last, shorter batch is left out if
            there are several ranks. None leaves every row at its position, for `PlanBatchSampler`.
        watched: whether to add the columns `position`, `source` and `num_tokens` for a `RowGuard`
            or `TrainerGuard`; a model refuses them, and the guard takes them out.
        any_order: whether rows may be looked at in any order; never for training.
        patience: how long to wait for the service.
        credentials: what to show and whom to trust; those of the environment if left out.

    Raises:
        RecollectError: PACKAGE_MISSING without `datasets`; PLAN_UNKNOWN; SERVER_UNAVAILABLE;
            RANK_INVALID; CONFIG_INVALID when `micro_rows` does not divide what a rank has.
    """
    datasets = import_datasets()
    # A client of its own, so that no channel is open when a DataLoader forks its workers.
    with closing(connect(address, patience=patience, credentials=credentials)) as asked:
        plan = asked.plan(plan_id)
    client = connect(address, patience=patience, credentials=credentials)
    order = RowOrder(plan, world_size, micro_rows)
    rows = PlanRows(client, order, watched=watched, any_order=any_order)
    numbers = np.arange(order.num_rows, dtype=np.int64)
    return datasets.Dataset.from_dict({"row": numbers}).with_transform(rows)


def import_datasets() -> Any:
    """The package `datasets`, which takes a second to import.

    Raises:
        RecollectError: PACKAGE_MISSING.
    """
    try:
        import datasets
    except ImportError as error:
        raise RecollectError(
            Reason.PACKAGE_MISSING,
            "The package `datasets` is missing.",
            fix="Install it with `pip install 'recollect[trainer]'`.",
        ) from error
    return datasets


class PlanRows:
    """Turns row numbers into tensors; may be pickled to DataLoader workers."""

    def __init__(
        self, client: Client, order: RowOrder, *, watched: bool = False, any_order: bool = False
    ) -> None:
        self.client = client
        self.order = order
        self.watched = watched
        self.any_order = any_order
        self._reader = RowReader(client, order)

    @classmethod
    def of(cls, dataset: datasets.Dataset) -> PlanRows:
        """What turns the rows of a `plan_dataset` into tensors.

        Raises:
            RecollectError: CONFIG_INVALID when it is another data set.
        """
        described = getattr(dataset, "format", None) or {}
        rows = described.get("format_kwargs", {}).get("transform")
        if not isinstance(rows, cls):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"A {type(dataset).__name__} without the rows of a plan is no plan_dataset.",
                where="dataset",
                fix="Give what plan_dataset returned, not a copy that was mapped or formatted.",
            )
        return rows

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.order.plan

    def __reduce__(self) -> tuple[Callable[..., PlanRows], tuple[object, ...]]:
        # What is kept of the plan and its steps stays here; the plan is checked again over there.
        order = self.order
        shape = (order.world_size, order.micro_rows, self.watched, self.any_order)
        return _unpickled, (self.client, self.plan.to_json(), *shape)

    def __call__(self, examples: Mapping[str, Sequence[int]]) -> dict[str, list[torch.Tensor]]:
        """The columns of the rows in `examples["row"]`, padded to one length.

        Raises:
            RecollectError: CONFIG_INVALID when they are not consecutive rows of one rank;
                PLAN_OUT_OF_RANGE; and what fetching raises.
        """
        positions = self.order.positions(np.asarray(examples["row"], dtype=np.int64))
        if not self.any_order and not self.order.are_in_turn(positions):
            raise out_of_order(positions)
        if not len(positions):
            return {name: [] for name in self._columns}
        return self._tensors(self._reader.at(positions), positions)

    @property
    def _columns(self) -> tuple[str, ...]:
        packed = self.plan.mix.packing is not Packing.NONE
        return (
            *("input_ids", "labels", "position_ids"),
            *(() if packed else ("attention_mask",)),
            *(WATCHED if self.watched else ()),
        )

    def _tensors(
        self, found: Sequence[tuple[TrainBatch, int]], positions: Integers
    ) -> dict[str, list[torch.Tensor]]:
        length = max(int(batch.lengths[row]) for batch, row in found)
        made: dict[str, Callable[[TrainBatch, int], torch.Tensor]] = {
            "input_ids": lambda batch, row: _fit(batch.input_ids[row].long(), length, PAD_ID),
            "labels": lambda batch, row: _fit(batch.labels[row], length, IGNORED),
            "attention_mask": lambda batch, row: _fit(batch.attention_mask[row], length, 0),
            "position_ids": lambda batch, row: _fit_positions(batch.position_ids[row], length),
            "source": lambda batch, row: batch.sources[row],
            "num_tokens": lambda batch, row: batch.lengths[row],
        }
        columns = {
            name: [made[name](*place) for place in found] for name in self._columns if name in made
        }
        if self.watched:
            columns["position"] = list(torch.from_numpy(positions.copy()))
        return columns


def _unpickled(
    client: Client,
    plan_json: str,
    world_size: int,
    micro_rows: int | None,
    watched: bool,
    any_order: bool,
) -> PlanRows:
    order = RowOrder(client.ready(read_plan(plan_json)), world_size, micro_rows)
    return PlanRows(client, order, watched=watched, any_order=any_order)


def _fit_positions(row: torch.Tensor, length: int) -> torch.Tensor:
    """Positions cut to a length or padded to it: padding is a text of its own."""
    padding = torch.arange(max(0, length - len(row)), dtype=row.dtype)
    return torch.cat([row[:length], padding])


def _fit(row: torch.Tensor, length: int, padding: int) -> torch.Tensor:
    """The row cut or padded on the right to a length; what is cut off is padding."""
    return torch.nn.functional.pad(row[:length], (0, max(0, length - len(row))), value=padding)
