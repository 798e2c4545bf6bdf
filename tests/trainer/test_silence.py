"""Connections that neither answer nor break: what is not heard of is asked for over another."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from recollect.trainer.client import Patience
from recollect.trainer.loader import ReplayLoader

if TYPE_CHECKING:
    from stream.replica import Replica, Server

IMPATIENT = Patience(deadline_s=20.0, outage_s=20.0, silence_s=0.5)
HUNG_UP = socket.SHUT_RDWR


class Hole:
    """Forwards to a service; its first connections pass on only so many bytes, and then nothing."""

    def __init__(self, address: str, passes: list[int]) -> None:
        host, _, port = address.rpartition(":")
        self._behind = (host, int(port))
        self._passes = passes
        self.num_connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Hangs up on everybody."""
        for held in (self._listener, *self._open):
            held.close()

    def _listen(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            number, self.num_connections = self.num_connections, self.num_connections + 1
            there = socket.create_connection(self._behind)
            self._open += [here, there]
            left = self._passes[number] if number < len(self._passes) else 1 << 40
            Thread(target=self._pass_on, args=(here, there, 1 << 40), daemon=True).start()
            Thread(target=self._pass_on, args=(there, here, left), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, left: int) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data[:left])
                left = max(0, left - len(data))
            sink.shutdown(HUNG_UP)
        except OSError:
            return


@pytest.fixture(scope="module")
def small(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of small messages, over the data of the replica."""
    made = replicas.make_replica(tmp_path_factory.mktemp("silence") / "data")
    with replicas.Server(made.folder, message_bytes=8_000) as running:
        yield running


@pytest.fixture
def hole(small: Server) -> Iterator[Hole]:
    made = Hole(small.address, passes=[])
    yield made
    made.close()


@pytest.mark.parametrize("passes", [[9_000], [20_000, 0, 9_000], [30_000, 12_000]])
def test_a_stream_that_falls_silent_goes_on_over_another_connection(
    hole: Hole, replica: Replica, passes: list[int]
) -> None:
    plan = replica.plan
    hole._passes += passes
    with ReplayLoader(hole.address, plan.plan_id, patience=IMPATIENT) as loader:
        digests = [batch.digest for batch in loader]
    assert digests == [plan.shard(step, 0, 1).digest for step in range(plan.num_steps)]
    assert hole.num_connections > len(passes)


def test_a_call_that_falls_silent_is_made_over_another_connection(
    hole: Hole, replica: Replica
) -> None:
    # Enough for the greetings of both sides, and for no answer.
    hole._passes += [100]
    with ReplayLoader(hole.address, replica.plan.plan_id, patience=IMPATIENT) as loader:
        assert loader.plan.plan_id == replica.plan.plan_id
    assert hole.num_connections > 1


def test_a_reader_that_takes_its_time_is_not_silence(hole: Hole, replica: Replica) -> None:
    patience = Patience(deadline_s=20.0, silence_s=0.2)
    plan_id = replica.plan.plan_id
    with ReplayLoader(hole.address, plan_id, prefetch=1, patience=patience) as loader:
        steps = iter(loader)
        next(steps)
        time.sleep(1.0)
        assert [batch.step for batch in steps] == list(range(1, loader.plan.num_steps))
    assert hole.num_connections == 1
