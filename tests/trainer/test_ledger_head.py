"""A trainer that goes on with a service whose ledger was put back finds it out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import Ledger
from recollect.trainer import ReplayLoader
from recollect.trainer.client import LedgerHead

if TYPE_CHECKING:
    from stream.replica import Replica, Server

BASE = "b" * 64


@pytest.fixture
def replica(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    """A data folder that nobody else serves."""
    made: Replica = replicas.make_replica(tmp_path_factory.mktemp("heads") / "data")
    return made


@pytest.fixture
def server(replicas: Any, replica: Replica) -> Iterator[Server]:
    with replicas.Server(replica.folder) as running:
        yield running


def loader_of(server: Server, replica: Replica) -> ReplayLoader:
    return ReplayLoader(server.address, replica.plan.plan_id)


def test_the_state_holds_the_head_of_the_ledger_in_little_room(
    server: Server, replica: Replica
) -> None:
    with loader_of(server, replica) as loader:
        loader.client.start_run("heads", replica.plan.plan_id, base_digest=BASE)
        batch = next(iter(loader))
        loader.ack("heads", batch)
        state = loader.state_dict()
        again = loader_of(server, replica)
        again.load_state_dict(json.loads(json.dumps(state)))
        assert again.ledger_head == loader.ledger_head
        again.close()
    assert len(json.dumps(state)) <= 512
    entries = list(Ledger.read(replica.folder))
    assert state["ledger_length"] == len(entries)
    assert state["ledger_head"] == entries[-1].digest


def test_a_ledger_that_was_put_back_is_found_out(server: Server, replica: Replica) -> None:
    with loader_of(server, replica) as loader:
        client, plan_id = loader.client, replica.plan.plan_id
        client.start_run("back", plan_id, base_digest=BASE)
        loader.ack("back", next(iter(loader)))
        known = loader.ledger_head
        assert client.start_run("back", plan_id, base_digest=BASE, ledger_head=known) == 1
        longer = LedgerHead(known.length + 5, known.digest)
        other = LedgerHead(known.length, bytes(32))
        for unknown in (longer, other, LedgerHead(-3, b"")):
            with pytest.raises(RecollectError) as caught:
                client.start_run("back", plan_id, base_digest=BASE, ledger_head=unknown)
            assert caught.value.reason is Reason.RUN_CONFLICT
