"""The listener of the metrics: closed by default, and gone when the service is."""

from __future__ import annotations

import http.client
import socket
import stat
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.config import Settings
from recollect.services.observing import exposed

from .conftest import scrape, value


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("recollect_answer", "For tests.", registry=made).set(42)
    return made


def test_nothing_listens_unless_it_is_asked_for() -> None:
    assert Settings().metrics.address is None


def test_a_port_on_loopback_tells_the_metrics_until_it_is_closed(
    registry: CollectorRegistry,
) -> None:
    with exposed(registry, "127.0.0.1:0") as address:
        assert value(scrape(address), "recollect_answer") == 42
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("POST", "/metrics", b"x")
        assert connection.getresponse().status == 405
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        scrape(address)


def test_a_socket_is_its_owners_alone_and_is_removed(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "metrics"
    with exposed(registry, f"unix:{path}") as address:
        assert value(scrape(address), "recollect_answer") == 42
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_socket_that_a_killed_service_left_is_taken_over_and_no_other(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "metrics"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with exposed(registry, f"unix:{path}") as address:
        with pytest.raises(RecollectError) as caught, exposed(registry, f"unix:{path}"):
            pass
        assert caught.value.reason is Reason.PORT_IN_USE
        assert value(scrape(address), "recollect_answer") == 42


def test_a_port_in_use_is_one_clear_error(registry: CollectorRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RecollectError) as caught, exposed(registry, address):
            pass
    assert caught.value.reason is Reason.PORT_IN_USE
    assert "metrics.address" in caught.value.fix


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:9464", "example.org:9464"])
def test_beyond_this_machine_has_to_be_asked_for(registry: CollectorRegistry, address: str) -> None:
    with pytest.raises(RecollectError) as caught, exposed(registry, address):
        pass
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert "allow_remote" in caught.value.fix


def test_beyond_this_machine_is_possible(registry: CollectorRegistry) -> None:
    with exposed(registry, "0.0.0.0:0", allow_remote=True) as address:
        port = address.rpartition(":")[2]
        assert value(scrape(f"127.0.0.1:{port}"), "recollect_answer") == 42


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:", "unix:/" + "x" * 200])
def test_what_is_no_address_is_said_so(registry: CollectorRegistry, address: str) -> None:
    with pytest.raises(RecollectError) as caught, exposed(registry, address):
        pass
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_who_connects_and_says_nothing_keeps_nobody_waiting(registry: CollectorRegistry) -> None:
    with exposed(registry, "127.0.0.1:0") as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))):
            assert value(scrape(address), "recollect_answer") == 42
