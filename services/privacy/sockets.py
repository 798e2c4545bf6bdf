"""Sockets: a record of those that a thread opens, for the proof that analysis opens none."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_here = threading.local()


@contextmanager
def sockets_opened() -> Iterator[list[str]]:
    """What this thread does with sockets meanwhile, as Python's audit events name it.

    Sockets that compiled code opens past Python are not seen.
    """
    _listen()
    before = getattr(_here, "seen", None)
    seen: list[str] = []
    _here.seen = seen
    try:
        yield seen
    finally:
        _here.seen = before


@cache
def _listen() -> None:
    # For good: an audit hook cannot be taken away. It costs a comparison for each event.
    sys.addaudithook(_heard)


def _heard(event: str, _: tuple[Any, ...]) -> None:
    if event.startswith("socket."):
        seen = getattr(_here, "seen", None)
        if seen is not None:
            seen.append(event)
