"""Subtotals: the sum of the first terms of a long series, with few of the sums kept.

Each term takes a while to work out, and none is worked out twice while its sum is kept. As the
series grows, sums further and further apart are kept: at most a given number, evenly spaced, so
that any other is at most that distance from one of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]


class Subtotals:
    """The sums of the first terms of a series of arrays; threads share one.

    Args:
        term: the array of a number, always the same.
        shape: its shape.
        most: sums that are kept, at least 2, besides the one that was asked for last.
    """

    def __init__(self, term: Callable[[int], Integers], shape: tuple[int, ...], most: int) -> None:
        self._term, self._most = term, most
        self._distance = 1
        """Terms between two sums that are kept."""
        self._kept = [np.zeros(shape, dtype=np.int64)]
        self._latest = 0, self._kept[0]
        self._lock = threading.Lock()

    def before(self, number: int) -> Integers:
        """The sum of the terms 0 … number - 1; not to be written to."""
        with self._lock:
            index = min(number // self._distance, len(self._kept) - 1)
            first, total = index * self._distance, self._kept[index]
            if first < self._latest[0] <= number:
                first, total = self._latest
            for each in range(first, number):
                total = total + self._term(each)
                self._latest = each + 1, total
                self._keep(each + 1, total)
            self._latest = number, total
            return total

    def _keep(self, number: int, total: Integers) -> None:
        """Keeps a sum if it is the next that is due, and fewer of them where they become many."""
        if number != len(self._kept) * self._distance:
            return
        self._kept.append(total)
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._distance *= 2
