"""TLS of the server: certificate files that are read again when they were replaced.

A handshake takes what lies on the disk at that moment; connections that are open keep what they
have. Files that do not fit together (one was replaced, the other not yet) change nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock

import grpc

from ...mixer.errors import RecollectError
from ..durable import storage
from .certificates import Pair, parse_certificate, require_pair

_log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class ServerCertificates:
    """The files that the server proves itself with, and those it trusts."""

    def __init__(self, pair: Pair, *, client_ca: Path | None = None) -> None:
        """Reads the files.

        Args:
            pair: the server's certificate, with those that lead to its CA, and its key.
            client_ca: certificates of those who may sign clients'; if given, every client has to
                show one. (The Python API of gRPC cannot ask for one without insisting on it.)

        Raises:
            RecollectError: CONFIG_INVALID, STORAGE_FAILED.
        """
        self.pair = pair
        self.client_ca = client_ca
        self.num_rotations = 0
        self._lock = Lock()
        self._stamp = self._stamp_now()
        self._configuration = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for a port; they ask again at every handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            self._newer,  # type: ignore[arg-type]  # None: no change
            require_client_authentication=self.client_ca is not None,
        )

    def _newer(self) -> grpc.ServerCertificateConfiguration | None:
        """What to use from now on, or None to go on as before; called by threads of gRPC."""
        with self._lock:
            try:
                stamp = self._stamp_now()
                if stamp == self._stamp:
                    return None
                configuration = self._read()
            except RecollectError as error:
                # Half of a rotation, or a file that went: what was good stays good.
                _log.warning("certificate not replaced: %s", error.reason.name)
                return None
            self._stamp = stamp
            self._configuration = configuration
            self.num_rotations += 1
            return configuration

    def _read(self) -> grpc.ServerCertificateConfiguration:
        certificate, key = (_content(path) for path in (self.pair.certificate, self.pair.key))
        require_pair(certificate, key, self.pair)
        roots = None
        if self.client_ca is not None:
            roots = _content(self.client_ca)
            parse_certificate(roots, self.client_ca)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], roots)

    def _stamp_now(self) -> Stamp:
        paths = (self.pair.certificate, self.pair.key, self.client_ca)
        return tuple(_stamp(path) for path in paths if path is not None)


def _content(path: Path) -> bytes:
    with storage(path):
        return path.read_bytes()


def _stamp(path: Path) -> tuple[int, int, int]:
    with storage(path):
        found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size
