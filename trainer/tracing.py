"""Traces of a trainer: each stream is a span, and so is each acknowledgement of what it brought.

They are there if OpenTelemetry is installed and the program collects spans. An acknowledgement
belongs to the trace of the stream that brought its step, so that one trace goes from the fetch,
over the gathering on the other side, to the entry in the ledger.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..v1 import stream_pb2
from ..v1.tracing import Side, Span, begin

if TYPE_CHECKING:
    from opentelemetry.context import Context

MOST_STREAMS = 16
"""Streams that are remembered: two are open at a time, one that ends and the next."""


class _Stream(NamedTuple):
    steps: range
    rank: int
    world_size: int
    context: Context


class Journeys:
    """The streams that brought batches lately."""

    def __init__(self) -> None:
        self._streams: deque[_Stream] = deque(maxlen=MOST_STREAMS)

    def fetch(self, request: stream_pb2.FetchRequest) -> Span:
        """Begins the span of a stream."""
        steps = range(request.first_step, request.first_step + request.num_steps)
        attributes: dict[str, int | str] = {
            "recollect.plan_id": request.plan_id,
            "recollect.first_step": request.first_step,
            "recollect.num_steps": request.num_steps,
            "recollect.rank": request.rank,
        }
        span = begin("recollect.fetch", Side.CLIENT, attributes=attributes)
        if span.context is not None:
            self._streams.append(_Stream(steps, request.rank, request.world_size, span.context))
        return span

    def ack(self, request: stream_pb2.AckRequest) -> Span:
        """Begins the span of an acknowledgement."""
        attributes: dict[str, int | str] = {
            "recollect.run_id": request.run_id,
            "recollect.step": request.step,
            "recollect.rank": request.rank,
        }
        return begin(
            "recollect.ack", Side.CLIENT, parent=self._brought(request), attributes=attributes
        )

    def _brought(self, request: stream_pb2.AckRequest) -> Context | None:
        """What brought the step of an acknowledgement: the latest of the streams that have it."""
        asked = (request.rank, request.world_size)
        for stream in reversed(tuple(self._streams)):
            if request.step in stream.steps and (stream.rank, stream.world_size) == asked:
                return stream.context
        return None
