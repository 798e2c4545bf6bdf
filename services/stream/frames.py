"""Frames: the rows of one rank in some steps as an Arrow IPC stream, the same bytes every time.

Nothing but the shards and the immutable caches goes into a frame: no clock, no server name, no
validity bitmaps and no padding that is not zero.

Every row is gathered as pieces: ranges of the tokens of examples. Most often it is a single one,
the example itself up to the length of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...mixer.errors import Reason, RecollectError
from ...mixer.shards import Shards
from ...v1 import stream_pb2
from ...v1.envelope import enclosed
from .annotations import Annotations
from .gathering import Bytes
from .places import Places
from .tokens import TokenCache

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Largest frame that is sent: bounds what one stream can hold in memory on either side."""
MOST_SCRATCH_TOKENS = 1 << 19
"""Tokens for which a thread keeps memory: those of an ordinary frame, and two MiB."""

TokenIds = npt.NDArray[Any]

_OF_THREAD = local()


def encode_frame(
    held: Shards,
    places: Places,
    caches: Sequence[TokenCache],
    annotations: Sequence[Annotations] | None = None,
    *,
    narrow: bool = False,
) -> bytes:
    """The encoded FetchResponse of some steps.

    Args:
        held: the rows.
        places: where they lie.
        caches: their tokens, in the order of the plan's sources.
        annotations: what the teacher says of them, if that is to be sent, in the same order.
        narrow: whether every token id fits two bytes, and is sent as such.

    Raises:
        RecollectError: FRAME_TOO_LARGE.
    """
    ids_type: type[np.int32] | type[np.uint16] = np.uint16 if narrow else np.int32
    batch = _record_batch(held, places, caches, annotations, ids_type)
    return enclosed(step_frames(held, places), _serialised(batch, held))


def step_frames(held: Shards, places: Places) -> list[stream_pb2.StepFrame]:
    """What the frame of some steps says of each, without its rows."""
    columns = (held.num_rows, places.num_tokens, places.num_supervised_tokens)
    sizes = np.diff(held.bounds).tolist()
    return [
        stream_pb2.StepFrame(
            step=held.first_step + place,
            num_rows=size,
            digest=digest,
            source_rows=rows,
            source_tokens=tokens,
            source_supervised_tokens=supervised,
        )
        for place, (size, digest, rows, tokens, supervised) in enumerate(
            zip(sizes, held.digests, *(column.tolist() for column in columns), strict=True)
        )
    ]


def _record_batch(
    held: Shards,
    places: Places,
    caches: Sequence[TokenCache],
    annotations: Sequence[Annotations] | None,
    ids_type: type[np.int32] | type[np.uint16],
) -> pa.RecordBatch:
    """The rows, in memory that the next frame of this thread takes again."""
    num_tokens = int(places.ends[-1])
    ids, mask = _scratch(num_tokens, ids_type)
    for cache, numbers, ranges in zip(caches, places.numbers, places.ranges, strict=True):
        if len(numbers):
            cache.copy(ranges, places.ends[numbers], ids, mask)
    pieces = places.pieces
    first_pieces = np.searchsorted(pieces.rows, np.arange(len(held.rows) + 1))
    offsets = places.ends[first_pieces]
    bits = pa.Array.from_buffers(pa.bool_(), num_tokens, [None, pa.py_buffer(mask)])
    columns = {
        "position": _values(held.rows.positions),
        "source": _values(held.rows.sources.astype(np.int16)),
        "example": _values(held.rows.examples),
        "input_ids": _list(offsets, _values(ids)),
        "loss_mask": _list(offsets, bits),
    }
    if held.packed:
        columns |= {
            "piece_examples": _list(first_pieces, _values(pieces.examples)),
            "piece_starts": _list(first_pieces, _values(pieces.starts.astype(np.int32))),
            "piece_stops": _list(first_pieces, _values(pieces.stops.astype(np.int32))),
        }
    if annotations is not None:
        columns["teacher_logprobs"] = _list(offsets, _values(_annotated(places, annotations)))
    return pa.record_batch(columns)


def _scratch(num_tokens: int, ids_type: type[np.int32] | type[np.uint16]) -> tuple[TokenIds, Bytes]:
    """Memory of this thread for token ids and for a loss mask, which is zero.

    What is new from the system has to be cleared by it first, page by page, which takes as long as
    the copying itself.
    """
    num_octets = -(-num_tokens // 8)
    if num_tokens > MOST_SCRATCH_TOKENS:
        return np.empty(num_tokens, dtype=ids_type), np.zeros(num_octets, dtype=np.uint8)
    if not hasattr(_OF_THREAD, "ids"):
        _OF_THREAD.ids = np.empty(MOST_SCRATCH_TOKENS, dtype=np.int32)
        _OF_THREAD.mask = np.empty(MOST_SCRATCH_TOKENS // 8, dtype=np.uint8)
    mask: Bytes = _OF_THREAD.mask[:num_octets]
    mask[:] = 0
    return _OF_THREAD.ids.view(ids_type)[:num_tokens], mask


def _annotated(places: Places, annotations: Sequence[Annotations]) -> npt.NDArray[np.float32]:
    values = np.empty(int(places.ends[-1]), dtype=np.float32)
    for source, numbers in zip(annotations, places.numbers, strict=True):
        ranges = (column[numbers] for column in places.pieces[1:])
        for number, part in zip(numbers.tolist(), source.gather_ranges(*ranges), strict=True):
            values[places.ends[number] : places.ends[number + 1]] = part
    return values


def _values(array: npt.NDArray[Any]) -> pa.Array:
    """A column over the memory of an array."""
    array = np.ascontiguousarray(array)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(array.dtype), len(array), [None, pa.py_buffer(array)]
    )


def _list(offsets: npt.NDArray[Any], values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(_values(offsets.astype(np.int32)), values)


def _serialised(batch: pa.RecordBatch, held: Shards) -> memoryview:
    """A record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload = memoryview(sink.getvalue())
    if len(payload) > MAX_FRAME_BYTES:
        raise RecollectError(
            Reason.FRAME_TOO_LARGE,
            f"Step {held.first_step} needs {len(payload)} bytes; one message holds at most "
            f"{MAX_FRAME_BYTES}.",
            where="batch_size",
            fix="Use a smaller batch_size or max_length, or more ranks.",
        )
    return payload
