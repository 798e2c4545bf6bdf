"""The replica: a small data folder made of real parts, and a server over it, for several rooms."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from stream.replica import Replica, Server


# No test is a matter of time: a busy machine takes longer, and is not wrong.
settings.register_profile("recollect", deadline=None)
settings.load_profile("recollect")

# The tests of rooms start bare gRPC servers on loopback, which speak no TLS; clients speak nothing
# else over TCP unless they are told to. Tests of access, and of whole services, take this back.
os.environ.setdefault("RECOLLECT_PLAINTEXT", "1")


def load_replica_module() -> Any:
    """The module `replica`, which is no test and therefore not on the path."""
    name = "recollect_test_replica"
    if name not in sys.modules:
        path = Path(__file__).parent / "stream" / "replica.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def replicas() -> Any:
    return load_replica_module()


@pytest.fixture(scope="session")
def replica(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    made: Replica = replicas.make_replica(tmp_path_factory.mktemp("replica") / "data")
    return made


@pytest.fixture(scope="session")
def server(replicas: Any, replica: Replica) -> Iterator[Server]:
    with replicas.Server(replica.folder) as running:
        yield running
