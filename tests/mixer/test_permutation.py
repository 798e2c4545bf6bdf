from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import permutation as room
from recollect.mixer.permutation import KeyedPermutation, derive_key, permutation_of


@given(st.integers(1, 40_000), st.binary(max_size=64))
@settings(max_examples=40, deadline=None)
def test_every_index_is_hit_once(size: int, key: bytes) -> None:
    order = KeyedPermutation(key, size).forward(np.arange(size))
    assert np.bincount(order, minlength=size).tolist() == [1] * size


@given(st.integers(1, 10**12), st.data())
@settings(max_examples=60, deadline=None)
def test_inverse_undoes_forward(size: int, data: st.DataObject) -> None:
    indexes = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=40)))
    permutation = KeyedPermutation(b"key", size)
    assert permutation.inverse(permutation.forward(indexes)).tolist() == indexes.tolist()
    assert permutation.forward(permutation.inverse(indexes)).tolist() == indexes.tolist()


def test_a_table_is_what_the_network_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tabulated = KeyedPermutation(b"key", 777)
    monkeypatch.setattr(room, "LARGEST_TABLE", 0)
    walked = KeyedPermutation(b"key", 777)
    indexes = np.arange(777)
    assert tabulated.forward(indexes).tolist() == walked.forward(indexes).tolist()
    assert tabulated.inverse(indexes).tolist() == walked.inverse(indexes).tolist()


def test_the_largest_size_works() -> None:
    permutation = KeyedPermutation(b"key", 1 << 62)
    indexes = np.array([0, 1, (1 << 62) - 1])
    assert permutation.inverse(permutation.forward(indexes)).tolist() == indexes.tolist()


@pytest.mark.parametrize("size", [2, 3, 4, 5, 10, 21])
def test_an_element_is_anywhere_equally_often(size: int) -> None:
    num_keys = 60 * size
    hits = np.zeros((size, size))
    for seed in range(num_keys):
        order = KeyedPermutation(derive_key(seed, "tickets", 0), size).forward(np.arange(size))
        hits[np.arange(size), order] += 1
    chi_square = ((hits - num_keys / size) ** 2).sum() / (num_keys / size)
    freedom = (size - 1) ** 2
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5 + 4


def test_all_orders_of_few_elements_come_equally_often() -> None:
    seen = {order: 0 for order in itertools.permutations(range(4))}
    for seed in range(2400):
        order = permutation_of.__wrapped__(seed, "tickets", 1, 4).forward(np.arange(4))
        seen[tuple(order.tolist())] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in seen.values())
    assert chi_square < 23 + 4 * 46**0.5


@pytest.mark.parametrize("size", [1000, 65_537, 1_000_003])
def test_neighbours_do_not_stay_neighbours(size: int) -> None:
    num = min(size, 50_000)
    order = KeyedPermutation(b"key", size).forward(np.arange(num))
    steps = np.abs(np.diff(order))
    # Uniform places are size / 3 apart on average, and next to each other 2 times in size.
    assert abs(steps.mean() / size - 1 / 3) < 0.02
    assert (steps == 1).sum() <= 2 * num / size + 4 * (2 * num / size) ** 0.5 + 2
    assert abs(np.corrcoef(np.arange(num), order)[0, 1]) < 5 / num**0.5


def test_seed_source_and_epoch_each_change_the_order() -> None:
    keys = [derive_key(1, "a", 0), derive_key(2, "a", 0), derive_key(1, "b", 0)]
    keys += [derive_key(1, "a", 1), derive_key(1, "a:0", 0), derive_key(11, "a", 0)]
    orders = {tuple(KeyedPermutation(key, 50).forward(np.arange(50)).tolist()) for key in keys}
    assert len(orders) == len(keys)


@pytest.mark.parametrize("size", [0, -3, (1 << 62) + 1])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="elements"):
        KeyedPermutation(b"key", size)


@pytest.mark.parametrize("index", [-1, 10])
def test_indexes_outside_are_refused(index: int) -> None:
    with pytest.raises(IndexError, match="0 … 9"):
        KeyedPermutation(b"key", 10).forward(np.array([index]))
