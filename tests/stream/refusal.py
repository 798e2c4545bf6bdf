"""Refusals in tests: what an error on the wire says."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recollect.mixer.errors import Reason


def refused(error: Any) -> tuple[Reason, grpc.StatusCode, dict[str, str]]:
    """Reason, status and metadata that an error carries."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    assert status.details[0].Unpack(info)
    assert info.domain == "recollect"
    return Reason[info.reason], error.code(), dict(info.metadata)
