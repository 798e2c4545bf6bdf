"""The server: every room opened over one data folder and served over gRPC."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ..mixer.errors import Reason, RecollectError
from ..v1 import audit_pb2, mix_pb2, store_pb2, stream_pb2, teacher_pb2
from ..v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from ..v1.mix_pb2_grpc import add_MixServiceServicer_to_server
from ..v1.store_pb2_grpc import add_StoreServiceServicer_to_server
from ..v1.stream_pb2_grpc import add_StreamServiceServicer_to_server
from ..v1.teacher_pb2_grpc import add_TeacherServiceServicer_to_server
from .audit_service import AuditServicer
from .config import Settings
from .core_dumps import refuse_core_dumps
from .ledger import Ledger
from .mix_service import MixServicer
from .planbook import PlanBook
from .privacy import Deidentifier
from .ratio_policy import read_ratio_policy
from .replay import ReplayStore
from .replay.catalog import Catalog
from .secret import secret_key
from .store_service import StoreServicer
from .stream import (
    SERVER_OPTIONS,
    AnnotationShelf,
    AnnotationWriter,
    ChatTemplate,
    StreamServicer,
    TokenCaches,
)
from .teacher.frozen import FrozenTeacher
from .teacher.rehearsal import Rehearsing
from .teacher.service import TeacherServicer

_FILES = (store_pb2, mix_pb2, stream_pb2, teacher_pb2, audit_pb2)
SERVICE_NAMES = tuple(
    service.full_name for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
"""Full names of the services, as health checks ask for them."""


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{address!r} is no address.",
            where="address",
            fix="Write host:port, as in 127.0.0.1:7431 or [::1]:7431, or unix:/path.",
        )
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_address(settings: Settings) -> None:
    if settings.address.startswith("unix:") or settings.allow_remote:
        return
    host, _ = _host_and_port(settings.address)
    if _is_loopback(host):
        return
    raise RecollectError(
        Reason.CONFIG_INVALID,
        "the service would listen beyond this machine, without encryption or authentication.",
        where=f"address: {settings.address}",
        fix="Listen on 127.0.0.1 or unix:/path behind a proxy that authenticates, "
        "or set allow_remote: true if the network is trusted.",
    )


def _bind(server: grpc.aio.Server, address: str) -> str:
    """Listens, and returns the address with the port that was bound."""
    try:
        # gRPC would report a port in use on standard error in words of its own, so try it first.
        if not address.startswith("unix:"):
            host, wanted = _host_and_port(address)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, wanted), family=family).close()
        port = server.add_insecure_port(address)
    except (OSError, RuntimeError):
        raise RecollectError(
            Reason.PORT_IN_USE,
            "cannot listen there: the address is in use or not ours.",
            where=address,
            fix="Stop the other process, or choose another address with --set address=host:port "
            "(port 0 takes a free one).",
        ) from None
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


class Service:
    """All rooms over one data folder, ready to be added to a gRPC server."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        """Opens the data folder.

        Args:
            settings: the effective configuration.
            stack: closes what is opened here, in reverse order.

        Raises:
            RecollectError: CONFIG_INVALID, POLICY_INVALID, STORAGE_LOCKED, LEDGER_CORRUPT,
                STORAGE_CORRUPT, MODEL_UNUSABLE, or TEACHER_CHANGED.
        """
        import torch

        torch.set_num_threads(settings.teacher.threads)
        folder = settings.data_folder
        policy_file = settings.ratio_policy
        self.policy = None if policy_file is None else read_ratio_policy(policy_file)
        _make_folder(folder)
        self.settings = settings
        self.ledger = Ledger.open(folder / "ledger")
        stack.callback(self.ledger.close)
        self.store = ReplayStore.open(folder, self.ledger)
        # With another key, surrogates of the same value would no longer be the same.
        is_new = not self.store.snapshot().segments
        key = secret_key(folder / "keys" / "surrogate.key", create=is_new)
        self.deidentifier = Deidentifier(settings.privacy, key)
        self.deidentifier.prove()
        self.teacher = FrozenTeacher.load(
            settings.teacher.folder, pinned_digest=settings.teacher.digest
        )
        template = ChatTemplate.load(settings.teacher.folder)
        self._token_folder = folder / "cache" / "tokens"
        self.caches = TokenCaches(self._token_folder, store=self.store, template=template)
        self.planbook = PlanBook(self.ledger, ready=self.caches.ready)
        self._shelf = AnnotationShelf(self._token_folder, teacher_digest=self.teacher.digest)
        self._stack = stack

    def _open_sink(self, tokens: Any, teacher_digest: str) -> AnnotationWriter:
        self._shelf.forget(tokens)
        return AnnotationWriter(self._token_folder, tokens, teacher_digest)

    def add_to(self, server: grpc.aio.Server) -> Any:
        """Adds every service, health checking and reflection."""
        add_StoreServiceServicer_to_server(
            StoreServicer(
                store=self.store,
                deidentifier=self.deidentifier,
                near_duplicate_threshold=self.settings.store.near_duplicate_threshold,
            ),
            server,
        )
        add_MixServiceServicer_to_server(
            MixServicer(
                store=self.store,
                caches=self.caches,
                planbook=self.planbook,
                max_length=self.teacher.max_length,
                policy=self.policy,
            ),
            server,
        )
        stream = StreamServicer(self.planbook, self.caches, self.ledger, annotations=self._shelf)
        self._stack.callback(stream.close)
        add_StreamServiceServicer_to_server(stream, server)
        add_TeacherServiceServicer_to_server(
            TeacherServicer(
                teacher=self.teacher,
                deidentifier=self.deidentifier,
                store=self.store,
                ledger=self.ledger,
                plans=self.planbook,
                caches=self.caches,
                open_sink=self._open_sink,
                rehearsing=Rehearsing(temperature=self.settings.teacher.temperature),
            ),
            server,
        )
        add_AuditServiceServicer_to_server(
            AuditServicer(
                ledger=self.ledger,
                planbook=self.planbook,
                store=self.store,
                catalog=Catalog(self.store),
                deidentifier=self.deidentifier,
            ),
            server,
        )
        health_servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        reflection.enable_server_reflection(
            (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        return health_servicer


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the data folder cannot be made: {error.strerror}.",
            where=f"data_folder: {folder}",
            fix="Choose a folder that you may write to with --set data_folder=PATH.",
        ) from None


def _stop_event(*, with_stdin: bool) -> asyncio.Event:
    """Set at SIGTERM or SIGINT, or, if asked to, when standard input ends."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_stdin:
        # A parent that was killed cannot signal; the end of the pipe that it held can.
        descriptor = sys.stdin.fileno()
        os.set_blocking(descriptor, False)

        def drain() -> None:
            if not os.read(descriptor, 4096):
                loop.remove_reader(descriptor)
                stop.set()

        loop.add_reader(descriptor, drain)
    return stop


async def serve(
    settings: Settings, *, ready: Callable[[str], None], stop_with_stdin: bool = False
) -> None:
    """Serves until told to stop, then lets open calls finish.

    Args:
        settings: the effective configuration.
        ready: called once with the address that was bound.
        stop_with_stdin: also stop when standard input ends.

    Raises:
        RecollectError: CONFIG_INVALID, PORT_IN_USE, or what opening the data folder raises.
    """
    _check_address(settings)
    refuse_core_dumps()
    # Whatever is made from here on is for its owner alone.
    os.umask(0o077)
    stop = _stop_event(with_stdin=stop_with_stdin)
    server = grpc.aio.server(options=list(SERVER_OPTIONS))
    address = _bind(server, settings.address)
    with ExitStack() as stack:
        service = await asyncio.to_thread(Service, settings, stack)
        health_servicer = service.add_to(server)
        await server.start()
        for name in ("", *SERVICE_NAMES):
            await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        ready(address)
        await stop.wait()
        await health_servicer.enter_graceful_shutdown()
        await server.stop(settings.stream.drain_seconds)
