"""Frames in tests: made of a plan's steps, and read back row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from recollect.mixer.plan import Plan
from recollect.mixer.shards import shards
from recollect.services.stream import TokenCache, encode_frame
from recollect.services.stream.annotations import Annotations
from recollect.services.stream.course import Course
from recollect.services.stream.places import places_of
from recollect.v1 import stream_pb2
from recollect.v1.envelope import Envelope, Octets

Row = dict[str, Any]


def encoded(
    plan: Plan,
    caches: Sequence[TokenCache],
    first_step: int,
    num_steps: int = 1,
    *,
    rank: int = 0,
    world_size: int = 1,
    annotations: Sequence[Annotations] | None = None,
    narrow: bool = False,
) -> stream_pb2.FetchResponse:
    """The frame of some steps of a rank."""
    held = shards(plan, first_step, num_steps, rank=rank, world_size=world_size)
    message = encode_frame(held, places_of(held, caches), caches, annotations, narrow=narrow)
    return stream_pb2.FetchResponse.FromString(message)


def messages_of(made: Course) -> Iterator[stream_pb2.FetchResponse]:
    """What is left of a course."""
    return map(stream_pb2.FetchResponse.FromString, iter(made.advance, None))


def rows_of(payload: Octets) -> list[Row]:
    """The rows of a payload, which is one record batch."""
    [batch] = pa.ipc.open_stream(pa.py_buffer(payload))
    rows: list[Row] = batch.to_pylist()
    return rows


def steps_of(
    *frames: stream_pb2.FetchResponse | Envelope,
) -> Iterator[tuple[stream_pb2.StepFrame, list[Row]]]:
    """Every step of some frames, with its rows."""
    for frame in frames:
        rows = iter(rows_of(frame.payload))
        for step in frame.steps:
            of_step = list(islice(rows, step.num_rows))
            assert len(of_step) == step.num_rows
            yield step, of_step
        assert next(rows, None) is None
