"""A plan as a map-style data set, which Hugging Face Trainer, TRL and Accelerate can resume.

The data set is one column, `position`, that is turned into tensors when rows are asked for. Sample
it in order (`train_sampling_strategy="sequential"`) and keep its columns
(`remove_unused_columns=False`): a shuffling sampler would throw the plan's order away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..mixer.errors import Reason, RecollectError
from ..mixer.packing import Packing
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from .client import Client, Patience, connect
from .loader import IGNORED, PAD_ID, TrainBatch, decode

if TYPE_CHECKING:
    import datasets

STEPS_KEPT = 4
"""Steps that are kept after use: batches of another size than the plan's meet a step twice."""

PADDINGS = {"input_ids": PAD_ID, "labels": IGNORED, "attention_mask": 0}
PACKED_PADDINGS = {"input_ids": PAD_ID, "labels": IGNORED}


def plan_dataset(
    address: str, plan_id: str, *, with_sources: bool = False, patience: Patience | None = None
) -> datasets.Dataset:
    """The rows of a sealed plan: `input_ids`, `labels`, `position_ids` and `attention_mask`.

    Rows that are packs have no `attention_mask`: without one, the attention of transformers keeps
    the pieces of a row apart by their positions.

    Rows that are asked for together are padded to one length, so any collator can stack them.
    `with_sources` adds `source`, the place of its source in the plan; a model of transformers
    refuses it, so take it out of the batch first.

    Raises:
        RecollectError: PACKAGE_MISSING without `datasets`; PLAN_UNKNOWN; SERVER_UNAVAILABLE.
    """
    try:
        import datasets
    except ImportError as error:
        raise RecollectError(
            Reason.PACKAGE_MISSING,
            "The package `datasets` is missing.",
            fix="Install it with `pip install 'recollect[trainer]'`.",
        ) from error
    client = connect(address, patience=patience)
    rows = PlanRows(client, client.plan(plan_id), with_sources=with_sources)
    positions = np.arange(rows.plan.num_positions, dtype=np.int64)
    return datasets.Dataset.from_dict({"position": positions}).with_transform(rows)


class PlanRows:
    """Turns positions into rows; may be pickled to DataLoader workers."""

    def __init__(self, client: Client, plan: Plan, *, with_sources: bool = False) -> None:
        self.client = client
        self.plan = plan
        self.with_sources = with_sources
        self._steps: OrderedDict[int, TrainBatch] = OrderedDict()

    def __reduce__(self) -> tuple[Callable[..., PlanRows], tuple[Client, str, bool]]:
        # What is kept of the plan and its steps stays here; the plan is checked again over there.
        return PlanRows.of_json, (self.client, self.plan.to_json(), self.with_sources)

    @classmethod
    def of_json(cls, client: Client, plan_json: str, with_sources: bool) -> PlanRows:
        """The rows of a plan given as JSON."""
        return cls(client, client.ready(read_plan(plan_json)), with_sources=with_sources)

    def __call__(self, examples: Mapping[str, Sequence[int]]) -> dict[str, list[torch.Tensor]]:
        """The columns of the positions in `examples["position"]`, padded to one length."""
        places = [divmod(int(at), self.plan.mix.batch_size) for at in examples["position"]]
        batches = self._batches({step for step, _ in places})
        length = max(
            (int(batches[step].attention_mask[row].sum()) for step, row in places), default=0
        )
        packed = self.plan.mix.packing is not Packing.NONE
        columns = {
            name: [_fit(getattr(batches[step], name)[row], length, padding) for step, row in places]
            for name, padding in (PACKED_PADDINGS if packed else PADDINGS).items()
        }
        columns["position_ids"] = [
            _fit_positions(batches[step].position_ids[row], length) for step, row in places
        ]
        if self.with_sources:
            columns["source"] = [batches[step].sources[row] for step, row in places]
        return columns

    def _batches(self, steps: set[int]) -> dict[int, TrainBatch]:
        """The batches of these steps; runs of those that are not kept are one stream each."""
        batches = {step: self._steps[step] for step in steps if step in self._steps}
        missing = sorted(steps - batches.keys())
        while missing:
            first = missing[0]
            num_steps = next(
                (n for n in range(1, len(missing)) if missing[n] != first + n), len(missing)
            )
            for frame in self.client.fetch(self.plan.plan_id, first, num_steps):
                shard = self.plan.shard(frame.step, 0, 1)
                batches[frame.step] = decode(frame, self.plan, shard)
            missing = missing[num_steps:]
        for step in sorted(steps):
            self._steps[step] = batches[step]
            self._steps.move_to_end(step)
        while len(self._steps) > STEPS_KEPT:
            self._steps.popitem(last=False)
        return batches


def _fit_positions(row: torch.Tensor, length: int) -> torch.Tensor:
    """Positions cut to a length or padded to it: padding is a text of its own."""
    padding = torch.arange(max(0, length - len(row)), dtype=row.dtype)
    return torch.cat([row[:length], padding])


def _fit(row: torch.Tensor, length: int, padding: int) -> torch.Tensor:
    """The row cut or padded on the right to a length; what is cut off is padding."""
    return torch.nn.functional.pad(row[:length], (0, max(0, length - len(row))), value=padding)
