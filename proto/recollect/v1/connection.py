"""How a client reaches a service: addresses, credentials, channels, and why a connection fails.

Both clients, the command line's and the trainer's, go through here. A token is sent over a Unix
socket or TLS; in the clear over TCP only where `plaintext` says so. Unlike the stubs beside it,
this module is written by hand.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc

SOCKET_NAME = "recollect.sock"
DEFAULT_DATA_FOLDER = "recollect-data"
MAX_SOCKET_BYTES = 107
"""Longest path of a Unix socket in Linux: `sun_path` has 108 bytes with its closing zero."""
AUTHORIZATION = "authorization"
"""The metadata key that carries a bearer token."""
_ADDRESS = re.compile(r"unix:.+|(\[[0-9a-fA-F:]+\]|[^:/\s]+):\d{1,5}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_PROBE_SECONDS = 2.0
_TRUE = ("1", "true", "yes", "on")

Continuation = TypeVar("Continuation", bound=Callable[..., Any])


class Unreachable(Exception):
    """Why a service cannot be reached or asked; both clients make their own error of it."""

    def __init__(self, reason: str, message: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = {"message": message, "where": where, "fix": fix}


def is_address(address: str) -> bool:
    """Whether it is `host:port` or `unix:path`."""
    return _ADDRESS.fullmatch(address) is not None


ADDRESS_ADVICE = (
    "Write host:port, such as 127.0.0.1:7431, or unix:/path/of/socket; several with commas between "
    "them."
)


def addresses_of(given: str) -> tuple[str, ...]:
    """The addresses that are named with commas between them; ValueError where one is none."""
    addresses = tuple(dict.fromkeys(part.strip() for part in given.split(",")))
    for address in addresses:
        if not is_address(address):
            raise ValueError(f"{address!r:.80} is not an address.")
    return addresses


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of `host:port` or `[ipv6]:port`; ValueError where it is neither."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r:.80} is not host:port")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def socket_path(data_folder: Path) -> Path:
    """Where the service over a data folder listens unless it is told otherwise.

    In the folder itself; where that path is too long for a socket, in the user's runtime folder
    under a name that depends on the data folder, so that both sides find it.
    """
    path = data_folder.resolve() / SOCKET_NAME
    if len(os.fsencode(path)) <= MAX_SOCKET_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return _runtime_folder() / f"{name}.sock"


def _runtime_folder() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "recollect" if given else Path(f"/tmp/recollect-{os.getuid()}")


def default_address() -> str:
    """The socket of the service over RECOLLECT_DATA_FOLDER, or over ./recollect-data."""
    folder = os.environ.get("RECOLLECT_DATA_FOLDER") or DEFAULT_DATA_FOLDER
    return f"unix:{socket_path(Path(folder))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What a client shows to a service, and whom it trusts. Files are read when they are used."""

    token: str | None = field(default=None, repr=False)
    """A bearer token; better kept in a file."""
    token_file: Path | None = None
    """File that holds the token; read for every call, so that it may be replaced."""
    ca: Path | None = None
    """Certificates (PEM) of those who may sign the server's; the system's if left out."""
    certificate: Path | None = None
    """The client's own certificate (PEM), for mutual TLS."""
    key: Path | None = None
    """Key of that certificate."""
    plaintext: bool = False
    """Speak TCP without TLS, token included. Only for a network that is trusted as a whole."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Credentials:
        """RECOLLECT_TOKEN, _TOKEN_FILE, _CA, _CERTIFICATE, _KEY and _PLAINTEXT."""

        def path(name: str) -> Path | None:
            value = environment.get(f"RECOLLECT_{name}")
            return Path(value) if value else None

        return cls(
            token=environment.get("RECOLLECT_TOKEN") or None,
            token_file=path("TOKEN_FILE"),
            ca=path("CA"),
            certificate=path("CERTIFICATE"),
            key=path("KEY"),
            plaintext=environment.get("RECOLLECT_PLAINTEXT", "").lower() in _TRUE,
        )

    @property
    def has_token(self) -> bool:
        """Whether calls carry a token."""
        return self.token is not None or self.token_file is not None

    def authorization(self) -> str:
        """The value of the metadata key `authorization`.

        Raises:
            Unreachable: the file cannot be read, or what it holds cannot be a token.
        """
        token = self.token
        if token is None and self.token_file is not None:
            token = _read(self.token_file).decode("ascii", "replace").strip()
        if token is None or _TOKEN.fullmatch(token) is None:
            raise Unreachable(
                "CONFIG_INVALID",
                "what is given as a token cannot be one.",
                where=str(self.token_file or "token"),
                fix="Give the one line that `recollect access token create` printed.",
            )
        return f"Bearer {token}"

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes when a certificate file is replaced; a channel opened before then is stale."""
        return tuple(map(_stamp, (self.ca, self.certificate, self.key)))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreachable(
            "CONFIG_INVALID",
            f"the file cannot be read: {os.strerror(error.errno or 0)}.",
            where=str(path),
            fix="Check the path and its permissions.",
        ) from None


def open_channel(
    address: str, credentials: Credentials, *, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """A channel to a service; it connects when it is first used.

    Raises:
        Unreachable: CONFIG_INVALID where a file cannot be read, or the CA holds no certificate.
    """
    if address.startswith("unix:") or credentials.plaintext:
        channel = grpc.insecure_channel(address, options=options)
    else:
        channel = grpc.secure_channel(address, _tls(credentials), options=options)
    if credentials.has_token:
        channel = grpc.intercept_channel(channel, _Bearer(credentials))
    return channel


def _tls(credentials: Credentials) -> grpc.ChannelCredentials:
    if (credentials.certificate is None) != (credentials.key is None):
        raise Unreachable(
            "CONFIG_INVALID",
            "a client certificate needs its key, and a key its certificate.",
            where="certificate, key",
            fix="Give both or neither.",
        )
    files = (credentials.ca, credentials.key, credentials.certificate)
    ca, key, certificate = (None if path is None else _read(path) for path in files)
    if ca is not None and not _holds_certificate(ca):
        raise Unreachable(
            "CONFIG_INVALID",
            "the file holds no certificate that can be read.",
            where=str(credentials.ca),
            fix="Name the CA's certificate (PEM) with --ca (RECOLLECT_CA), such as the ca.pem that "
            "lies beside the service's keys.",
        )
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _holds_certificate(pem: bytes) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return False
    return True


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]  # no generics at run time
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Adds the token to every call."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        token = (AUTHORIZATION, self._credentials.authorization())
        signed = _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), token),
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
        return continuation(signed, request)

    intercept_unary_unary = _intercept  # type: ignore[assignment]  # one for all four kinds
    intercept_unary_stream = _intercept  # type: ignore[assignment]
    intercept_stream_unary = _intercept  # type: ignore[assignment]
    intercept_stream_stream = _intercept  # type: ignore[assignment]


def why_unreachable(address: str, credentials: Credentials) -> Unreachable | None:
    """Looks at a service that a channel cannot reach; what is wrong, if it is not just away.

    gRPC tells a refused certificate, a missing one and a server that does not speak TLS at all as
    one and the same UNAVAILABLE. A handshake of our own tells them apart.
    """
    if address.startswith("unix:"):
        return _closed_socket(Path(address.removeprefix("unix:")))
    try:
        host, port = host_and_port(address)
        with socket.create_connection((host, port), timeout=_PROBE_SECONDS) as connection:
            if credentials.plaintext:
                return _plaintext_problem(connection, address)
            return _tls_problem(connection, host, address, credentials)
    except (OSError, ValueError):
        return None


def _closed_socket(path: Path) -> Unreachable | None:
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(_PROBE_SECONDS)
        try:
            tried.connect(str(path))
        except PermissionError:
            return Unreachable(
                "SERVER_UNAVAILABLE",
                "the socket is for the owner of the service alone.",
                where=f"unix:{path}",
                fix="Ask as that user, or let the service listen on TCP with TLS.",
            )
        except OSError:
            return None
    return None


def _plaintext_problem(connection: socket.socket, address: str) -> Unreachable | None:
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with context.wrap_socket(connection):
            speaks_tls = True
    except ssl.SSLError as error:
        speaks_tls = "ALERT" in (error.reason or "")
    if not speaks_tls:
        return None
    return Unreachable(
        "TLS_MISMATCH",
        "the service speaks TLS, and this client was told not to.",
        where=address,
        fix="Leave out --plaintext (RECOLLECT_PLAINTEXT), and name the CA with --ca.",
    )


def _tls_problem(
    connection: socket.socket, host: str, address: str, credentials: Credentials
) -> Unreachable | None:
    context = _context(credentials.ca)
    if credentials.certificate is not None:
        context.load_cert_chain(credentials.certificate, credentials.key)
    try:
        with context.wrap_socket(connection, server_hostname=host) as tls:
            if _is_hung_up(tls):
                return _refused_client(address)
    except ssl.SSLCertVerificationError as error:
        return Unreachable(
            "CERTIFICATE_REFUSED",
            f"the certificate of the service is not to be trusted: {error.verify_message}.",
            where=address,
            fix="Name the CA that signed it with --ca (RECOLLECT_CA), and the host by a name "
            "that the certificate holds.",
        )
    except ssl.SSLError as error:
        return _tls_refusal(error.reason or "", address)
    return None


def _is_hung_up(tls: ssl.SSLSocket) -> bool:
    """Whether the server ends a connection right after its handshake.

    In TLS 1.3 it looks at the client's certificate only after the client is done. One that speaks
    HTTP/2 speaks first, so either its settings come now or its refusal: an alert, or nothing more.
    """
    try:
        return tls.recv(1) == b""
    except (ConnectionError, ssl.SSLEOFError):
        return True


def _refused_client(address: str) -> Unreachable:
    return Unreachable(
        "CERTIFICATE_REFUSED",
        "the service refuses the client's certificate, or wants one.",
        where=address,
        fix="Name one that its CA has signed, with --certificate and --key.",
    )


def _tls_refusal(reason: str, address: str) -> Unreachable | None:
    if "ALERT" in reason:
        return _refused_client(address)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return Unreachable(
            "TLS_MISMATCH",
            "the service does not speak TLS.",
            where=address,
            fix="Give it a certificate: `recollect access certificate create`. Only where the "
            "network is trusted as a whole, ask in the clear: --plaintext (RECOLLECT_PLAINTEXT=1).",
        )
    return None


def _context(ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    return context
