"""Silence: a stream that nothing is heard of is ended, so that it can be opened again elsewhere.

A connection can lose its way without breaking: a proxy that changes a length leaves both sides
waiting for bytes that never come, and neither a ping nor the end of the stream tells. What usually
takes milliseconds is therefore not awaited until the deadline of the call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

LOOKS_PER_LIMIT = 8
"""How often the clock is looked at until a limit is reached."""


class Listener:
    """The messages of a stream, which is cancelled where one is awaited for too long.

    What the reader does between two messages is not silence.
    """

    def __init__(self, call: Any, *, first_s: float, next_s: float) -> None:
        """Begins to wait.

        Args:
            call: the stream, which ends with CANCELLED where it falls silent.
            first_s: how long to wait for the first message.
            next_s: how long for any other.
        """
        self._call = call
        self._next_s = next_s
        self.waits_s = first_s
        """How long the message that is awaited may take."""
        self.fell_silent = False
        self._until = time.monotonic() + first_s
        self._ended = Event()
        Thread(target=self._watch, name="recollect-silence", daemon=True).start()

    def __iter__(self) -> Iterator[bytes]:
        try:
            for message in self._call:
                self._until = math.inf
                yield message
                self.waits_s = self._next_s
                self._until = time.monotonic() + self._next_s
        finally:
            self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._next_s / LOOKS_PER_LIMIT):
            if time.monotonic() > self._until:
                self.fell_silent = True
                self._call.cancel()
                return
