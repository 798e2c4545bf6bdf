from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import survivors as room
from recollect.mixer.permutation import KeyedPermutation
from recollect.mixer.survivors import surviving

Integers = npt.NDArray[np.int64]


def step_by_step(
    order: KeyedPermutation, places: Integers, erased: npt.NDArray[np.bool_]
) -> list[int]:
    """The law word by word: on to the next place until a row is left."""
    row_at = order.forward(np.arange(order.size)).tolist()
    found: list[int] = []
    for place in places.tolist():
        while erased[row_at[place]]:
            place = (place + 1) % order.size
        found.append(row_at[place])
    return found


@st.composite
def orders(draw: st.DrawFn) -> KeyedPermutation:
    size = draw(st.one_of(st.integers(1, 40), st.sampled_from([4096, 4097, 5000])))
    return KeyedPermutation(draw(st.binary(min_size=1, max_size=4)), size)


@given(st.data(), orders(), st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None)
def test_who_comes_next_is_who_a_walk_would_meet_first(
    data: st.DataObject, order: KeyedPermutation, seed: int
) -> None:
    random = np.random.default_rng(seed)
    num_left = data.draw(st.one_of(st.integers(1, order.size), st.just(1)))
    if data.draw(st.booleans()):  # all that is left lies together in the pass
        left = order.forward((np.arange(num_left) + int(random.integers(order.size))) % order.size)
    else:
        left = random.permutation(order.size)[:num_left]
    erased = np.ones(order.size, dtype=np.bool_)
    erased[left] = False
    places = random.integers(0, order.size, data.draw(st.integers(0, 40)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "AT_ONCE", data.draw(st.sampled_from([1, 30, 1 << 20])))
        found = surviving(order, places, erased)
    assert found.tolist() == step_by_step(order, places, erased)


class Counting(KeyedPermutation):
    """Counts the places and rows that are asked for."""

    asked = 0

    def forward(self, indexes: Integers) -> Integers:
        self.asked += indexes.size
        return super().forward(indexes)

    def inverse(self, indexes: Integers) -> Integers:
        self.asked += indexes.size
        return super().inverse(indexes)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("num_left", [1, 30, 3000, 90_000, 99_999])
def test_no_more_is_looked_at_than_twice_what_is_left(num_left: int, together: bool) -> None:
    order = Counting(b"key", 100_000)
    every = np.arange(order.size)
    left = order.forward(every[:num_left]) if together else every[:num_left]
    erased = np.ones(order.size, dtype=np.bool_)
    erased[left] = False
    places = np.random.default_rng(1).integers(0, order.size, 512)
    order.asked = 0
    surviving(order, places, erased)
    assert order.asked <= 2 * num_left + 2 * places.size
