"""The command line's side of the wire: channels, deadlines, and errors as they were raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from ..mixer.errors import DOMAIN, Reason, RecollectError
from ..v1.audit_pb2_grpc import AuditServiceStub
from ..v1.failure import error_info
from ..v1.mix_pb2_grpc import MixServiceStub
from ..v1.store_pb2_grpc import StoreServiceStub
from ..v1.teacher_pb2_grpc import TeacherServiceStub

CONNECT_SECONDS = 10.0
"""How long to wait for a service that does not answer."""
CALL_SECONDS = 120.0
"""Deadline of a short call."""
JOB_SECONDS = 24 * 3600.0
"""Deadline of a call that streams its progress."""
_MAX_MESSAGE_BYTES = 16 << 20
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


@contextmanager
def connect(address: str) -> Iterator[ServiceClient]:
    """A client of the service at an address; errors come back as they were raised.

    Args:
        address: host:port or unix:/path.

    Raises:
        RecollectError: SERVER_UNAVAILABLE if nothing listens there, or whatever the service raises.
    """
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise RecollectError(
                Reason.SERVER_UNAVAILABLE,
                "no service answers there.",
                where=address,
                fix="Start one with `recollect serve`, or name its address with --server.",
            ) from None
        try:
            yield ServiceClient(channel)
        except grpc.RpcError as error:
            raise error_from(error) from None
