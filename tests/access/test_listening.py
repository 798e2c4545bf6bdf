"""Listening: a socket is its owner's alone; TCP is closed unless it is said otherwise."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.client import connect
from recollect.services.config import Settings
from recollect.services.listening import Way, endpoint_of
from recollect.services.server import owner_name
from recollect.v1 import audit_pb2, store_pb2
from recollect.v1.connection import MAX_SOCKET_BYTES, default_address, socket_path

from .conftest import Server, clean_environment, ingest_chats


def refused_start(data: Path, *settings: str) -> str:
    """Why a service does not start."""
    words = [word for one in (f"data_folder={data}", *settings) for word in ("--set", one)]
    result = subprocess.run(
        [sys.executable, "-m", "recollect.services", "serve", "--json", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environment(),
    )
    assert result.returncode and not result.stdout
    return str(json.loads(result.stderr)["error"]["reason"])


@pytest.mark.slow
def test_the_socket_is_its_owners_alone_and_whose_it_is_for_good(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data) as first:
        assert first.told == {
            "address": f"unix:{data}/recollect.sock",
            "way": "socket",
            "data_folder": str(data),
        }
        path = data / "recollect.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        # Another service may not take the path over, whatever its data folder is.
        inode = path.stat().st_ino
        assert refused_start(tmp_path / "other", f"address=unix:{path}") == "PORT_IN_USE"
        assert not (tmp_path / "other").exists()
        assert refused_start(data) == "PORT_IN_USE"
        assert path.stat().st_ino == inode
        with connect(first.address) as client:
            ingest_chats(client, "chats", 8)
        first.kill()
    assert path.exists()
    with Server(data) as second, connect(second.address) as client:
        listed = client.store.ListSources(store_pb2.ListSourcesRequest(), timeout=60)
        assert [source.num_examples for source in listed.sources] == [8]
        entries = client.audit.ListEntries(audit_pb2.ListEntriesRequest(), timeout=60)
        # Nothing of this was done by "the service": the owner of the socket did it.
        assert {entry.actor for entry in entries} == {owner_name()}
    assert not path.exists()


@pytest.mark.slow
def test_a_socket_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen()
        assert refused_start(tmp_path / "data", f"address=unix:{path}") == "PORT_IN_USE"
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))


def test_tcp_without_a_certificate_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecollectError, match="access certificate create") as caught:
        endpoint_of(Settings(data_folder=tmp_path, address="127.0.0.1:0"))
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_a_certificate_opens_tcp_beyond_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "access" / "tls"
    folder.mkdir(parents=True)
    (folder / "server.pem").touch()
    found = endpoint_of(Settings(data_folder=tmp_path, address="0.0.0.0:7431"))
    assert found.way is Way.TLS and found.pair is not None


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    given = {"certificate": tmp_path / "server.pem"}
    with pytest.raises(RecollectError, match="needs its key"):
        endpoint_of(Settings.model_validate({"address": "127.0.0.1:0", "tls": given}))


@pytest.mark.parametrize("length", [MAX_SOCKET_BYTES, MAX_SOCKET_BYTES + 1])
def test_a_path_that_is_too_long_for_a_socket_is_said_so(length: int) -> None:
    address = "unix:" + "/tmp/".ljust(length, "x")
    if length <= MAX_SOCKET_BYTES:
        assert endpoint_of(Settings(address=address)).address == address
        return
    with pytest.raises(RecollectError, match="shorter") as caught:
        endpoint_of(Settings(address=address))
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_both_sides_find_the_socket_of_a_deep_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 25)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("RECOLLECT_DATA_FOLDER", str(deep))
    path = socket_path(deep)
    assert len(str(path)) <= MAX_SOCKET_BYTES and path.parent == Path("/run/user/7/recollect")
    assert default_address() == f"unix:{path}" == endpoint_of(Settings(data_folder=deep)).address
    assert socket_path(tmp_path / ("deep" * 26)) != path
