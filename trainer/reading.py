"""One source of a plan as a `datasets.IterableDataset`: streamed, resumable, in bounded memory.

What is read is what a trainer would get: de-identified, rendered with the chat template and cut to
the plan's length. A plan of a single source with `on_exhaustion: stop` holds each of its rows once,
and nothing else is fetched; of a mix, the batches that its rows are in come as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from ..v1.connection import Credentials
from .client import Client, Patience, connect
from .dataset import import_datasets
from .order import RowOrder
from .rows import RowReader

if TYPE_CHECKING:
    import datasets

ROWS_AT_ONCE = 256
"""Rows of a stretch: what is in memory at a time, and what is fetched again at most to resume."""

Stretch: TypeAlias = tuple[int, int]
"""The first ordinal of some rows of the source, and the one after their last."""


def source_dataset(
    address: str,
    plan_id: str,
    source: str | None = None,
    *,
    patience: Patience | None = None,
    credentials: Credentials | None = None,
) -> datasets.IterableDataset:
    """The rows that a plan takes from a source in its first pass, in the order of the plan.

    Columns: `position` in the plan, `input_ids`, `labels` (-100 where nothing is learnt) and
    `num_tokens`. Rows are not padded. `state_dict()` and `load_state_dict()` of the data set resume
    within a stretch of `ROWS_AT_ONCE` rows; workers of a DataLoader share the stretches.

    Args:
        address: `host:port` or `unix:path` of the service.
        plan_id: the sealed plan.
        source: which of its sources; may be left out where there is only one.
        patience: how long to wait for the service.
        credentials: what to show and whom to trust; those of the environment if left out.

    Raises:
        RecollectError: PACKAGE_MISSING without `datasets`; PLAN_UNKNOWN; SOURCE_UNKNOWN;
            SERVER_UNAVAILABLE.
    """
    datasets = import_datasets()
    with closing(connect(address, patience=patience, credentials=credentials)) as asked:
        plan = asked.plan(plan_id)
    index = _index(plan, source)
    num_rows = int(
        min(plan.schedule.served(plan.num_positions)[index], plan.sources[index].num_rows)
    )
    firsts = range(0, num_rows, ROWS_AT_ONCE)
    return datasets.IterableDataset.from_generator(
        _rows,
        features=datasets.Features(
            {
                "position": datasets.Value("int64"),
                "input_ids": datasets.List(datasets.Value("int32")),
                "labels": datasets.List(datasets.Value("int32")),
                "num_tokens": datasets.Value("int64"),
            }
        ),
        gen_kwargs={
            "client": connect(address, patience=patience, credentials=credentials),
            "plan_json": plan.to_json(),
            "index": index,
            "stretches": [(first, min(first + ROWS_AT_ONCE, num_rows)) for first in firsts],
        },
    )


def _index(plan: Plan, source: str | None) -> int:
    names = [item.name for item in plan.sources]
    if source is None and len(names) == 1:
        return 0
    if source not in names:
        raise RecollectError(
            Reason.SOURCE_UNKNOWN,
            f"The plan has the sources {', '.join(names)}.",
            where="source" if source is None else f"source {source!r:.80}",
            fix="Name one of them.",
        )
    return names.index(source)


def _rows(
    client: Client, plan_json: str, index: int, stretches: Sequence[Stretch]
) -> Iterator[dict[str, Any]]:
    plan = client.ready(read_plan(plan_json))
    reader = RowReader(client, RowOrder(plan))
    for first, last in stretches:
        positions = [plan.schedule.position_of(index, ordinal) for ordinal in range(first, last)]
        for _, together in groupby(positions, key=lambda at: at // plan.mix.batch_size):
            of_step = list(together)
            found = reader.at(np.array(of_step, dtype=np.int64))
            for position, (batch, row) in zip(of_step, found, strict=True):
                num_tokens = int(batch.lengths[row])
                yield {
                    "position": position,
                    "input_ids": batch.input_ids[row, :num_tokens].numpy(),
                    "labels": batch.labels[row, :num_tokens].numpy(),
                    "num_tokens": num_tokens,
                }
