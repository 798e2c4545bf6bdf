"""Servers that stand by: who takes over, when, and who does not."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from functools import partial

import grpc
import pytest

from recollect.v1 import store_pb2
from recollect.v1.store_pb2_grpc import StoreServiceStub

from .fleet import Server, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three of one data folder, the first of which serves, while the others are ready to."""
    folder = tmp_path_factory.mktemp("s")
    made = []
    for number in range(3):
        server = Server(folder / "data", f"unix:{folder}/{number}", folder / f"log-{number}")
        made.append(server)
        wait_for("starting", partial(_is_ready, server))
        if not number:
            wait_for("serving", partial(getattr, server, "serves"))
    yield made
    for server in made:
        server.process.kill()


def _is_ready(server: Server) -> bool:
    return server.stands_by or server.serves


def _answers(server: Server) -> bool:
    with grpc.insecure_channel(server.address) as channel:
        try:
            StoreServiceStub(channel).ListSources(store_pb2.ListSourcesRequest(), timeout=10)
        except grpc.RpcError:
            return False
    return True


def test_one_takes_over_at_a_time_however_the_one_before_ended(servers: list[Server]) -> None:
    first, second, third = servers
    assert [_answers(server) for server in servers] == [True, False, False]
    first.kill()
    wait_for("taking over", lambda: second.serves or third.serves)
    active, waiting = (second, third) if second.serves else (third, second)
    assert _answers(active) and not _answers(waiting)
    time.sleep(0.3)
    assert not waiting.serves
    assert active.process.pid is not None
    active.process.terminate()
    wait_for("taking over", lambda: waiting.serves)
    assert _answers(waiting)
    active.process.join(60)
    assert active.process.exitcode == 0


def test_one_that_stands_by_ends_when_it_is_told_to(servers: list[Server]) -> None:
    waiting = servers[1]
    assert waiting.process.pid is not None
    waiting.process.terminate()
    waiting.process.join(60)
    assert waiting.process.exitcode in (0, -signal.SIGTERM)
    assert _answers(servers[0])
