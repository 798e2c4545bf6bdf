"""Integrity: the checksum of a message of steps, the same on both sides of the wire.

TCP's own checksum misses what a broken proxy changes, and a Unix socket has none. Unlike the stubs
beside it, this module is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable

import xxhash

from .stream_pb2 import StepFrame


def checksum_of(steps: Iterable[StepFrame], payload: bytes) -> int:
    """XXH3 (64 bits) of the steps, each in its deterministic encoding, and of the payload."""
    found = xxhash.xxh3_64(b"".join(step.SerializeToString(deterministic=True) for step in steps))
    found.update(payload)
    return found.intdigest()
