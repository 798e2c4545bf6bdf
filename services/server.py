"""The server: one endpoint, the gate before it, the tenants' rooms behind it."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ..mixer.errors import Reason, RecollectError
from .access import DEFAULT_TENANT, Authenticator, CredentialRegister, Gate
from .config import Settings
from .core_dumps import refuse_core_dumps
from .listening import Endpoint, Way, bound, endpoint_of
from .observation import observed
from .observing import Watch, tell
from .rooms import SERVICES, Rooms, Shared
from .router import Router
from .standby import turn
from .stream import SERVER_OPTIONS
from .tenants import Tenants
from .threads import finished

SERVICE_NAMES = tuple(service.full_name for service in SERVICES)
"""Full names of the services, as health checks ask for them."""

Ready = Callable[[str, Way], None]


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


def owner_name() -> str:
    """Whose process this is, as the ledger names the owner of the Unix socket."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _add_health(server: grpc.aio.Server) -> Any:
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


async def serve(
    settings: Settings,
    *,
    ready: Ready,
    stop_with_stdin: bool = False,
    standby: Callable[[], None] | None = None,
) -> None:
    """Serves until told to stop, then lets open calls finish.

    Args:
        settings: the effective configuration.
        ready: called once with the address that was bound, and what protects the way to it.
        stop_with_stdin: also stop when standard input ends.
        standby: where given, wait for whoever serves the data folder to end, with everything
            loaded; called when that is so.

    Raises:
        RecollectError: CONFIG_INVALID, PORT_IN_USE, or what opening the data folder raises.
    """
    endpoint = endpoint_of(settings)
    refuse_core_dumps()
    # Whatever is made from here on is for its owner alone.
    os.umask(0o077)
    stop = _stop_event(with_stdin=stop_with_stdin)
    watch = Watch()
    if standby is None:
        await _serve(settings, endpoint, watch, ready, stop)
        return
    shared = await finished(Shared.load, settings, watch)
    standby()
    while True:
        async with turn(settings.data_folder, stop) as is_free:
            if not is_free:
                return
            try:
                await _serve(settings, endpoint, watch, ready, stop, shared)
                return
            except RecollectError as error:
                # Another one, which did not stand by, was quicker.
                if error.reason is not Reason.STORAGE_LOCKED:
                    raise


async def _serve(
    settings: Settings,
    endpoint: Endpoint,
    watch: Watch,
    ready: Ready,
    stop: asyncio.Event,
    loaded: Shared | None = None,
) -> None:
    """Serves until `stop` is set, in this process alone."""
    register = CredentialRegister(settings.data_folder)
    _ = register.generation
    interceptors = [watch.calls, _gate(register, endpoint)]
    server = grpc.aio.server(interceptors=interceptors, options=list(SERVER_OPTIONS))
    with ExitStack() as stack:
        metrics_address = stack.enter_context(observed(settings, watch.metrics))
        address = stack.enter_context(bound(server, endpoint))
        if loaded is None:
            loaded = await finished(Shared.load, settings, watch)

        def told() -> None:
            tell("serving", address=address, way=endpoint.way.name, metrics=metrics_address)
            ready(address, endpoint.way)

        tenants = Tenants(
            settings.data_folder,
            register=register,
            open_rooms=partial(Rooms, shared=loaded),
            most_open=settings.max_open_tenants,
        )
        try:
            await _answer(server, tenants, settings, stop, told)
        finally:
            await tenants.close()


def _gate(register: CredentialRegister, endpoint: Endpoint) -> Gate:
    insecure = endpoint.way is Way.INSECURE
    return Gate(Authenticator(register, owner=owner_name(), insecure=insecure))


async def _answer(
    server: grpc.aio.Server,
    tenants: Tenants,
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serves with the default tenant open, until `stop` is set."""
    async with tenants.rooms(DEFAULT_TENANT):
        server.add_generic_rpc_handlers((Router(tenants),))
        health_servicer = _add_health(server)
        if settings.reflection:
            names = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        await server.start()
        for name in ("", *SERVICE_NAMES):
            await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        ready()
        await stop.wait()
        await health_servicer.enter_graceful_shutdown()
        await server.stop(settings.stream.drain_seconds)
