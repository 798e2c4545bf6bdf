"""Frames on the trainer's side: tensors, after comparing what arrived with what the plan says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan
from ..mixer.shards import Shards
from ..v1.envelope import Envelope, Octets
from .batch import IGNORED, PAD_ID, TrainBatch

UNREADABLE = (OSError, KeyError, StopIteration, TypeError, ValueError, pa.lib.ArrowException)
"""What reading a payload raises that is no frame."""

ROWS = (
    ("position", pa.int64()),
    ("source", pa.int16()),
    ("example", pa.int64()),
)
TOKENS = tuple(
    (("input_ids", pa.list_(ids)), ("loss_mask", pa.list_(pa.bool_())))
    for ids in (pa.int32(), pa.uint16())
)
"""Two bytes hold the ids of a tokenizer that has no more than 65,536."""
PIECES = (
    ("piece_examples", pa.list_(pa.int64())),
    ("piece_starts", pa.list_(pa.int32())),
    ("piece_stops", pa.list_(pa.int32())),
)
ANNOTATIONS = (("teacher_logprobs", pa.list_(pa.float32())),)

_NUMPY_TYPES = {
    pa.int64(): np.int64,
    pa.int32(): np.int32,
    pa.int16(): np.int16,
    pa.uint16(): np.uint16,
    pa.float32(): np.float32,
}

Integers = npt.NDArray[np.int64]


def decode(
    frame: Envelope, plan: Plan, held: Shards, *, with_annotations: bool = False
) -> list[TrainBatch]:
    """The batches of a frame, after comparing it with the shards that the plan prescribes.

    Raises:
        RecollectError: BATCH_DIFFERS.
    """
    received = _received(frame.payload, held, with_annotations=with_annotations)
    counts = _counts(received, held, len(plan.sources))
    _check_steps(frame, held, counts)
    names = tuple(source.name for source in plan.sources)
    sizes = np.diff(held.bounds).tolist()
    piece_ends = received.piece_bounds.tolist()
    sources = torch.split(torch.from_numpy(held.rows.sources.copy()), sizes)
    lengths = torch.split(torch.from_numpy(received.lengths), sizes)
    ids = _by_step(received, held, received.input_ids, PAD_ID)
    masks = _by_step(received, held, received.loss_mask, False)
    logprobs: Sequence[torch.Tensor | None] = [None] * held.num_steps
    if received.teacher_logprobs is not None:
        logprobs = _by_step(received, held, received.teacher_logprobs, 0.0)
    return [
        TrainBatch(
            step=held.first_step + place,
            input_ids=ids[place],
            loss_mask=masks[place],
            lengths=lengths[place],
            pieces=received.pieces[piece_ends[place] : piece_ends[place + 1]],
            packed=held.packed,
            sources=sources[place],
            names=names,
            counts_by_source=counts[:, place],
            digest=held.digests[place],
            teacher_logprobs=logprobs[place],
        )
        for place in range(held.num_steps)
    ]


class _Received(NamedTuple):
    """The columns of a frame, flat."""

    offsets: Integers
    """Where the tokens of each row begin, and the last ends."""
    lengths: Integers
    """Tokens of each row."""
    pieces: Integers
    """Tokens of each piece."""
    piece_bounds: Integers
    """Where the pieces of each step begin, and the last ends."""
    input_ids: torch.Tensor
    loss_mask: torch.Tensor
    mask_bits: npt.NDArray[np.uint8]
    """The loss mask, eight tokens to a byte, lowest bit first."""
    teacher_logprobs: torch.Tensor | None


def _received(payload: Octets, held: Shards, *, with_annotations: bool) -> _Received:
    step = held.first_step
    try:
        columns = _columns(payload, packed=held.packed, annotated=with_annotations)
        rows = held.rows
        _compare("positions", _numbers(columns["position"]), rows.positions, step)
        _compare("sources", _numbers(columns["source"]), rows.sources, step)
        _compare("examples", _numbers(columns["example"]), rows.examples, step)
        offsets = _offsets(columns["input_ids"])
        for name in ("loss_mask", *(name for name, _ in ANNOTATIONS if with_annotations)):
            _compare(name, _offsets(columns[name]), offsets, step)
        lengths = np.diff(offsets)
        pieces, piece_bounds = _pieces(columns, offsets, lengths, held)
        bits = _bits(columns["loss_mask"].values)
        mask = np.unpackbits(bits, count=int(offsets[-1]), bitorder="little").view(np.bool_)
        ids = columns["input_ids"].values
        logprobs = columns["teacher_logprobs"].values if with_annotations else None
        tensors = [None if column is None else _tensor(column) for column in (ids, logprobs)]
    except UNREADABLE as error:
        raise _differs("The payload is not a frame", step) from error
    firsts = (np.cumsum(pieces) - pieces)[pieces > 0]
    if mask[firsts].any():
        raise _differs("A token that nothing predicts is to be learnt", step)
    if tensors[1] is not None:
        # Scored by a teacher that had seen more than its piece.
        tensors[1][torch.from_numpy(firsts)] = 0.0
    assert tensors[0] is not None
    return _Received(
        offsets,
        lengths,
        pieces,
        piece_bounds,
        tensors[0],
        torch.from_numpy(mask),
        bits,
        tensors[1],
    )


def _columns(payload: Octets, *, packed: bool, annotated: bool) -> Mapping[str, pa.Array]:
    rows = pa.ipc.open_stream(pa.py_buffer(payload)).read_next_batch()
    rows.validate(full=True)
    more = (*(PIECES if packed else ()), *(ANNOTATIONS if annotated else ()))
    if all(rows.schema != pa.schema((*ROWS, *tokens, *more)) for tokens in TOKENS):
        raise TypeError("another schema")
    columns = {name: rows.column(name) for name in rows.schema.names}
    if any(column.null_count for column in columns.values()):
        raise ValueError("a value is missing")
    return columns


def _offsets(column: pa.ListArray) -> Integers:
    # What is read from a stream has no offset, so its values are those that its offsets mean.
    offsets: Integers = _numbers(column.offsets).astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(column.values) or column.values.null_count:
        raise ValueError("the values are not those of the rows")
    return offsets


def _numbers(values: pa.Array) -> npt.NDArray[Any]:
    """A column over the memory of the frame.

    Not `to_numpy`, which first imports pandas: half a second that the first batch has to wait.
    """
    dtype = np.dtype(_NUMPY_TYPES[values.type])
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return np.zeros(0, dtype=dtype)
    return np.frombuffer(buffer, dtype, len(values), values.offset * dtype.itemsize)


def _tensor(values: pa.Array) -> torch.Tensor:
    """A column as a tensor over the memory of the frame, which nobody else has, if it fits."""
    if values.type == pa.uint16():
        return torch.from_numpy(_numbers(values).astype(np.int32))
    if not len(values):
        return torch.from_numpy(_numbers(values).copy())
    tensor: torch.Tensor = from_dlpack(values)
    return tensor


def _bits(values: pa.BooleanArray) -> npt.NDArray[np.uint8]:
    buffer = values.buffers()[1]
    if buffer is None:
        return np.zeros(0, dtype=np.uint8)
    return np.frombuffer(buffer, dtype=np.uint8, count=-(-len(values) // 8))


def _pieces(
    columns: Mapping[str, pa.Array], offsets: Integers, lengths: Integers, held: Shards
) -> tuple[Integers, Integers]:
    """Tokens of every piece, and where the pieces of each step begin; a row may be one piece."""
    if held.pieces is None:
        return lengths, held.bounds
    rows = np.searchsorted(held.pieces.rows, np.arange(len(held.rows) + 1))
    if held.packed:
        planned = held.pieces[1:]
        for (name, _), expected in zip(PIECES, planned, strict=True):
            _compare("pieces of rows", _offsets(columns[name]), rows, held.first_step)
            _compare("pieces", _numbers(columns[name].values), expected, held.first_step)
    pieces = held.pieces.stops - held.pieces.starts
    ends = np.concatenate(([0], np.cumsum(pieces)))
    _compare("lengths", offsets, ends[rows], held.first_step)
    return pieces, rows[held.bounds]


def _counts(received: _Received, held: Shards, num_sources: int) -> Integers:
    """Rows, tokens and supervised tokens per step and source, as they arrived."""
    step_of = np.repeat(np.arange(held.num_steps), np.diff(held.bounds))
    cells = step_of * num_sources + held.rows.sources
    size = held.num_steps * num_sources
    # Exact: a frame has far fewer than 2**53 tokens.
    sums = [
        np.bincount(cells, minlength=size, weights=weights).astype(np.int64)
        for weights in (None, received.lengths, _supervised(received))
    ]
    return np.stack(sums).reshape(3, held.num_steps, num_sources)


def _supervised(received: _Received) -> Integers:
    """Supervised tokens of each row."""
    length = int(received.lengths[0]) if len(received.lengths) else 0
    if length and not length % 8 and (received.lengths == length).all():
        # Rows of whole octets, as those of a plan whose rows are full are.
        by_row = np.bitwise_count(received.mask_bits).reshape(len(received.lengths), -1)
        full: Integers = by_row.sum(axis=1, dtype=np.int64)
        return full
    before = np.concatenate(([0], np.cumsum(np.bitwise_count(received.mask_bits), dtype=np.int64)))
    octets, rest = np.divmod(received.offsets, 8)
    padded = np.append(received.mask_bits, np.uint8(0))
    partial = np.bitwise_count(padded[octets] & ((1 << rest) - 1).astype(np.uint8))
    counts: Integers = np.diff(before[octets] + partial)
    return counts


def _check_steps(frame: Envelope, held: Shards, counts: Integers) -> None:
    if len(frame.steps) != held.num_steps:
        raise _differs("The steps are not those that were asked for", held.first_step)
    counted = counts.swapaxes(0, 1).tolist()
    for place, (stated, size) in enumerate(
        zip(frame.steps, np.diff(held.bounds).tolist(), strict=True)
    ):
        step = held.first_step + place
        if stated.step != step or stated.num_rows != size:
            raise _differs("The steps are not those that were asked for", step)
        if stated.digest != held.digests[place]:
            raise _differs("The digest is not that of the plan", step)
        rows, tokens, supervised = counted[place]
        if not (
            stated.source_rows == rows
            and stated.source_tokens == tokens
            and stated.source_supervised_tokens == supervised
        ):
            raise _differs("The counts are not those of the rows", step)
    if held.num_supervised_tokens is not None:
        _compare("supervised tokens", counts[2], held.num_supervised_tokens, held.first_step)


def _by_step(
    received: _Received, held: Shards, values: torch.Tensor, padding: float
) -> Sequence[torch.Tensor]:
    """The rows of each step as one tensor, padded on the right; of full rows, without a copy."""
    sizes = np.diff(held.bounds).tolist()
    lengths = received.lengths
    longest = int(lengths.max(initial=0))
    if len(values) == longest * len(lengths):
        return torch.split(values.view(len(lengths), longest), sizes)
    ends = received.offsets[held.bounds].tolist()
    of_steps = np.split(lengths, held.bounds[1:-1])
    return [
        _padded(values[first:last], torch.from_numpy(of_step), padding)
        for (first, last), of_step in zip(pairwise(ends), of_steps, strict=True)
    ]


def _padded(values: torch.Tensor, lengths: torch.Tensor, padding: float) -> torch.Tensor:
    """Rows of these lengths, laid end to end, as one tensor that is padded on the right."""
    length = int(lengths.max()) if len(lengths) else 0
    if len(values) == length * len(lengths):
        return values.view(len(lengths), length)
    padded = torch.full((len(lengths), length), padding, dtype=values.dtype)
    padded[torch.arange(length) < lengths[:, None]] = values
    return padded


def _compare(what: str, received: npt.NDArray[Any], expected: npt.NDArray[Any], step: int) -> None:
    if not np.array_equal(received, expected):
        raise _differs(f"The {what} differ from the plan", step)


def _differs(what: str, step: int) -> RecollectError:
    return RecollectError(
        Reason.BATCH_DIFFERS,
        f"{what}, at step {step}.",
        fix="Do not train on it: check that the service has the data folder that sealed the plan.",
    )


__all__ = ["IGNORED", "PAD_ID", "TrainBatch", "decode"]
