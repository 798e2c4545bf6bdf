"""Listening: where a service can be reached, and what protects the way to it.

Closed by default. A Unix socket is its owner's alone; TCP has TLS; TCP in the clear has to be asked
for by name.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import grpc

from ..mixer.errors import Reason, RecollectError
from ..v1.connection import MAX_SOCKET_BYTES, host_and_port, is_loopback, socket_path
from .access.certificates import Pair
from .access.register import FOLDER
from .access.tls import ServerCertificates
from .config import Settings

_UNIX = "unix:"
_LISTENING_SECONDS = 1.0


class Way(StrEnum):
    """What protects a connection."""

    SOCKET = "a Unix socket, for its owner alone"
    TLS = "TLS"
    MUTUAL_TLS = "mutual TLS"
    INSECURE = "TCP IN THE CLEAR"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a service is to listen, checked but not yet bound."""

    address: str
    way: Way
    pair: Pair | None = None
    client_ca: Path | None = None


def endpoint_of(settings: Settings) -> Endpoint:
    """Where and how the configuration says to listen.

    Raises:
        RecollectError: CONFIG_INVALID where that is no address, or not protected.
    """
    address = settings.address or f"{_UNIX}{socket_path(settings.data_folder)}"
    if address.startswith(_UNIX):
        return Endpoint(address=_checked_socket(address), way=Way.SOCKET)
    host = _host(address)
    if settings.insecure:
        if not (settings.allow_remote or is_loopback(host)):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "the service would listen beyond this machine without encryption.",
                where=f"address: {address}",
                fix="Leave out insecure and give it a certificate (`recollect access certificate "
                "create`), or set allow_remote: true if the network is trusted as a whole.",
            )
        return Endpoint(address=address, way=Way.INSECURE)
    client_ca = settings.tls.client_ca
    return Endpoint(
        address=address,
        way=Way.TLS if client_ca is None else Way.MUTUAL_TLS,
        pair=_pair(settings, address),
        client_ca=client_ca,
    )


def tls_folder(data_folder: Path) -> Path:
    """Where generated certificates lie."""
    return data_folder / FOLDER / "tls"


def _pair(settings: Settings, address: str) -> Pair:
    given = settings.tls
    if given.certificate is not None and given.key is not None:
        return Pair(certificate=given.certificate, key=given.key)
    if given.certificate is not None or given.key is not None:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "a certificate needs its key, and a key its certificate.",
            where="tls",
            fix="Set both tls.certificate and tls.key, or neither.",
        )
    folder = tls_folder(settings.data_folder)
    pair = Pair(certificate=folder / "server.pem", key=folder / "server.key")
    if not pair.certificate.exists():
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "TCP needs TLS, and there is no certificate.",
            where=f"address: {address}",
            fix="Make one with `recollect access certificate create`, name yours with "
            "tls.certificate and tls.key, or leave out address to listen on a Unix socket.",
        )
    return pair


def _host(address: str) -> str:
    try:
        return host_and_port(address)[0]
    except ValueError:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{address!r:.80} is no address.",
            where="address",
            fix="Write host:port, as in 127.0.0.1:7431 or [::1]:7431, or unix:/path.",
        ) from None


def _checked_socket(address: str) -> str:
    path = Path(address.removeprefix(_UNIX)).absolute()
    num_bytes = len(os.fsencode(path))
    if num_bytes > MAX_SOCKET_BYTES:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the path of the socket has {num_bytes} bytes, and the system allows "
            f"{MAX_SOCKET_BYTES}.",
            where=f"address: {address}",
            fix="Choose a shorter one, as in --set address=unix:/run/user/1000/recollect.sock.",
        )
    return f"{_UNIX}{path}"


@contextmanager
def bound(server: grpc.aio.Server, endpoint: Endpoint) -> Iterator[str]:
    """Makes a server listen, and gives the address with the port that was bound.

    Raises:
        RecollectError: PORT_IN_USE; CONFIG_INVALID for certificates that cannot be used.
    """
    with ExitStack() as stack:
        if endpoint.way is Way.SOCKET:
            path = Path(endpoint.address.removeprefix(_UNIX))
            stack.enter_context(_claimed(path))
            _add(server, endpoint.address, None)
            # The umask kept others out from the start; this also drops the owner's x bit.
            path.chmod(0o600)
            yield endpoint.address
            return
        _require_free(endpoint.address)
        certificates = None
        if endpoint.pair is not None:
            certificates = ServerCertificates(endpoint.pair, client_ca=endpoint.client_ca)
        port = _add(server, endpoint.address, certificates)
        yield f"{endpoint.address.rpartition(':')[0]}:{port}"


def _add(server: grpc.aio.Server, address: str, certificates: ServerCertificates | None) -> int:
    try:
        if certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, certificates.credentials())
    except RuntimeError:
        raise _in_use(address) from None


def _require_free(address: str) -> None:
    """GRPC would report a port in use on standard error in words of its own, so try it first."""
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        raise _in_use(address) from None


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Makes a socket's path ours: one left by a killed server is taken over, no other is.

    gRPC removes whatever socket it finds, also that of a server which is alive. So a lock, which
    dies with its process, says whose the path is.
    """
    try:
        _make_folder(path.parent)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the socket's folder cannot be used: {os.strerror(error.errno or 0)}.",
            where=str(path.parent),
            fix="Choose another with --set address=unix:/path.",
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _answers(path):
            raise BlockingIOError
        path.unlink(missing_ok=True)
        yield
        with suppress(OSError):
            path.unlink(missing_ok=True)
    except BlockingIOError:
        raise _in_use(f"{_UNIX}{path}") from None
    finally:
        os.close(lock)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        # In a folder that all may write to, somebody else could have made this one for us.
        if folder.stat().st_uid not in (os.geteuid(), 0):
            raise PermissionError(1, "not ours")
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _answers(path: Path) -> bool:
    """Whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(_LISTENING_SECONDS)
        try:
            tried.connect(str(path))
        except OSError:
            return False
    return True


def _in_use(address: str) -> RecollectError:
    return RecollectError(
        Reason.PORT_IN_USE,
        "cannot listen there: the address is in use or not ours.",
        where=address,
        fix="Stop the other process, or choose another address with --set address=host:port "
        "(port 0 takes a free one) or unix:/path.",
    )
