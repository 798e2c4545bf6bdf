"""Kernels: loops over arrays that numba compiles where it pays, with the same results where not.

A sequential loop over millions of rows takes Python about a microsecond a step and compiled code a
few nanoseconds; compiling takes a second or so. Small work is therefore done by Python itself, and
so is everything where numba cannot be had. Nothing may depend on which of the two ran: kernels use
whole numbers only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

SMALL_WORK = 1 << 13
"""Steps of a loop below which Python is done before a compiler would be."""


class Kernel(Generic[Arguments, Result]):
    """A function of numpy arrays and whole numbers, compiled when it is first given much to do.

    Args:
        function: plain Python that numba's nopython mode understands.
    """

    def __init__(self, function: Callable[Arguments, Result]) -> None:
        self.plain = function
        self._compiled: Callable[Arguments, Result] | None = None
        self._lock = threading.Lock()

    def of_size(self, num_steps: int) -> Callable[Arguments, Result]:
        """The function that does work of this size best."""
        if num_steps < SMALL_WORK and self._compiled is None:
            return self.plain
        return self.compiled

    @property
    def compiled(self) -> Callable[Arguments, Result]:
        """The compiled function, or the plain one where there is no numba."""
        with self._lock:
            if self._compiled is None:
                self._compiled = _compile(self.plain)
            return self._compiled


def _compile(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    try:
        import numba
    except ImportError:
        return function
    try:
        compiled: Callable[Arguments, Result] = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder that machine code could be kept in
        compiled = numba.njit(nogil=True)(function)
    return compiled
