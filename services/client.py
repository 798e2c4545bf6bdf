"""The command line's side of the wire: channels, deadlines, and errors as they were raised."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import grpc

from ..mixer.errors import DOMAIN, Reason, RecollectError
from ..v1.audit_pb2_grpc import AuditServiceStub
from ..v1.connection import (
    ADDRESS_ADVICE,
    Credentials,
    Unreachable,
    addresses_of,
    open_channel,
    why_unreachable,
)
from ..v1.deid_pb2_grpc import DeidServiceStub
from ..v1.failure import error_info
from ..v1.mix_pb2_grpc import MixServiceStub
from ..v1.store_pb2_grpc import StoreServiceStub
from ..v1.teacher_pb2_grpc import TeacherServiceStub

_LAST_LOOK_SECONDS = 0.01
"""How long gRPC's thread may be on its way to look at a channel that nobody watches any more."""
CONNECT_SECONDS = 10.0
"""How long to wait for a service that does not answer."""
CALL_SECONDS = 120.0
"""Deadline of a short call."""
JOB_SECONDS = 24 * 3600.0
"""Deadline of a call that streams its progress."""
_MAX_MESSAGE_BYTES = 16 << 20
_Seen: TypeAlias = tuple[str, grpc.ChannelConnectivity]
"""An address, and the state of the channel to it."""
_ADVICE = {
    Reason.SERVER_UNAVAILABLE.name: "See whether it still runs, then run the command again: "
    "it is safe to repeat.",
}


def error_from(error: grpc.RpcError) -> RecollectError:
    """The error that the service raised, or what the transport says where it raised none."""
    info = error_info(error, domain=DOMAIN, advice=_ADVICE)
    return RecollectError.from_metadata(info.reason, info.metadata)


class ServiceClient:
    """Stubs of all services over one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.store = StoreServiceStub(channel)
        self.mix = MixServiceStub(channel)
        self.teacher = TeacherServiceStub(channel)
        self.audit = AuditServiceStub(channel)
        self.deid = DeidServiceStub(channel)


@contextmanager
def connect(address: str, credentials: Credentials | None = None) -> Iterator[ServiceClient]:
    """A client of the service at an address; errors come back as they were raised.

    Args:
        address: host:port or unix:/path; several, with commas between them, where it may move.
        credentials: what to show and whom to trust; those of the environment if left out.

    Raises:
        RecollectError: CONFIG_INVALID where an address is none, SERVER_UNAVAILABLE if nothing
            listens there, TLS_MISMATCH or CERTIFICATE_REFUSED if the two cannot trust one another,
            or whatever the service raises.
    """
    shown = credentials or Credentials.from_environment()
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ]
    try:
        addresses = addresses_of(address)
    except ValueError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID, str(error), where="--server", fix=ADDRESS_ADVICE
        ) from None
    try:
        with ExitStack() as stack:
            channels = {
                each: stack.enter_context(open_channel(each, shown, options=options))
                for each in addresses
            }
            yield ServiceClient(_first_ready(channels, shown))
    except grpc.RpcError as error:
        raise error_from(error) from None
    except Unreachable as error:
        raise RecollectError.from_metadata(error.reason, error.metadata) from None


def _first_ready(channels: Mapping[str, grpc.Channel], credentials: Credentials) -> grpc.Channel:
    """Waits for a connection; says at once what is wrong where waiting cannot help."""
    states: queue.SimpleQueue[_Seen] = queue.SimpleQueue()
    watching = {each: _watcher(states, each) for each in channels}
    for each, channel in channels.items():
        channel.subscribe(watching[each], try_to_connect=True)
    deadline = time.monotonic() + CONNECT_SECONDS
    problems: dict[str, Unreachable | None] = {}
    try:
        while True:
            try:
                address, state = states.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise _nobody(", ".join(channels)) from None
            if state is grpc.ChannelConnectivity.READY:
                return channels[address]
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and address not in problems:
                problems[address] = why_unreachable(address, credentials)
                found = [problem for problem in problems.values() if problem is not None]
                # Unless it is so of all of them, another may answer yet.
                if len(found) == len(channels):
                    raise found[0]
    finally:
        for each, channel in channels.items():
            channel.unsubscribe(watching[each])
        # A thread of gRPC's may be about to look once more, and raises where a channel was closed.
        time.sleep(_LAST_LOOK_SECONDS)


def _watcher(
    states: queue.SimpleQueue[_Seen], address: str
) -> Callable[[grpc.ChannelConnectivity], None]:
    return lambda state: states.put((address, state))


def _nobody(address: str) -> RecollectError:
    return RecollectError(
        Reason.SERVER_UNAVAILABLE,
        "no service answers there.",
        where=address,
        fix="Start one with `recollect serve`, or name its address with --server.",
    )
