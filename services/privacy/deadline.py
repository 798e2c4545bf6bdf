"""Deadline: how long a text may take in all, and whether anybody still waits for it.

A time-out of one pattern bounds one call. A text that is made for it keeps every pattern busy for
as long as each may be, in every piece: what bounds the sum is here. Both limits hold for whatever
the context runs, so that patterns deep within a recognizer keep them as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ...mixer.errors import Reason, RecollectError

SHARE_CHARACTERS = 100_000
"""Characters that have the policy's `text_timeout_seconds`; of a longer text, as many each."""


class GivenUp(BaseException):
    """Nobody waits for the text any more.

    No `Exception`, as `asyncio.CancelledError` is none: it is no failure of whatever was at work.
    """


@dataclass(slots=True)
class _Clock:
    seconds: float
    ends: float
    is_shorter: bool = False
    """Whether the last step had no more than what is left to the text."""


_CLOCK: ContextVar[_Clock | None] = ContextVar("clock", default=None)
_IS_GIVEN_UP: ContextVar[Callable[[], bool] | None] = ContextVar("is_given_up", default=None)


@contextmanager
def text_deadline(seconds: float, num_characters: int) -> Iterator[None]:
    """Bounds what is done to a text meanwhile: `seconds` for each share that it begins."""
    allowed = seconds * max(1, math.ceil(num_characters / SHARE_CHARACTERS))
    token = _CLOCK.set(_Clock(allowed, time.monotonic() + allowed))
    try:
        yield
    finally:
        _CLOCK.reset(token)


@contextmanager
def unless(is_given_up: Callable[[], bool]) -> Iterator[None]:
    """Ends what is done meanwhile with `GivenUp`, soon after the function says so."""
    token = _IS_GIVEN_UP.set(is_given_up)
    try:
        yield
    finally:
        _IS_GIVEN_UP.reset(token)


@contextmanager
def uncounted() -> Iterator[None]:
    """Stops the text's clock meanwhile: for a model, whose time grows with the text alone."""
    clock, start = _CLOCK.get(), time.monotonic()
    try:
        yield
    finally:
        if clock is not None:
            clock.ends += time.monotonic() - start


def keep_to_deadline() -> None:
    """Goes on only while the text has time left and somebody waits for it.

    Raises:
        RecollectError: DEIDENTIFICATION_FAILED: it has taken too long.
        GivenUp: nobody waits.
    """
    is_given_up, clock = _IS_GIVEN_UP.get(), _CLOCK.get()
    if is_given_up is not None and is_given_up():
        raise GivenUp
    if clock is not None and time.monotonic() >= clock.ends:
        raise _too_long(clock)


def time_left(most: float) -> float:
    """Seconds that a step may take: at most so many, and at most those left to the text.

    Raises:
        RecollectError, GivenUp: as `keep_to_deadline`.
    """
    # As `keep_to_deadline`, spelt out: every pattern asks.
    is_given_up, clock = _IS_GIVEN_UP.get(), _CLOCK.get()
    if is_given_up is not None and is_given_up():
        raise GivenUp
    if clock is None:
        return most
    left = clock.ends - time.monotonic()
    if left <= 0:
        raise _too_long(clock)
    clock.is_shorter = left < most
    # Never nothing: to some packages that means no limit.
    return max(min(most, left), 1e-3)


def step_ran_out() -> None:
    """Says that a step took its `time_left`: returns only where it was the step's own limit.

    The text's clock alone cannot tell: `regex` counts the processor time of all threads of the
    process, so a step that has what is left to the text may run out before the text does.

    Raises:
        RecollectError, GivenUp: as `keep_to_deadline`.
    """
    keep_to_deadline()
    clock = _CLOCK.get()
    if clock is not None and clock.is_shorter:
        raise _too_long(clock)


def _too_long(clock: _Clock) -> RecollectError:
    return RecollectError(
        Reason.DEIDENTIFICATION_FAILED,
        f"The text took longer than {clock.seconds:g} seconds.",
        fix="The example stays quarantined; split it, or raise text_timeout_seconds.",
    )
