"""Edge colouring of regular bipartite graphs: the theorem that deals rows to ranks evenly.

König (Über Graphen und ihre Anwendung auf Determinantentheorie und Mengenlehre, 1916): the edges of
a bipartite multigraph with W edges at every vertex can be coloured with W colours so that no two at
a vertex agree. Where W is even, walking along cycles and giving every other edge to one half halves
it (Gabow, Using Euler partitions to edge color bipartite multigraphs, 1976). Where W is odd, a
perfect matching becomes a colour of its own; Alon (A simple algorithm for edge-coloring bipartite
multigraphs, 2003) finds it by halving as well. For E edges that takes E·log W steps, or E·log E for
each odd number that is met on the way.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .kernel import Kernel

Integers: TypeAlias = npt.NDArray[np.int64]
Vertices: TypeAlias = npt.NDArray[np.int32]
Marks: TypeAlias = npt.NDArray[np.bool_]


def edge_colours(left: Vertices, right: Vertices, num_colours: int) -> Vertices:
    """Colours the edges of a graph so that no two at a vertex agree.

    Args:
        left: int32[n], left end of each edge; each of 0 … n/num_colours - 1 equally often.
        right: int32[n], right end of each edge, likewise.
        num_colours: edges at each vertex.

    Returns:
        int32[n], the colour of each edge, from 0.
    """
    num_vertices = len(left) // num_colours
    colours = np.zeros(len(left), dtype=np.int32)
    parts = [(np.arange(len(left)), 0, num_colours)]
    while parts:
        edges, first, degree = parts.pop()
        if degree < 2:
            colours[edges] = first
        elif degree % 2:
            chosen = _matching(left[edges], right[edges], num_vertices)
            colours[edges[chosen]] = first
            parts.append((edges[~chosen], first + 1, degree - 1))
        else:
            half = _halved(left[edges], right[edges], num_vertices)
            parts.append((edges[half], first, degree // 2))
            parts.append((edges[~half], first + degree // 2, degree // 2))
    return colours


def _matching(left: Vertices, right: Vertices, num_vertices: int) -> Marks:
    """A perfect matching, by Alon's method.

    Take each edge so often, and any matching as a makeshift so often, that every vertex has a power
    of two of them, more than there are makeshift ones at all. Halve, and keep the half with fewer
    makeshift ones, until every vertex has one: then none of them is a makeshift.
    """
    degree = len(left) // num_vertices
    num_halvings = (degree * num_vertices).bit_length()
    ends = np.arange(num_vertices, dtype=np.int32)
    left, right = np.concatenate((left, ends)), np.concatenate((right, ends))
    times, makeshift = divmod(1 << num_halvings, degree)
    copies = np.full(len(left), times, dtype=np.int64)
    copies[-num_vertices:] = makeshift
    for _ in range(num_halvings):
        odd = np.flatnonzero(copies & 1)
        half = _halved(left[odd], right[odd], num_vertices)
        is_makeshift = odd >= len(left) - num_vertices
        fewer = np.count_nonzero(half & is_makeshift) * 2 <= np.count_nonzero(is_makeshift)
        copies >>= 1
        copies[odd[half == fewer]] += 1
    chosen: Marks = copies[:-num_vertices] == 1
    return chosen


def _halved(left: Vertices, right: Vertices, num_vertices: int) -> Marks:
    """Marks half of the edges at each vertex, of which there are an even number."""
    run = _HALVE.of_size(len(left))
    return run(left, right, num_vertices)


def _halve(left: Vertices, right: Vertices, num_vertices: int) -> Marks:
    """Pairs the edges at each vertex; along the cycles that result, every other edge is marked."""
    beside_left = np.empty(len(left), dtype=np.int32)
    beside_right = np.empty(len(left), dtype=np.int32)
    single_left = np.full(num_vertices, -1, dtype=np.int32)
    single_right = np.full(num_vertices, -1, dtype=np.int32)
    for edge in range(len(left)):
        here, there = left[edge], right[edge]
        if single_left[here] < 0:
            single_left[here] = edge
        else:
            beside_left[edge] = single_left[here]
            beside_left[single_left[here]] = edge
            single_left[here] = -1
        if single_right[there] < 0:
            single_right[there] = edge
        else:
            beside_right[edge] = single_right[there]
            beside_right[single_right[there]] = edge
            single_right[there] = -1
    marked = np.zeros(len(left), dtype=np.bool_)
    seen = np.zeros(len(left), dtype=np.bool_)
    for start in range(len(left)):
        edge = start
        while not seen[edge]:
            marked[edge] = True
            beside = beside_left[edge]
            seen[edge] = True
            seen[beside] = True
            edge = beside_right[beside]
    return marked


_HALVE = Kernel(_halve)
