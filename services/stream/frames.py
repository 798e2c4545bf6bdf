"""Frames: the rows of one rank in one step as an Arrow IPC stream, the same bytes every time.

Nothing but the shard and the immutable caches goes into a frame: no clock, no server name, no
validity bitmaps and no padding that is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...mixer.errors import Reason, RecollectError
from ...mixer.plan import Batch
from .annotations import Annotations
from .tokens import TokenCache, list_array

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Largest frame that is sent: bounds what one stream can hold in memory on either side."""

Row = TypeVar("Row")


def encode_frame(
    shard: Batch,
    caches: Sequence[TokenCache],
    annotations: Sequence[Annotations] | None = None,
) -> bytes:
    """The frame of a shard; `caches` and `annotations` are in the order of the plan's sources.

    Raises:
        DamagedCache: a cache does not match its checksum.
        RecollectError: FRAME_TOO_LARGE.
    """
    gathered = [cache.gather for cache in caches]
    tokens = _in_order(shard, lambda source, rows: list(zip(*gathered[source](rows), strict=True)))
    columns = {
        "position": pa.array(shard.positions, type=pa.int64()),
        "source": pa.array(shard.sources.astype(np.int16)),
        "example": pa.array(shard.examples, type=pa.int64()),
        "input_ids": list_array([ids for ids, _ in tokens], pa.int32()),
        "loss_mask": list_array([mask for _, mask in tokens], pa.bool_()),
    }
    if annotations is not None:
        rows = _in_order(shard, lambda source, examples: annotations[source].gather(examples))
        columns["teacher_logprobs"] = list_array(rows, pa.float32())
    return _serialise(pa.record_batch(columns), shard.step)


def _in_order(
    shard: Batch, gather: Callable[[int, npt.NDArray[np.int64]], Sequence[Row]]
) -> list[Row]:
    """Gathers source by source and puts the rows back into the order of the shard."""
    rows: dict[int, Row] = {}
    for source in np.unique(shard.sources).tolist():
        places = np.flatnonzero(shard.sources == source)
        rows.update(zip(places.tolist(), gather(source, shard.examples[places]), strict=True))
    return [rows[place] for place in range(len(shard.sources))]


def _serialise(batch: pa.RecordBatch, step: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    frame: bytes = sink.getvalue().to_pybytes()
    if len(frame) > MAX_FRAME_BYTES:
        raise RecollectError(
            Reason.FRAME_TOO_LARGE,
            f"Step {step} needs {len(frame)} bytes; one message holds at most {MAX_FRAME_BYTES}.",
            where="batch_size",
            fix="Use a smaller batch_size or max_length, or more ranks.",
        )
    return frame
