"""The server: one address, one data folder, health, a clean end."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.config import Settings
from recollect.services.demo.processes import service_process
from recollect.services.listening import Way, endpoint_of
from recollect.services.secret import secret_key
from recollect.services.server import SERVICE_NAMES

from .conftest import Service, run_command

pytestmark = pytest.mark.slow


def _serve(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    overrides = (f"data_folder={folder}", *more)
    return run_command("serve", "--json", *(word for one in overrides for word in ("--set", one)))


def _reflected(address: str) -> set[str]:
    """The services that reflection names; an error where it is off."""
    with grpc.insecure_channel(address) as channel:
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = next(iter(reflection.ServerReflectionInfo(iter([request]), timeout=10)))
        return {service.name for service in listed.list_services_response.service}


def test_every_service_is_healthy_and_reflection_is_off(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICE_NAMES):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        _reflected(address)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_every_service_is_reflected_where_that_is_wanted(tmp_path: Path) -> None:
    with Service(tmp_path / "data", more=["reflection=true"]) as service:
        assert set(SERVICE_NAMES) <= _reflected(service.address)


def test_a_port_in_use_is_one_clear_error_and_leaves_the_folder_alone(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = _serve(tmp_path / "data", f"address=127.0.0.1:{port}", "insecure=true")
    assert result.returncode == 73
    assert json.loads(result.stderr)["error"]["reason"] == "PORT_IN_USE"
    assert not (tmp_path / "data").exists()


def test_a_second_service_over_one_folder_is_refused(tmp_path: Path) -> None:
    with service_process(tmp_path, threads=1):
        result = _serve(tmp_path / "data", "address=127.0.0.1:0", "insecure=true")
    assert result.returncode == 75
    assert json.loads(result.stderr)["error"]["reason"] == "STORAGE_LOCKED"


@pytest.mark.parametrize("address", ["7431", "127.0.0.1:", "127.0.0.1:99999", "nothing"])
def test_what_is_no_address_is_said_so(tmp_path: Path, address: str) -> None:
    with pytest.raises(RecollectError) as caught:
        endpoint_of(Settings(address=address))
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert "host:port" in caught.value.fix


@pytest.mark.parametrize("address", ["127.example.com:80", "10.0.0.1:80", "[2001:db8::1]:80"])
def test_only_loopback_is_loopback(address: str) -> None:
    with pytest.raises(RecollectError, match="beyond this machine"):
        endpoint_of(Settings(address=address, insecure=True))
    for loopback in ("127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1"):
        assert endpoint_of(Settings(address=loopback, insecure=True)).way is Way.INSECURE
    assert endpoint_of(Settings(address="unix:/x", insecure=True)).way is Way.SOCKET


def test_a_lost_key_is_not_made_anew_over_data(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "surrogate.key"
    key = secret_key(path, create=True)
    assert secret_key(path, create=False) == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    with pytest.raises(RecollectError) as caught:
        secret_key(path, create=False)
    assert caught.value.reason is Reason.STORAGE_CORRUPT
    assert not path.exists()


@pytest.mark.parametrize(("before", "after"), [("-1", "(1, 1)"), ("0", "(0, 0)")])
def test_the_service_leaves_no_core_file(before: str, after: str) -> None:
    if before == "-1" and resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("these processes may not have core files")
    # A limit of 0 keeps files away, but only 1 keeps programs away to which cores are piped.
    code = (
        "import resource\n"
        "from recollect.services.core_dumps import refuse_core_dumps\n"
        f"resource.setrlimit(resource.RLIMIT_CORE, ({before}, {before}))\n"
        "refuse_core_dumps()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == after


def test_listening_beyond_this_machine_needs_a_decision(tmp_path: Path) -> None:
    result = _serve(tmp_path / "data", "address=0.0.0.0:0", "insecure=true")
    assert result.returncode == 78
    assert "allow_remote" in json.loads(result.stderr)["error"]["fix"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "recollect.services", "serve", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"RECOLLECT_DATA_FOLDER": str(tmp_path / "data")},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"{"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert b"Traceback" not in errors


def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "recollect.services", "serve", "--json", "--stop-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ
        | {"RECOLLECT_DATA_FOLDER": str(tmp_path / "data"), "RECOLLECT_ADDRESS": f"unix:{path}"},
    )
    assert process.stdin is not None and process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        result = run_command("sources", "list", "--server", f"unix:{path}", "--json")
        assert json.loads(result.stdout) == []
        process.stdin.close()
        assert process.wait(timeout=60) == 0
