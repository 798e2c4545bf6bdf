"""Streams as they are watched: what was sent, what was waited for, what was acknowledged.

A message costs a handful of counts, a step none: everything is bound to its labels beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NamedTuple

from .metrics import Metrics

STALL_SECONDS = 0.1
"""A wait that is at least so long is a stall."""


class WaitingFor(StrEnum):
    """What a stream waits for."""

    CLIENT = "client"
    GATHER = "gather"


class Gathered(NamedTuple):
    """A message that is ready."""

    message: Any
    num_rows: int
    num_tokens: int
    ready_at: float
    """When it was, by the monotonic clock."""


class StreamMeter:
    """The streams and acknowledgements of one tenant."""

    def __init__(self, metrics: Metrics, watched: StreamWatch, tenant: str) -> None:
        self._watched = watched
        self._roles: dict[str, Any] = {}
        self._metrics = metrics
        self._tenant = metrics.tenant(tenant)
        self.tokens = metrics.stream_tokens.labels(self._tenant)
        self.rows = metrics.stream_rows.labels(self._tenant)
        self.messages = metrics.stream_messages.labels(self._tenant)
        self.gather_seconds = metrics.gather_seconds
        self.ready_seconds = metrics.ready_seconds
        self.stalls = {why: metrics.stalls.labels(why) for why in WaitingFor}
        self._acks = metrics.acks.labels(self._tenant)

    @contextmanager
    def stream(self) -> Iterator[OpenStream]:
        """A stream, from when it is opened until it is closed."""
        stream = OpenStream(self)
        self._watched.streams.add(stream)
        try:
            yield stream
        finally:
            self._watched.streams.discard(stream)

    def acknowledged(self, tokens: Mapping[str, int], unit: str, deviation: float) -> None:
        """Counts an acknowledgement that was recorded.

        Args:
            tokens: how many there are of each role.
            unit: what the mix counts.
            deviation: by how many of them the source that is furthest off its share is off.
        """
        self._acks.inc()
        for role, amount in tokens.items():
            self._metrics.acknowledged_tokens.labels(self._tenant, role).inc(amount)
        self._metrics.run_deviation.labels(self._tenant, unit).set(deviation)


class OpenStream:
    """One stream; belongs to one task."""

    __slots__ = ("_meter", "since", "waiting_for")

    def __init__(self, meter: StreamMeter) -> None:
        self._meter = meter
        self.waiting_for = WaitingFor.GATHER
        self.since = time.monotonic()
        """When it began to wait."""

    def taken(self) -> None:
        """It has a message, and waits until its client has room for it."""
        self._waits_for(WaitingFor.CLIENT)

    def sent(self, gathered: Gathered) -> None:
        """The message is on its way, and it waits for the next one."""
        now = self._waits_for(WaitingFor.GATHER)
        meter = self._meter
        meter.tokens.inc(gathered.num_tokens)
        meter.rows.inc(gathered.num_rows)
        meter.messages.inc()
        meter.ready_seconds.observe(now - gathered.ready_at)

    def _waits_for(self, what: WaitingFor) -> float:
        now = time.monotonic()
        if now - self.since >= STALL_SECONDS:
            self._meter.stalls[self.waiting_for].inc()
        self.waiting_for, self.since = what, now
        return now


class StreamWatch:
    """All streams that are open, as a look at the metrics finds them."""

    def __init__(self, metrics: Metrics) -> None:
        self.streams: set[OpenStream] = set()
        self._metrics = metrics
        metrics.readings.add(
            "recollect_streams_open",
            "Streams that are open, by what they wait for.",
            "waiting_for",
            lambda: self._read(0.0),
        )
        metrics.readings.add(
            "recollect_streams_stalled",
            "Streams that have waited for 0.1 s or more, and still do.",
            "waiting_for",
            lambda: self._read(STALL_SECONDS),
        )

    def of(self, tenant: str) -> StreamMeter:
        """The meter of a tenant's streams."""
        return StreamMeter(self._metrics, self, tenant)

    def _read(self, least_seconds: float) -> Iterator[tuple[str, float]]:
        now = time.monotonic()
        # Named even while there are none: a graph that ends is no graph of zeros.
        yield from ((str(why), 0.0) for why in WaitingFor)
        for stream in self.streams.copy():
            if now - stream.since >= least_seconds:
                yield str(stream.waiting_for), 1.0


def unseen_meter() -> StreamMeter:
    """A meter that nobody reads, for a stream that is served on its own."""
    return StreamWatch(Metrics()).of("default")
