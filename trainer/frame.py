"""Frames on the trainer's side: tensors, after comparing what arrived with what the plan says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from ..mixer.errors import Reason, RecollectError
from ..mixer.holding import Holding, holding
from ..mixer.packing import cu_seqlens, position_ids
from ..mixer.plan import Batch, Plan
from ..v1 import stream_pb2
from .tally import SourceTally

PAD_ID = 0
IGNORED = -100
"""Label of a token that is not learnt: what `torch.nn.functional.cross_entropy` ignores."""

UNREADABLE = (OSError, KeyError, StopIteration, TypeError, ValueError, pa.lib.ArrowException)
"""What reading a payload raises that is no frame."""

ROWS = (
    ("position", pa.int64()),
    ("source", pa.int16()),
    ("example", pa.int64()),
    ("input_ids", pa.list_(pa.int32())),
    ("loss_mask", pa.list_(pa.bool_())),
)
PIECES = (
    ("piece_examples", pa.list_(pa.int64())),
    ("piece_starts", pa.list_(pa.int32())),
    ("piece_stops", pa.list_(pa.int32())),
)
ANNOTATIONS = (("teacher_logprobs", pa.list_(pa.float32())),)

Integers = npt.NDArray[np.int64]
Offsets = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainBatch:
    """The rows of one rank in one step."""

    step: int
    input_ids: torch.Tensor
    """int64[rows, length], padded on the right with PAD_ID."""
    labels: torch.Tensor
    """int64[rows, length], IGNORED where nothing is learnt; not shifted, since models do that.
    Where rows are packs, also at the first token of a piece, which nothing before it predicts."""
    attention_mask: torch.Tensor
    """int64[rows, length], 1 on tokens, 0 on padding."""
    position_ids: torch.Tensor
    """int64[rows, length], from 0 in every piece of a row, and again in its padding."""
    cu_seqlens: torch.Tensor
    """int32[pieces + 1], where the pieces begin and the last ends, in the tokens of all rows laid
    end to end without padding; of rows that are no packs, every one is a piece."""
    packed: bool
    """Whether a row may hold several pieces. Attention must not cross from one to another: give the
    model `position_ids` and no `attention_mask`, or what it takes for varying lengths."""
    sources: torch.Tensor
    """int64[rows], places of the sources in the plan."""
    digest: bytes
    """SHA-256 of the restore keys, as checked against the plan."""
    tallies: Mapping[str, SourceTally]
    """What there is of each source, as counted in what arrived, in the order of the plan."""
    teacher_logprobs: torch.Tensor | None = None
    """float32[rows, length], 0 on padding, if asked for."""

    @property
    def num_rows(self) -> int:
        """Rows of this rank."""
        return self.input_ids.shape[0]

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each source."""
        return {source: tally.num_rows for source, tally in self.tallies.items()}


def decode(
    frame: stream_pb2.FetchResponse, plan: Plan, shard: Batch, *, with_annotations: bool = False
) -> TrainBatch:
    """The tensors of a frame, after comparing it with the shard that the plan prescribes.

    Raises:
        RecollectError: BATCH_DIFFERS.
    """
    held = holding(plan, shard)
    try:
        received = _columns(frame.payload, packed=held.packed, annotated=with_annotations)
        _compare("positions", received["position"].to_numpy(), shard.positions, shard.step)
        _compare("sources", received["source"].to_numpy(), shard.sources, shard.step)
        _compare("examples", received["example"].to_numpy(), shard.examples, shard.step)
        offsets, ids = _flat(received["input_ids"])
        mask_offsets, mask = _flat(received["loss_mask"])
        _compare("mask", mask_offsets, offsets, shard.step)
        lengths = _lengths_of_pieces(received, offsets, held, shard)
    except UNREADABLE as error:
        raise _differs("The payload is not a frame", shard.step) from error
    if frame.digest != held.digest:
        raise _differs("The digest is not that of the plan", shard.step)
    tallies = _tallies(plan, shard, offsets, mask)
    _check_tallies(frame, tallies, held, shard.step)
    bounds = cu_seqlens(lengths)
    # What nothing precedes nothing predicts; in a row of its own the model's shift sees to that.
    firsts = bounds[:-1][lengths > 0] if held.packed else _NO_FIRSTS
    labels = _labels(ids, mask)
    labels[firsts] = IGNORED
    return TrainBatch(
        step=shard.step,
        input_ids=_pad(offsets, ids.astype(np.int64), PAD_ID),
        labels=_pad(offsets, labels, IGNORED),
        attention_mask=_pad(offsets, np.ones(len(ids), dtype=np.int64), 0),
        position_ids=_position_ids(offsets, lengths),
        cu_seqlens=torch.from_numpy(bounds),
        packed=held.packed,
        sources=torch.from_numpy(shard.sources.copy()),
        digest=frame.digest,
        tallies=tallies,
        teacher_logprobs=_annotations(
            received.get("teacher_logprobs"), offsets, firsts, shard.step
        ),
    )


def _columns(payload: bytes, *, packed: bool, annotated: bool) -> dict[str, pa.Array]:
    rows = pa.ipc.open_stream(payload).read_next_batch()
    rows.validate(full=True)
    fields = (*ROWS, *(PIECES if packed else ()), *(ANNOTATIONS if annotated else ()))
    if rows.schema != pa.schema(fields):
        raise TypeError("another schema")
    return {name: rows.column(name) for name in rows.schema.names}


def _lengths_of_pieces(
    received: Mapping[str, pa.Array], offsets: Offsets, held: Holding, shard: Batch
) -> Integers:
    """Tokens of every piece; a row that is no pack is one piece."""
    lengths = np.diff(offsets).astype(np.int64)
    if held.pieces is None:
        return lengths
    rows = np.searchsorted(held.pieces.rows, np.arange(len(shard) + 1))
    if held.packed:
        planned = (held.pieces.examples, held.pieces.starts, held.pieces.stops)
        for (name, _), expected in zip(PIECES, planned, strict=True):
            piece_offsets, values = _flat(received[name])
            _compare("pieces of rows", piece_offsets, rows, shard.step)
            _compare("pieces", values, expected, shard.step)
    pieces = held.pieces.stops - held.pieces.starts
    ends = np.concatenate(([0], np.cumsum(pieces)))
    _compare("lengths", offsets, ends[rows], shard.step)
    return pieces


def _tallies(
    plan: Plan, shard: Batch, offsets: Offsets, mask: npt.NDArray[Any]
) -> dict[str, SourceTally]:
    num_sources = len(plan.sources)
    of_token = np.repeat(shard.sources, np.diff(offsets))
    counts = (
        np.bincount(shard.sources, minlength=num_sources),
        np.bincount(of_token, minlength=num_sources),
        np.bincount(of_token[mask], minlength=num_sources),
    )
    return {
        source.name: SourceTally(num_rows=rows, num_tokens=tokens, num_supervised_tokens=supervised)
        for source, rows, tokens, supervised in zip(
            plan.sources, *(column.tolist() for column in counts), strict=True
        )
    }


def _check_tallies(
    frame: stream_pb2.FetchResponse, tallies: Mapping[str, SourceTally], held: Holding, step: int
) -> None:
    stated = {
        item.source: SourceTally(
            num_rows=item.num_rows,
            num_tokens=item.num_tokens,
            num_supervised_tokens=item.num_supervised_tokens,
        )
        for item in frame.counts
    }
    if list(stated.items()) != list(tallies.items()):
        raise _differs("The counts are not those of the rows", step)
    if held.num_supervised_tokens is not None:
        counted = [tally.num_supervised_tokens for tally in tallies.values()]
        _compare("supervised tokens", np.array(counted), held.num_supervised_tokens, step)


def _annotations(
    column: pa.ListArray | None, offsets: Offsets, firsts: Offsets, step: int
) -> torch.Tensor | None:
    if column is None:
        return None
    annotated, values = _flat(column)
    _compare("annotations", annotated, offsets, step)
    values = values.copy()
    values[firsts] = 0
    return _pad(offsets, values, 0)


def _flat(column: pa.ListArray) -> tuple[Offsets, npt.NDArray[Any]]:
    # What is read from a stream has no offset, so its values are those that its offsets mean.
    return column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)


def _labels(ids: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Integers:
    # Arithmetic, because it is several times as fast here as choosing by `np.where`.
    labels: Integers = (ids.astype(np.int64) - IGNORED) * mask + IGNORED
    return labels


def _position_ids(offsets: Offsets, lengths: Integers) -> torch.Tensor:
    """Positions that begin at 0 with every piece, and again with the padding of a row.

    To the attention of transformers, a position that does not follow the one before begins another
    text, and so padding is a text of its own.
    """
    padded = _pad(offsets, position_ids(lengths), 0)
    beyond = torch.arange(padded.shape[1]) - torch.from_numpy(np.diff(offsets))[:, None]
    return torch.where(beyond >= 0, beyond, padded)


def _pad(offsets: Offsets, values: npt.NDArray[np.generic], padding: float) -> torch.Tensor:
    """The rows of a flat column as one tensor, padded on the right."""
    lengths = np.diff(offsets)
    length = int(lengths.max(initial=0))
    if len(values) == length * len(lengths):
        return torch.from_numpy(np.array(values).reshape(len(lengths), length))
    padded = np.full((len(lengths), length), padding, dtype=values.dtype)
    for row, (start, stop) in enumerate(pairwise(offsets.tolist())):
        padded[row, : stop - start] = values[start:stop]
    return torch.from_numpy(padded)


def _compare(
    what: str, received: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], step: int
) -> None:
    if not np.array_equal(received, expected):
        raise _differs(f"The {what} differ from the plan", step)


def _differs(what: str, step: int) -> RecollectError:
    return RecollectError(
        Reason.BATCH_DIFFERS,
        f"{what}, at step {step}.",
        fix="Do not train on it: check that the service has the data folder that sealed the plan.",
    )


_NO_FIRSTS = np.empty(0, dtype=np.int32)
