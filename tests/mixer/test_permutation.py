"""The order of a pass: the laws, the golden vectors, and chance as the only pattern.

The statistical tests have fixed keys, so they pass or fail for ever. Each turns what it counts into
a standard normal deviate and refuses one beyond `LIMIT`, the two-sided quantile at p = 1e-5; all of
them together, about 800 deviates, would refuse a perfect shuffle for one choice of keys in 125.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import permutation as room
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.permutation import (
    LARGEST_SIZE,
    LARGEST_TABLE,
    KeyedPermutation,
    Network,
    derive_key,
    permutation_of,
)

LIMIT = NormalDist().inv_cdf(1 - 1e-5 / 2)

POWERS = [(1 << bits) + offset for bits in (1, 2, 5, 12, 13, 16, 20) for offset in (-1, 0, 1)]
LARGE = [10**6 + 3, 1 << 30, (1 << 30) + 1, 10**9, 10**12, (1 << 40) - 1, (1 << 40) + 1, 1 << 48]
NETWORKS = [4097, 4160, 5000, 8192, 8193]
"""The smallest networks, where a Feistel network is weakest: full, nearly full, and ragged."""

sizes = st.one_of(
    st.integers(1, LARGEST_SIZE),
    st.builds(lambda bits, offset: (1 << bits) + offset, st.integers(2, 47), st.integers(-1, 1)),
)


# Laws


@given(st.integers(1, 5000), st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_every_element_comes_once(size: int, key: bytes) -> None:
    permutation = KeyedPermutation(key, size)
    places = np.arange(size)
    order = permutation.forward(places)
    assert np.bincount(order, minlength=size).tolist() == [1] * size
    assert (permutation.inverse(order) == places).all()


@pytest.mark.parametrize("size", [1, *POWERS])
def test_every_element_comes_once_beside_powers_of_two(size: int) -> None:
    permutation = KeyedPermutation(b"key", size)
    places = np.arange(size)
    order = permutation.forward(places)
    assert (np.bincount(order, minlength=size) == 1).all()
    assert (permutation.inverse(order) == places).all()
    assert (permutation.forward(permutation.inverse(places)) == places).all()


@given(sizes, st.data())
@settings(max_examples=150, deadline=None)
def test_inverse_undoes_forward_at_every_size(size: int, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=40))
    indexes = np.array([*drawn, 0, size - 1])
    permutation = KeyedPermutation(b"key", size)
    for image in (permutation.forward(indexes), permutation.inverse(indexes)):
        assert 0 <= image.min() <= image.max() < size
    assert permutation.inverse(permutation.forward(indexes)).tolist() == indexes.tolist()
    assert permutation.forward(permutation.inverse(indexes)).tolist() == indexes.tolist()


@given(sizes.filter(lambda size: size > LARGEST_TABLE), st.binary(max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_python_and_numpy_agree(size: int, key: bytes, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.integers(0, size - 1), min_size=room.FEW + 1, max_size=40))
    indexes = np.array(drawn)
    network = Network(key, size)
    for walk in (network.forward, network.inverse):
        one_by_one = [int(walk(indexes[i : i + 1])[0]) for i in range(len(indexes))]
        assert walk(indexes).tolist() == one_by_one


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 300)), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_what_was_asked_before_changes_nothing(requests: list[tuple[int, int]]) -> None:
    whole = Network(b"key", 9300).forward(np.arange(9300))
    permutation = KeyedPermutation(b"key", 9300)
    for first, num in requests:
        places = np.arange(first, first + num)
        assert (permutation.forward(places) == whole[places]).all()


def test_reading_in_order_gives_the_whole_order() -> None:
    whole = Network(b"key", 5000).forward(np.arange(5000))
    permutation = KeyedPermutation(b"key", 5000)
    batches = [permutation.forward(np.arange(first, first + 8)) for first in range(0, 5000, 8)]
    assert (np.concatenate(batches) == whole).all()


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(b"key", 5003)
    places = np.arange(5003)
    orders = []
    for chunk in (1 << 14, 1000, 17):
        monkeypatch.setattr(room, "CHUNK", chunk)
        orders.append((network.forward(places).tolist(), network.inverse(places).tolist()))
    assert orders[0] == orders[1] == orders[2]


def test_nothing_asked_is_nothing_answered() -> None:
    for size in (10, 10**6):
        permutation = KeyedPermutation(b"key", size)
        nothing = np.zeros(0, dtype=np.int64)
        assert permutation.forward(nothing).tolist() == []
        assert permutation.inverse(nothing).tolist() == []


def test_the_orders_in_use_are_kept() -> None:
    assert permutation_of(1, "tickets", 0, 50) is permutation_of(1, "tickets", 0, 50)


@pytest.mark.parametrize("size", [0, -3])
def test_an_order_of_nothing_is_refused(size: int) -> None:
    with pytest.raises(RecollectError, match=f"of {size} elements") as caught:
        KeyedPermutation(b"key", size)
    assert caught.value.reason is Reason.MIX_EMPTY_SOURCE
    assert caught.value.where == "size"
    assert "leave it out of the mix" in caught.value.fix


def test_an_order_of_too_much_is_refused() -> None:
    with pytest.raises(RecollectError, match="at most 2\\^48") as caught:
        KeyedPermutation(b"key", LARGEST_SIZE + 1)
    assert caught.value.reason is Reason.MIX_INVALID
    assert caught.value.where == "size"


def test_one_element_stays_where_it_is() -> None:
    assert KeyedPermutation(b"key", 1).forward(np.array([0, 0])).tolist() == [0, 0]


@pytest.mark.parametrize(
    "field, seed, epoch", [("seed", -1, 0), ("seed", 1 << 63, 0), ("epoch", 0, -1)]
)
def test_numbers_out_of_range_are_refused_by_name(field: str, seed: int, epoch: int) -> None:
    with pytest.raises(RecollectError, match="not in 0") as caught:
        derive_key(seed, "tickets", epoch)
    assert caught.value.reason is Reason.MIX_INVALID
    assert caught.value.where == field
    assert "9223372036854775807" in caught.value.fix


@pytest.mark.parametrize("size", [10, 5000])
@pytest.mark.parametrize("num", [1, 100])
@pytest.mark.parametrize("offset", [-1, 0])
def test_indexes_outside_are_refused(size: int, num: int, offset: int) -> None:
    outside = -1 if offset else size
    permutation = KeyedPermutation(b"key", size)
    indexes = np.array([0] * (num - 1) + [outside])
    for walk in (permutation.forward, permutation.inverse):
        with pytest.raises(
            RecollectError, match=f"index {outside} is not in 0 … {size - 1}"
        ) as caught:
            walk(indexes)
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE


# Golden vectors: these orders never change; another order is another PERMUTATION_VERSION.

GOLDEN = [
    (1, [0], [0], [0]),
    (2, [0, 1], [1, 0], [1, 0]),
    (3, [0, 1, 2], [1, 2, 0], [2, 0, 1]),
    (10, [0, 1, 3, 5, 9], [7, 5, 6, 9, 4], [4, 6, 8, 1, 5]),
    (1000, [0, 1, 333, 500, 999], [115, 512, 276, 689, 969], [695, 922, 692, 828, 259]),
    (4096, [0, 1, 1365, 2048, 4095], [3259, 3815, 633, 3382, 3541], [2545, 1525, 2577, 1831, 658]),
    (4097, [0, 1, 1365, 2048, 4096], [1228, 251, 57, 715, 1407], [3326, 1226, 3432, 143, 3264]),
    (
        1000000,
        [0, 1, 333333, 500000, 999999],
        [862802, 876215, 600569, 371704, 426199],
        [136052, 729729, 439103, 765423, 527652],
    ),
    (
        1000000000,
        [0, 1, 333333333, 500000000, 999999999],
        [166672088, 814727979, 709117172, 535291263, 788189128],
        [237554548, 540107093, 969655650, 964384595, 838283970],
    ),
    (
        1000000000000,
        [0, 1, 333333333333, 500000000000, 999999999999],
        [744106054715, 998249525000, 755743285735, 759945077014, 934056088193],
        [859169336504, 118231603237, 405376203429, 174812603799, 217573663429],
    ),
    (
        281474976710656,
        [0, 1, 93824992236885, 140737488355328, 281474976710655],
        [48570551556635, 262372347745555, 36527044340951, 23916851108016, 97261136474502],
        [89807492418095, 4024472973628, 68924404583879, 148027110938415, 54980117169449],
    ),
]
"""Size, places, the elements there, and the places of those numbers as elements."""

GOLDEN_DIGESTS = {
    1000: "bf8593cc6324fa8ef747169c27c3548d456ee1cbcfb8cb9fabc60763d0619166",
    4097: "aee76d944e7c1626049c79fb1523137fb1a38b7204d76662e75df0c2eab2fa23",
    65536: "e2a084ef1dcd50c7a6aaaf90cce1250782ac8fce9adc839e24e5c48c909588aa",
    1000000: "0ec36d0ebcdf82f7b685d37df37529d416796d709fd5a8075610080edb0a2d89",
}
"""SHA-256 of whole orders, as 64-bit words with the low byte first."""


def test_the_key_is_the_golden_one() -> None:
    golden = "1727237f2f34b8729910650fe587c5a419ad8748a7fccce97fb65d096df5246e"
    assert derive_key(7, "tickets", 3).hex() == golden
    assert room.PERMUTATION_VERSION == 2


@pytest.mark.parametrize("size, places, elements, origins", GOLDEN)
def test_orders_are_the_golden_ones(
    size: int, places: list[int], elements: list[int], origins: list[int]
) -> None:
    permutation = permutation_of(7, "tickets", 3, size)
    assert permutation.forward(np.array(places)).tolist() == elements
    assert permutation.inverse(np.array(places)).tolist() == origins


@pytest.mark.parametrize("size", GOLDEN_DIGESTS)
def test_whole_orders_are_the_golden_ones(size: int) -> None:
    order = permutation_of(7, "tickets", 3, size).forward(np.arange(size))
    assert hashlib.sha256(order.astype("<i8").tobytes()).hexdigest() == GOLDEN_DIGESTS[size]


# Chance


def deviate(
    counts: npt.ArrayLike, expected: npt.ArrayLike, freedom: int, scale: float = 1
) -> float:
    """Pearson's statistic as a standard normal deviate (Wilson and Hilferty, 1931)."""
    statistic = scale * float(np.sum((np.asarray(counts) - expected) ** 2 / np.asarray(expected)))
    spread = 2 / (9 * freedom)
    return (math.cbrt(statistic / freedom) - (1 - spread)) / math.sqrt(spread)


def evenly(counts: npt.NDArray[np.int64]) -> float:
    """The deviate of counts that should all be the same."""
    return deviate(counts, counts.sum() / counts.size, counts.size - 1)


def orders(size: int, num_keys: int) -> Iterator[npt.NDArray[np.int64]]:
    for seed in range(num_keys):
        yield KeyedPermutation(derive_key(seed, "tickets", 0), size).forward(np.arange(size))


def test_an_element_is_anywhere_equally_often_at_every_small_size() -> None:
    deviates = []
    for size in range(2, 51):
        hits = np.zeros((size, size), dtype=np.int64)
        for order in orders(size, 1000):
            hits[np.arange(size), order] += 1
        # Rows and columns sum to the number of keys: (size - 1)^2 degrees of freedom.
        scale = (size - 1) / size
        deviates.append(deviate(hits, 1000 / size, (size - 1) ** 2, scale))
    assert max(map(abs, deviates)) < LIMIT
    assert abs(sum(deviates)) / math.sqrt(len(deviates)) < LIMIT


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_orders_of_few_elements_come_equally_often(size: int) -> None:
    seen = dict.fromkeys(itertools.permutations(range(size)), 0)
    for order in orders(size, 6000):
        seen[tuple(order.tolist())] += 1
    assert abs(evenly(np.array(list(seen.values())))) < LIMIT


@pytest.mark.parametrize("size", [3, 5, 8, 12, 21])
def test_any_element_follows_any_other_equally_often(size: int) -> None:
    follows = np.zeros((size, size), dtype=np.int64)
    for number, order in enumerate(orders(size, 6000)):
        place = number % (size - 1)  # one pair a key, so that the counts are independent
        follows[order[place], order[place + 1]] += 1
    assert not follows.diagonal().any()
    assert abs(evenly(follows[~np.eye(size, dtype=bool)])) < LIMIT


@pytest.mark.parametrize("size", [LARGEST_TABLE, *NETWORKS])
def test_an_element_is_anywhere_equally_often(size: int) -> None:
    cells = np.arange(size) * 64 // size
    hits = np.zeros((64, 64), dtype=np.int64)
    ends = np.zeros((2, 64), dtype=np.int64)
    for order in orders(size, 400):
        hits += np.bincount(cells * 64 + cells[order], minlength=64 * 64).reshape(64, 64)
        ends[[0, 1], cells[order[[0, -1]]]] += 1
    in_cell = np.bincount(cells)
    expected = 400 * np.outer(in_cell, in_cell) / size
    assert abs(deviate(hits, expected, 63**2, (size - 1) / size)) < LIMIT
    for end in ends:
        assert abs(deviate(end, 400 * in_cell / size, 63)) < LIMIT


def deviates_of_steps(size: int, num_keys: int) -> dict[int, float]:
    """How far apart, modulo the size, elements lie whose places are next, or rows, apart."""
    row = 1 << (size - 1).bit_length() // 2
    steps = {distance: np.zeros(size, dtype=np.int64) for distance in (1, 2, row - 1, row, 2 * row)}
    for seed in range(num_keys):
        order = Network(derive_key(seed, "tickets", 0), size).forward(np.arange(size))
        for distance, counts in steps.items():
            apart = (order[distance:] - order[:-distance]) % size
            counts += np.bincount(apart, minlength=size)
    return {distance: evenly(counts[1:]) for distance, counts in steps.items()}


@pytest.mark.parametrize("size", NETWORKS)
def test_neighbours_are_any_distance_apart_equally_often(size: int) -> None:
    deviates = deviates_of_steps(size, 400)
    assert max(map(abs, deviates.values())) < LIMIT, deviates


@pytest.mark.parametrize("size", [4097, 5000])
def test_half_the_rounds_would_be_noticed(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "NUM_ROUNDS", 4)
    assert max(map(abs, deviates_of_steps(size, 400).values())) > 4 * LIMIT


@pytest.mark.parametrize("size", [1000, 4099, 65_537, 1_000_003, 10**12])
def test_places_and_neighbours_are_not_correlated(size: int) -> None:
    num = min(size, 200_000)
    order = KeyedPermutation(b"key", size).forward(np.arange(num)) / size
    for earlier, later in ((np.arange(num), order), (order[:-1], order[1:])):
        assert abs(np.corrcoef(earlier, later)[0, 1]) * math.sqrt(num) < LIMIT
    # Next to each other, in either direction: about 2 pairs in size of all, as rare events are.
    together = int((np.abs(np.diff(order * size)) < 1.5).sum())
    assert abs(together - 2 * num / size) < LIMIT * math.sqrt(2 * num / size) + 2


@pytest.mark.parametrize("size", LARGE)
def test_a_sample_of_a_large_order_is_like_chance(size: int) -> None:
    num = min(10**6, size // 4)
    permutation = KeyedPermutation(b"key", size)
    row = 1 << (size - 1).bit_length() // 2
    for places in (np.arange(num), np.arange(num) * (size // num)):
        elements = permutation.forward(places)
        assert (permutation.inverse(elements) == places).all()
        sample = np.sort(elements)
        assert (sample[1:] > sample[:-1]).all()
        # A sample without replacement is more even than one with, by 1 - num / size.
        scale = 1 / (1 - num / size)
        high, middle, low = elements * 256 // size, elements % row * 256 // row, elements % 256
        for cells in (high, middle, low):
            counts = np.bincount(cells, minlength=256)
            assert abs(deviate(counts, num / 256, 255, scale)) < LIMIT
        pairs = np.bincount(high[1:] * 256 + high[:-1], minlength=1 << 16)
        assert abs(evenly(pairs)) < LIMIT


@pytest.mark.parametrize("size", [20, 500, 5000, 10**6])
def test_one_bit_of_seed_epoch_or_name_moves_about_everything(size: int) -> None:
    changed = [(1234 ^ 1 << bit, "tickets", 6) for bit in range(63)]
    changed += [(1234, "tickets", 6 ^ 1 << bit) for bit in range(20)]
    changed += [
        (1234, name, 6) for name in ("uickets", "tickett", "ticket", "Tickets", "tickets:6")
    ]
    places = np.arange(min(size, 5000))
    before = KeyedPermutation(derive_key(1234, "tickets", 6), size).forward(places)
    stayed = [
        int((KeyedPermutation(derive_key(*fields), size).forward(places) == before).sum())
        for fields in changed
    ]
    # What stays by chance is a Poisson variable of mean places / size for each change.
    mean = len(places) / size
    assert max(stayed) <= mean + 9
    expected = mean * len(changed)
    assert abs(sum(stayed) - expected) < LIMIT * math.sqrt(expected) + 1


@pytest.mark.parametrize("size", [1000, 4097, 5000, 10**6])
def test_one_epoch_says_nothing_of_the_next(size: int) -> None:
    num_epochs = max(2, 400_000 // size)
    cells = np.arange(size) * 32 // size
    joint = np.zeros(32 * 32, dtype=np.int64)
    epochs = [
        KeyedPermutation(derive_key(5, "tickets", epoch), size).forward(np.arange(size))
        for epoch in range(num_epochs)
    ]
    for order, following in itertools.pairwise(epochs):
        joint += np.bincount(cells[order] * 32 + cells[following], minlength=32 * 32)
        assert abs(np.corrcoef(order, following)[0, 1]) * math.sqrt(size) < LIMIT
    in_cell = np.bincount(cells)
    expected = (num_epochs - 1) * np.outer(in_cell, in_cell).ravel() / size
    assert abs(deviate(joint, expected, 31**2, (size - 1) / size)) < LIMIT


def test_orders_of_other_sizes_are_other_orders() -> None:
    key = derive_key(5, "tickets", 0)
    for size in (50, 4095, 10_000):
        shorter = KeyedPermutation(key, size).forward(np.arange(size))
        longer = KeyedPermutation(key, size + 1).forward(np.arange(size))
        assert int((shorter == longer).sum()) < 10
