"""What a failed call says to any client: a reason and its details, whoever it was that failed.

A service attaches a `google.rpc.ErrorInfo` to what it refuses. Where none came, the code that the
transport ended the call with stands for one of the same reasons. Unlike the stubs beside it, this
module is written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call ends with when its server goes: CANCELLED where it had the time to hang up."""
GARBLED = (
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
"""What the transport ends a call with that it cannot make sense of, if the service said nothing."""


def code_of(error: grpc.RpcError) -> grpc.StatusCode | None:
    """The status that a call ended with, if it got that far."""
    return error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None


def error_info(
    error: grpc.RpcError, *, domain: str, where: str = "", advice: Mapping[str, str]
) -> ErrorInfo:
    """The details that the service attached, or those that a failure without any stands for.

    Args:
        error: what the call raised.
        domain: whose details to believe.
        where: the place to name where the service itself said nothing.
        advice: what to do, by reason, where the service itself said nothing.
    """
    attached = attached_info(error, domain)
    if attached is not None:
        return attached
    code = code_of(error)
    if code in AWAY:
        reason, message = "SERVER_UNAVAILABLE", "the service does not answer."
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        reason, message = "DEADLINE_PASSED", "the service is there, but did not answer in time."
    else:
        reason, message = "INTERNAL", f"the call failed with {code.name if code else 'no status'}."
    metadata = {"message": message, "where": where, "fix": advice.get(reason, "")}
    return ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def attached_info(error: grpc.RpcError, domain: str) -> ErrorInfo | None:
    """The details that the service attached; None where the transport ended the call by itself."""
    if code_of(error) is None:
        return None
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # of which kind, code_of saw
        for detail in status.details if status is not None else ():
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == domain:
                return info
    except (ValueError, DecodeError):
        # The details contradict the status of the call, or changed on their way: not ours.
        pass
    return None
