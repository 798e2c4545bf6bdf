"""Fitting: which pieces share a row, so that few rows are needed; bin packing in short.

Two ways are tried, and the one with fewer packs is taken. One is best-fit-decreasing (Johnson,
Near-optimal bin packing algorithms, 1973): longest first, each into the fullest pack that still has
room; it needs at most 2/9 more packs than the best packing, and a few. But where nearly three
documents fill a row it wastes the third place. The other therefore fills one pack after another and
looks two pieces ahead for what fills it best, in the spirit of Gupta & Ho (A new heuristic
algorithm for the one-dimensional bin-packing problem, 1999).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .kernel import Kernel

Integers: TypeAlias = npt.NDArray[np.int64]


def pack_window(sizes: Integers, capacity: int) -> Integers:
    """The pack of each piece of a window; packs are numbered by their first piece."""
    longest_first = np.argsort(-sizes, kind="stable")
    placed, completed = np.empty_like(sizes), np.empty_like(sizes)
    num_packs = place.of_size(sizes.size)(sizes, longest_first, capacity, placed)
    num_completed = complete.of_size(sizes.size)(sizes, longest_first, capacity, completed)
    if num_completed < num_packs:
        placed, num_packs = completed, num_completed
    firsts = np.full(num_packs, sizes.size)
    np.minimum.at(firsts, placed, np.arange(sizes.size))
    numbers = np.empty_like(firsts)
    numbers[np.argsort(firsts)] = np.arange(num_packs)
    return numbers[placed]


def _place(sizes: Integers, turns: Integers, capacity: int, packs: Integers) -> int:
    """Puts each piece, in its turn, into the fullest pack with room for it, or opens a new one.

    Packs lie in stacks by the room they have left. A tree of bits over the stacks, whose leaf
    number r says whether stack r holds any, finds the least room that suffices in O(log capacity).
    Writes the pack of each piece and returns the number of packs.
    """
    num_leaves = 1
    while num_leaves <= capacity:
        num_leaves *= 2
    filled = np.zeros(2 * num_leaves, dtype=np.bool_)
    top = np.full(capacity + 1, -1, dtype=np.int64)
    below = np.empty(sizes.size, dtype=np.int64)
    num_packs = 0
    for piece in turns:
        # The first leaf from the piece's size on: up until something lies to the right, then down.
        node = num_leaves + sizes[piece]
        if not filled[node]:
            while node > 1 and (node % 2 == 1 or not filled[node + 1]):
                node //= 2
            if node > 1:
                node += 1
                while node < num_leaves:
                    node *= 2
                    if not filled[node]:
                        node += 1
        if node > 1:
            room = node - num_leaves
            pack = top[room]
            top[room] = below[pack]
            if top[room] < 0:
                filled[node] = False
                while node > 1 and not filled[node ^ 1]:
                    node //= 2
                    filled[node] = False
        else:
            room = capacity
            pack = num_packs
            num_packs += 1
        packs[piece] = pack
        room -= sizes[piece]
        below[pack] = top[room]
        top[room] = pack
        node = num_leaves + room
        while node > 0 and not filled[node]:
            filled[node] = True
            node //= 2
    return num_packs


def _complete(sizes: Integers, turns: Integers, capacity: int, packs: Integers) -> int:
    """Fills one pack after another: the longest piece that is left, then what completes it best.

    That is one piece if it leaves no room, or if a row should hold no more pieces for the mean of
    those that are left; otherwise the longer one of the two that leave the least room between
    them, and of such the one whose length is commonest, so that all lengths run out together.

    Pieces of a length are a queue; the lengths that are left are a list with links both ways, in
    which `nearest` finds the longest that fits (union by halving paths).
    """
    counts, heads = np.zeros(capacity + 2, dtype=np.int64), np.zeros(capacity + 2, dtype=np.int64)
    left, volume = sizes.size, 0
    for turn in range(left):
        size = sizes[turns[turn]]
        if counts[size] == 0:
            heads[size] = turn
        counts[size] += 1
        volume += size
    shorter, longer = np.zeros_like(counts), np.zeros_like(counts)
    nearest = np.arange(capacity + 2)
    last = 0
    for size in range(1, capacity + 2):
        if counts[size] or size > capacity:
            shorter[size], longer[last], last = last, size, size
        else:
            nearest[size] = size - 1
    num_packs = 0
    while left > 0:
        num_packs += 1
        room, most = capacity, capacity * left // volume
        size = shorter[capacity + 1]
        while size > 0:
            packs[turns[heads[size]]] = num_packs - 1
            heads[size] += 1
            counts[size] -= 1
            if counts[size] == 0:
                longer[shorter[size]], shorter[longer[size]] = longer[size], shorter[size]
                nearest[size] = size - 1
            room, most, left, volume = room - size, most - 1, left - 1, volume - size
            size = room
            while nearest[size] != size:
                nearest[size] = nearest[nearest[size]]
                size = nearest[size]
            if size == room or most <= 1:
                continue
            second = room // 2
            while nearest[second] != second:
                nearest[second] = nearest[nearest[second]]
                second = nearest[second]
            first, slack, common = second, room - size, -1
            while second > 0:
                while longer[first] + second <= room:
                    first = longer[first]
                over = room - first - second
                # One piece cannot be both.
                if (first > second or counts[first] > 1) and (
                    over < slack or (over == slack and counts[first] > common)
                ):
                    size, slack, common = first, over, counts[first]
                second = shorter[second]
    return num_packs


place, complete = Kernel(_place), Kernel(_complete)
