"""The listener: where Prometheus reads the metrics, over HTTP, for nobody but this machine."""

from __future__ import annotations

import os
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from ...mixer.errors import Reason, RecollectError
from ...v1.connection import MAX_SOCKET_BYTES, host_and_port, is_loopback

_UNIX = "unix:"
_PATIENCE_S = 10.0
"""How long somebody may take to ask."""


@contextmanager
def exposed(
    registry: CollectorRegistry, address: str, *, allow_remote: bool = False
) -> Iterator[str]:
    """Answers scrapes in a thread of its own; gives the address with the port that was bound.

    Args:
        registry: what to tell.
        address: host:port, where port 0 picks a free one, or unix:/path.
        allow_remote: whether the host may be another than this machine for itself.

    Raises:
        RecollectError: CONFIG_INVALID, PORT_IN_USE.
    """
    path = address.removeprefix(_UNIX) if address.startswith(_UNIX) else None
    server = _bound(address, path, allow_remote)
    server.set_app(make_wsgi_app(registry))
    thread = Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
    thread.start()
    try:
        yield address if path else f"{address.rpartition(':')[0]}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        if path:
            with suppress(OSError):
                os.unlink(path)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, where: Any) -> None:
        self.address_family = family
        super().__init__(where, _Asked)

    def server_bind(self) -> None:
        # Not that of HTTPServer, which asks the name service what this machine is called.
        socketserver.TCPServer.server_bind(self)
        self.server_name = "recollect"
        is_unix = self.address_family is socket.AF_UNIX
        self.server_port = 0 if is_unix else self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: whoever asked has hung up."""


class _Asked(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def address_string(self) -> str:
        # Over a Unix socket there is no address.
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what is asked for is written by whoever asks."""

    def get_environ(self) -> dict[str, Any]:
        if not self.client_address:
            self.client_address = ("local", 0)
        return super().get_environ()


def _bound(address: str, path: str | None, allow_remote: bool) -> _Server:
    try:
        if path is not None:
            return _bound_socket(Path(path))
        host, port = _host_and_port(address)
        if not (allow_remote or is_loopback(host)):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "anybody who reaches this machine could read the metrics.",
                where=f"metrics.address: {address}",
                fix="Listen on 127.0.0.1 or a Unix socket, or set metrics.allow_remote: true if "
                "the network is trusted as a whole.",
            )
        return _Server(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))
    except OSError as error:
        raise RecollectError(
            Reason.PORT_IN_USE,
            f"the metrics cannot be told there: {os.strerror(error.errno or 0)}.",
            where=f"metrics.address: {address}",
            fix="Choose another address with --set metrics.address=host:port or unix:/path.",
        ) from None


def _bound_socket(path: Path) -> _Server:
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the path of the socket is longer than the {MAX_SOCKET_BYTES} bytes that the system "
            "allows.",
            where="metrics.address",
            fix="Choose a shorter one.",
        )
    if path.is_socket() and not _answers(path):
        # Left by a service that was killed.
        path.unlink()
    server = _Server(socket.AF_UNIX, str(path))
    path.chmod(0o600)
    return server


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(1.0)
        try:
            tried.connect(str(path))
        except OSError:
            return False
    return True


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        return host_and_port(address)
    except ValueError:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{address!r:.80} is no address.",
            where="metrics.address",
            fix="Write host:port, as in 127.0.0.1:9464, or unix:/path.",
        ) from None
