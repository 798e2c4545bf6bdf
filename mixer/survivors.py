"""Survivors: who takes the place of an erased row, the next of the pass that is left.

Where little is erased, the next places are looked at, twice as many each time. Where that would be
more places than there are rows left, the places of those are worked out instead. Either way no more
is looked at than twice the rows that are left, and the answer is the same.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .permutation import KeyedPermutation

Integers: TypeAlias = npt.NDArray[np.int64]
Booleans: TypeAlias = npt.NDArray[np.bool_]

AT_ONCE = 1 << 20
"""Places that are looked at together."""


def surviving(order: KeyedPermutation, places: Integers, erased: Booleans) -> Integers:
    """The rows at places of a pass; where one is erased, the next after it that is not.

    After the last place comes the first.

    Args:
        order: the rows of the pass.
        places: int64[n], places in it.
        erased: for each row, whether it is erased; not all of them.
    """
    rows = order.forward(places)
    gone = np.flatnonzero(erased[rows])
    if not gone.size:
        return rows
    budget = order.size - int(np.count_nonzero(erased))
    passed, reach = 0, 1
    while gone.size and gone.size * reach <= budget:
        budget -= gone.size * reach
        ahead = places[gone, None] + np.arange(passed + 1, passed + reach + 1)
        candidates = order.forward(ahead.ravel() % order.size).reshape(ahead.shape)
        survives = ~erased[candidates]
        first = survives.argmax(axis=1)
        found = survives[np.arange(gone.size), first]
        rows[gone[found]] = candidates[found, first[found]]
        gone, passed = gone[~found], passed + reach
        reach = min(2 * reach, max(AT_ONCE // max(gone.size, 1), 1))
    if gone.size:
        rows[gone] = _next_of_those_left(order, places[gone], erased)
    return rows


def _next_of_those_left(order: KeyedPermutation, places: Integers, erased: Booleans) -> Integers:
    """The rows that come next after erased places, found among the places of all that are left."""
    left = np.sort(order.inverse(np.flatnonzero(~erased)))
    return order.forward(left[np.searchsorted(left, places) % left.size])
