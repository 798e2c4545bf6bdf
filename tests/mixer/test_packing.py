from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer import fitting
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.fitting import pack_window
from recollect.mixer.measures import Measures
from recollect.mixer.packing import (
    Packing,
    Packs,
    best_fit,
    cu_seqlens,
    pack,
    position_ids,
    split,
)
from recollect.mixer.rows import SourceRows

from .public_rows import NAMES, needs_data, public_rows

Integers = npt.NDArray[np.int64]
PACKED = (Packing.BEST_FIT, Packing.SPLIT)


@st.composite
def sources(draw: st.DrawFn) -> tuple[Integers, int]:
    """The lengths of a source's examples, and a capacity."""
    capacity = draw(st.integers(1, 40))
    lengths = draw(st.lists(st.integers(1, 3 * capacity), min_size=1, max_size=60))
    return np.array(lengths, dtype=np.int64), capacity


def held(packs: Packs, number: int) -> list[tuple[int, int, int]]:
    """The restore keys of a pack."""
    here = slice(int(packs.offsets[number]), int(packs.offsets[number + 1]))
    columns = (packs.examples[here], packs.starts[here], packs.stops[here])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def all_held(packs: Packs) -> list[list[tuple[int, int, int]]]:
    return [held(packs, number) for number in range(len(packs))]


def plain_best_fit(sizes: list[int], capacity: int) -> list[int]:
    """Best-fit-decreasing word by word; of equally full packs, the one filled last."""
    packs: list[tuple[int, int, int]] = []  # room, when it was last filled, number
    found = [0] * len(sizes)
    for turn, piece in enumerate(sorted(range(len(sizes)), key=lambda i: -sizes[i])):
        fitting = [one for one in packs if one[0] >= sizes[piece]]
        chosen = min(fitting, key=lambda one: (one[0], -one[1]), default=None)
        if chosen is None:
            chosen = (capacity, turn, len(packs))
        else:
            packs.remove(chosen)
        packs.append((chosen[0] - sizes[piece], turn, chosen[2]))
        found[piece] = chosen[2]
    return found


@given(sources(), st.sampled_from(PACKED), st.binary(max_size=8), st.integers(1, 70))
@settings(max_examples=150, deadline=None)
def test_every_token_is_in_exactly_one_pack(
    source: tuple[Integers, int], packing: Packing, key: bytes, window: int
) -> None:
    lengths, capacity = source
    packs = pack(lengths, capacity=capacity, packing=packing, key=key, window=window)
    tokens = Counter(
        (example, token)
        for pieces in all_held(packs)
        for example, start, stop in pieces
        for token in range(start, stop)
    )
    assert set(tokens.values()) == {1}
    assert len(tokens) == lengths.sum() == packs.lengths.sum()
    assert 1 <= packs.lengths.min() <= packs.lengths.max() <= capacity
    assert packs.padding == 1 - Fraction(int(lengths.sum()), len(packs) * capacity)


@given(sources(), st.binary(max_size=8))
@settings(max_examples=60, deadline=None)
def test_split_leaves_only_the_last_pack_short(source: tuple[Integers, int], key: bytes) -> None:
    lengths, capacity = source
    packs = pack(lengths, capacity=capacity, packing=Packing.SPLIT, key=key)
    assert (packs.lengths[:-1] == capacity).all()
    assert len(packs) == -(-int(lengths.sum()) // capacity)


@given(sources(), st.binary(max_size=8))
@settings(max_examples=60, deadline=None)
def test_best_fit_tears_no_document_that_fits(source: tuple[Integers, int], key: bytes) -> None:
    lengths, capacity = source
    packs = pack(lengths, capacity=capacity, packing=Packing.BEST_FIT, key=key)
    pieces = Counter(packs.examples.tolist())
    for example, length in enumerate(lengths.tolist()):
        assert pieces[example] == -(-length // capacity)


def test_unpacked_rows_are_the_examples_cut_at_the_capacity() -> None:
    packs = pack(np.array([3, 9, 1]), capacity=4, packing=Packing.NONE, key=b"")
    assert all_held(packs) == [[(0, 0, 3)], [(1, 0, 4)], [(2, 0, 1)]]
    assert packs.padding == Fraction(4, 12)


@given(st.integers(1, 50), st.data())
@settings(max_examples=150, deadline=None)
def test_pieces_go_where_best_fit_decreasing_puts_them(capacity: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=80))
    expected = plain_best_fit(sizes, capacity)
    array = np.array(sizes)
    found = np.empty_like(array)
    longest_first = np.argsort(-array, kind="stable")
    num_packs = fitting.place.plain(array, longest_first, capacity, found)
    assert found.tolist() == expected
    assert num_packs == len(set(expected))


@given(st.integers(1, 50), st.data())
@settings(max_examples=150, deadline=None)
def test_no_window_needs_more_packs_than_best_fit_decreasing(
    capacity: int, data: st.DataObject
) -> None:
    sizes = np.array(data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=80)))
    packs = pack_window(sizes, capacity)
    assert np.bincount(packs, weights=sizes).max() <= capacity
    assert np.unique(packs).size <= len(set(plain_best_fit(sizes.tolist(), capacity)))
    # Numbered by their first piece: no pack comes before one that began earlier.
    assert list(dict.fromkeys(packs.tolist())) == list(range(int(packs.max()) + 1))


@given(st.integers(1, 300), st.data())
@settings(max_examples=30, deadline=None)
def test_the_compiled_and_the_plain_packing_agree(capacity: int, data: st.DataObject) -> None:
    sizes = np.array(data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=150)))
    longest_first = np.argsort(-sizes, kind="stable")
    for kernel in (fitting.place, fitting.complete):
        plain, compiled = np.empty_like(sizes), np.empty_like(sizes)
        first = kernel.plain(sizes, longest_first, capacity, plain)
        assert kernel.compiled(sizes, longest_first, capacity, compiled) == first
        assert plain.tolist() == compiled.tolist()


def test_three_pieces_to_a_row_do_not_waste_the_third_place() -> None:
    """Nearly three pieces fill a row: best-fit-decreasing pairs the long ones, and loses."""
    sizes = np.random.default_rng(0).integers(480, 880, 6000)
    packed = int(pack_window(sizes, 2048).max()) + 1
    longest_first = np.argsort(-sizes, kind="stable")
    fitted = fitting.place.compiled(sizes, longest_first, 2048, np.empty_like(sizes))
    assert packed < 0.95 * fitted


ORDER = np.array([3, 0, 4, 1, 5, 2, 6, 7])
LENGTHS = np.array([6, 3, 25, 4, 10, 2, 7, 1])


def test_the_packing_never_changes() -> None:
    """Golden: plans that were sealed with these packs must give the same bytes for ever."""
    fitted = best_fit(LENGTHS, ORDER, capacity=10, window=5)
    assert all_held(fitted) == FITTED
    assert fitted.digest == FITTED_DIGEST
    cut = split(LENGTHS, ORDER, capacity=10)
    assert all_held(cut) == CUT
    assert cut.digest == CUT_DIGEST
    sizes = np.arange(400) * 7919 % 977 % 300 + 1
    digest = best_fit(sizes, np.arange(400)[::-1].copy(), capacity=701, window=150).digest
    assert digest == MANY_DIGEST


FITTED = [
    [(3, 0, 4), (0, 0, 6)],
    [(4, 0, 10)],
    [(1, 0, 3), (5, 0, 2)],
    [(2, 0, 10)],
    [(2, 10, 20)],
    [(2, 20, 25)],
    [(6, 0, 7), (7, 0, 1)],
]
FITTED_DIGEST = "2cae840f6b79a59d0452d2eecfa7bf58ae2286a2316ec43cfb6b8912ccc44161"
CUT = [
    [(3, 0, 4), (0, 0, 6)],
    [(4, 0, 10)],
    [(1, 0, 3), (5, 0, 2), (2, 0, 5)],
    [(2, 5, 15)],
    [(2, 15, 25)],
    [(6, 0, 7), (7, 0, 1)],
]
CUT_DIGEST = "1612ec13ac1a93661da26931ba1a1c8eb41bb8040adc0f53ebd6413adb2d7bfa"
MANY_DIGEST = "6a3d1320e44f606b4b0171511e6eca0ec2193e5dd2d911edf43cc471a06da72b"


@given(sources(), st.sampled_from(list(Packing)), st.data())
@settings(max_examples=60, deadline=None)
def test_any_packs_are_found_at_once(
    source: tuple[Integers, int], packing: Packing, data: st.DataObject
) -> None:
    lengths, capacity = source
    packs = pack(lengths, capacity=capacity, packing=packing, key=b"k")
    wanted = data.draw(st.lists(st.integers(0, len(packs) - 1), max_size=8))
    found = packs.pieces(np.array(wanted, dtype=np.int64))
    expected = [(row, *key) for row, number in enumerate(wanted) for key in held(packs, number)]
    columns = (found.rows, found.examples, found.starts, found.stops)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected


@given(sources(), st.sampled_from(list(Packing)), st.data())
@settings(max_examples=60, deadline=None)
def test_marked_tokens_that_follow_another_of_their_piece_are_counted_per_pack(
    source: tuple[Integers, int], packing: Packing, data: st.DataObject
) -> None:
    lengths, capacity = source
    size = int(lengths.sum())
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    measures = Measures.of_masks(lengths, mask)
    rows = SourceRows.packed("source", 0, measures, capacity=capacity, packing=packing)
    assert rows.packs is not None
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    for number, pieces in enumerate(all_held(rows.packs)):
        assert rows.supervised_tokens[number] == sum(
            int(mask[offsets[example] + start + 1 : offsets[example] + stop].sum())
            for example, start, stop in pieces
        )


@given(sources(), st.sampled_from(list(Packing)), st.data())
@settings(max_examples=60, deadline=None)
def test_erasing_moves_nothing_that_survives(
    source: tuple[Integers, int], packing: Packing, data: st.DataObject
) -> None:
    lengths, capacity = source
    packs = pack(lengths, capacity=capacity, packing=packing, key=b"k")
    size = lengths.size
    erased = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    survivors = packs.without(erased)
    assert len(survivors) == len(packs)
    for number, pieces in enumerate(all_held(packs)):
        assert held(survivors, number) == [key for key in pieces if not erased[key[0]]]
    empty = packs.erased_packs(erased)
    assert empty.tolist() == [not pieces for pieces in all_held(survivors)]
    assert (survivors.lengths == 0).tolist() == empty.tolist()


def test_another_key_packs_otherwise_and_the_same_key_the_same() -> None:
    lengths = np.random.default_rng(1).integers(1, 500, 300)
    for packing in PACKED:
        one, again, other = (
            pack(lengths, capacity=512, packing=packing, key=key).digest
            for key in (b"one", b"one", b"other")
        )
        assert one == again != other


def test_windows_are_packed_on_their_own() -> None:
    lengths = np.random.default_rng(2).integers(1, 900, 100)
    order = np.arange(100)
    whole = all_held(best_fit(lengths, order, 512, window=25))
    parts = [
        best_fit(lengths[first : first + 25], order[:25], 512, 25) for first in (0, 25, 50, 75)
    ]
    apart = [
        [(example + 25 * number, start, stop) for example, start, stop in pieces]
        for number, part in enumerate(parts)
        for pieces in all_held(part)
    ]
    assert whole == apart


def test_pieces_of_a_row_attend_to_themselves_alone() -> None:
    lengths = np.array([3, 1, 2])
    assert cu_seqlens(lengths).tolist() == [0, 3, 4, 6]
    assert cu_seqlens(lengths).dtype == np.int32
    assert position_ids(lengths).tolist() == [0, 1, 2, 0, 0, 1]
    assert position_ids(lengths[:0]).size == 0


def test_a_million_documents_are_packed_with_hardly_any_padding() -> None:
    lengths = np.random.default_rng(3).lognormal(5.5, 0.7, 1_000_000).astype(np.int64) + 1
    packs = pack(lengths, capacity=2048, packing=Packing.BEST_FIT, key=b"k")
    assert packs.lengths.sum() == lengths.sum()
    assert packs.padding < Fraction(1, 1000)


@pytest.mark.parametrize(
    ("lengths", "capacity", "window", "reason", "where"),
    [
        ([], 8, 1, Reason.MIX_EMPTY_SOURCE, ""),
        ([4, 0, 0], 8, 1, Reason.MIX_INVALID, "examples[1]"),
        ([4, -3], 8, 1, Reason.MIX_INVALID, "examples[1]"),
        ([4], 0, 1, Reason.MIX_INVALID, "capacity"),
        ([4], (1 << 24) + 1, 1, Reason.MIX_INVALID, "capacity"),
        ([4], 8, 0, Reason.MIX_INVALID, "window"),
        ([4, 1 << 61], 8, 1, Reason.MIX_INVALID, "examples[1]"),
    ],
)
def test_what_cannot_be_packed_is_named(
    lengths: list[int], capacity: int, window: int, reason: Reason, where: str
) -> None:
    array = np.array(lengths, dtype=np.int64)
    with pytest.raises(RecollectError) as caught:
        pack(array, capacity=capacity, packing=Packing.BEST_FIT, key=b"", window=window)
    assert (caught.value.reason, caught.value.where) == (reason, where)


def test_packs_that_are_not_there_are_refused() -> None:
    packs = pack(np.array([4, 4]), capacity=4, packing=Packing.SPLIT, key=b"")
    for wanted in ([2], [0, -1]):
        with pytest.raises(RecollectError) as caught:
            packs.pieces(np.array(wanted))
        assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE
    with pytest.raises(ValueError, match="read-only"):
        packs.stops[0] = 1


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_padding_of_real_rows_is_at_most_two_per_cent(name: str) -> None:
    lengths = public_rows(name).lengths
    packs = pack(lengths, capacity=2048, packing=Packing.BEST_FIT, key=b"real")
    assert packs.lengths.sum() == lengths.sum()
    assert packs.padding <= Fraction(2, 100)
