"""Stalled streams beside healthy ones: what they cost the others, and the server's memory."""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from recollect.trainer.client import CHANNEL_OPTIONS
from recollect.v1 import stream_pb2
from recollect.v1.stream_pb2_grpc import StreamServiceStub

from .fleet import own_environment, started, wait_for

DEADLINE_SECONDS = 600.0
STREAMS_PER_CHANNEL = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Healthy:
    """Streams that take a message at a steady pace."""

    num_streams: int = 20
    num_messages: int = 60
    """Of each stream."""
    pause_seconds: float = 0.2
    """Between two messages of a stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stalled:
    """What was found."""

    p99_alone: list[float]
    """Seconds that a healthy stream waited for a message, by round."""
    p99_beside: list[float]
    megabytes_per_stream: float
    """That the server's memory grew by."""

    @property
    def ratio(self) -> float:
        """Of the medians of both."""
        return statistics.median(self.p99_beside) / statistics.median(self.p99_alone)


def measure(
    address: str,
    plan_id: str,
    process_id: int,
    folder: Path,
    *,
    num_stalled: int,
    rounds: int,
    healthy: Healthy,
) -> Stalled:
    """Healthy streams alone and beside stalled ones, in turn; each side in a process of its own."""
    alone, beside, grown = [], [], []
    waits(address, plan_id, folder, healthy)  # the first finds nothing in any cache
    for _ in range(rounds):
        alone.append(waits(address, plan_id, folder, healthy))
        before = resident_bytes(process_id)
        with stalled(address, plan_id, folder, num_stalled):
            # Until what it makes for them is made, the server is busy as with any new stream.
            wait_until_idle(process_id)
            grown.append((resident_bytes(process_id) - before) / num_stalled / 1e6)
            beside.append(waits(address, plan_id, folder, healthy))
            grown.append((resident_bytes(process_id) - before) / num_stalled / 1e6)
    return Stalled(p99_alone=alone, p99_beside=beside, megabytes_per_stream=max(grown))


def resident_bytes(process_id: int) -> int:
    """Memory of a process that is its own: pages of mapped files are the kernel's to take back."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


def wait_until_idle(process_id: int, seconds: float = 1.0) -> None:
    """Waits until a process has hardly used a processor for a while."""

    def is_idle() -> bool:
        before = _processor_seconds(process_id)
        time.sleep(seconds)
        return _processor_seconds(process_id) - before < seconds / 20

    wait_for("idling", is_idle)


def _processor_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waits(address: str, plan_id: str, folder: Path, healthy: Healthy) -> float:
    """The wait, in seconds, that 99 of 100 messages of healthy streams stay below."""
    path = folder / "waits.json"
    process = started(_healthy, address, plan_id, healthy, str(path))
    process.join()
    assert process.exitcode == 0
    found: list[float] = json.loads(path.read_text(encoding="utf-8"))
    return statistics.quantiles(found, n=100)[98]


@contextmanager
def stalled(address: str, plan_id: str, folder: Path, number: int) -> Iterator[None]:
    """So many streams that have taken one message each and take no more."""
    path = folder / "stalled"
    path.unlink(missing_ok=True)
    process = started(_stall, address, plan_id, number, str(path))
    try:
        wait_for("stalling", path.exists)
        yield
        assert process.exitcode is None
    finally:
        process.kill()
        process.join()


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=list(CHANNEL_OPTIONS))


def _fetch(channel: grpc.Channel, plan_id: str, first_step: int) -> Any:
    request = stream_pb2.FetchRequest(
        plan_id=plan_id, first_step=first_step, num_steps=100_000, world_size=1
    )
    return StreamServiceStub(channel).Fetch(request, timeout=DEADLINE_SECONDS)


def _stall(address: str, plan_id: str, number: int, path: str) -> None:
    own_environment()
    channels = [_channel(address) for _ in range(-(-number // STREAMS_PER_CHANNEL))]
    calls = [_fetch(channels[n % len(channels)], plan_id, 17 * n) for n in range(number)]
    for call in calls:
        next(call)
    Path(path).touch()
    time.sleep(DEADLINE_SECONDS)
    sys.exit(1)


def _healthy(address: str, plan_id: str, healthy: Healthy, path: str) -> None:
    own_environment()
    found: list[float] = []
    failed: list[BaseException] = []

    def follow(number: int) -> None:
        try:
            with _channel(address) as channel:
                call = _fetch(channel, plan_id, 1000 * number)
                # Spread over the pause, as ranks are that do not step in time.
                time.sleep(healthy.pause_seconds * number / healthy.num_streams)
                for _ in range(healthy.num_messages):
                    time.sleep(healthy.pause_seconds)
                    began = time.perf_counter()
                    next(call)
                    found.append(time.perf_counter() - began)
                call.cancel()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=follow, args=(n,)) for n in range(healthy.num_streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Path(path).write_text(json.dumps(found), encoding="utf-8")
    os._exit(1 if failed else 0)
