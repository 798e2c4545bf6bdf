"""Frames: the rows of one rank in one step as an Arrow IPC stream, the same bytes every time.

Nothing but the shard and the immutable caches goes into a frame: no clock, no server name, no
validity bitmaps and no padding that is not zero.

Every row is gathered as pieces: ranges of the tokens of examples. Most often it is a single one,
the example itself up to the length of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...mixer.errors import Reason, RecollectError
from ...mixer.holding import Holding
from ...mixer.packing import Pieces
from ...mixer.plan import Batch
from .annotations import Annotations
from .tokens import Int64s, TokenCache, list_array

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Largest frame that is sent: bounds what one stream can hold in memory on either side."""
WHOLE = 1 << 62
"""Where a piece ends that goes on to the end of its row in the cache."""

Part = TypeVar("Part")


def encode_frame(
    shard: Batch,
    caches: Sequence[TokenCache],
    annotations: Sequence[Annotations] | None = None,
    *,
    held: Holding | None = None,
) -> bytes:
    """The frame of a shard; `caches` and `annotations` are in the order of the plan's sources.

    Args:
        shard: the rows.
        caches: their tokens.
        annotations: what the teacher says of them, if that was asked for.
        held: what the rows hold; None where each is a row of a cache.

    Raises:
        DamagedCache: a cache does not match its checksum.
        RecollectError: FRAME_TOO_LARGE.
    """
    pieces = _whole(shard) if held is None or held.pieces is None else held.pieces
    tokens = _in_order(
        shard,
        pieces,
        lambda source, *ranges: list(zip(*caches[source].gather_ranges(*ranges), strict=True)),
    )
    columns = {
        "position": pa.array(shard.positions, type=pa.int64()),
        "source": pa.array(shard.sources.astype(np.int16)),
        "example": pa.array(shard.examples, type=pa.int64()),
        "input_ids": _rows(shard, pieces, [ids for ids, _ in tokens], pa.int32()),
        "loss_mask": _rows(shard, pieces, [mask for _, mask in tokens], pa.bool_()),
    }
    if held is not None and held.packed:
        columns |= _piece_columns(shard, pieces)
    if annotations is not None:
        logprobs = _in_order(
            shard, pieces, lambda source, *ranges: annotations[source].gather_ranges(*ranges)
        )
        columns["teacher_logprobs"] = _rows(shard, pieces, logprobs, pa.float32())
    return _serialise(pa.record_batch(columns), shard.step)


def _whole(shard: Batch) -> Pieces:
    """Rows that are those of the caches."""
    starts = np.zeros_like(shard.examples)
    return Pieces(np.arange(len(shard)), shard.examples, starts, np.full_like(starts, WHOLE))


def _piece_columns(shard: Batch, pieces: Pieces) -> dict[str, pa.Array]:
    """What the rows hold, piece after piece."""
    offsets = np.searchsorted(pieces.rows, np.arange(len(shard) + 1)).astype(np.int32)
    columns = {
        "piece_examples": pa.array(pieces.examples, type=pa.int64()),
        "piece_starts": pa.array(pieces.starts.astype(np.int32)),
        "piece_stops": pa.array(pieces.stops.astype(np.int32)),
    }
    return {
        name: pa.ListArray.from_arrays(pa.array(offsets), values)
        for name, values in columns.items()
    }


def _rows(
    shard: Batch, pieces: Pieces, parts: Sequence[npt.NDArray[np.generic]], values: pa.DataType
) -> pa.ListArray:
    return list_array(parts, values, num_rows=len(shard), row_of=pieces.rows)


def _in_order(
    shard: Batch,
    pieces: Pieces,
    gather: Callable[[int, Int64s, Int64s, Int64s], Sequence[Part]],
) -> list[Part]:
    """Gathers source by source and puts the pieces back into their order."""
    parts: dict[int, Part] = {}
    sources = shard.sources[pieces.rows]
    for source in np.unique(sources).tolist():
        here = np.flatnonzero(sources == source)
        ranges = (pieces.examples[here], pieces.starts[here], pieces.stops[here])
        parts.update(zip(here.tolist(), gather(source, *ranges), strict=True))
    return [parts[place] for place in range(len(sources))]


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
