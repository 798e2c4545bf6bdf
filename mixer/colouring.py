"""Edge colouring of bipartite graphs: the theorem that deals rows to ranks evenly.

König (1916): a bipartite multigraph in which no vertex has more than W edges can be coloured with
W colours so that no two edges at a vertex agree. The proof is the algorithm: colour edge by edge,
and where no colour is free at both ends, exchange two colours along the path that alternates
between them.
"""

from __future__ import annotations

from collections.abc import Sequence


class Colouring:
    """A proper edge colouring, grown edge by edge.

    Args:
        left: left end of each edge, numbered from 0; at most `num_colours` edges per vertex.
        right: right end of each edge, likewise.
        num_colours: how many colours there are.
        preferred: the colour that each edge would rather have; the next free one upwards is taken.
    """

    def __init__(
        self,
        left: Sequence[int],
        right: Sequence[int],
        *,
        num_colours: int,
        preferred: Sequence[int],
    ) -> None:
        self._ends = (left, right)
        self._num_colours = num_colours
        self._preferred = preferred
        # Per side and vertex: the colours that are free, as bits, and the edge of each colour.
        everything = (1 << num_colours) - 1
        self._free = tuple([everything] * (max(side) + 1) for side in self._ends)
        self._edges = tuple([-1] * ((max(side) + 1) * num_colours) for side in self._ends)
        self.colours = [-1] * len(left)
        for edge in range(len(left)):
            self._colour(edge)

    def _colour(self, edge: int) -> None:
        """Gives an edge a colour that is free at both ends, making one free if need be."""
        here, there = self._ends[0][edge], self._ends[1][edge]
        both = self._free[0][here] & self._free[1][there]
        if both:
            preferred = self._preferred[edge]
            upwards = both >> preferred
            self._paint(edge, preferred + _lowest(upwards) if upwards else _lowest(both))
            return
        wanted = _lowest(self._free[0][here])
        self._exchange(there, wanted, _lowest(self._free[1][there]))
        self._paint(edge, wanted)

    def _exchange(self, vertex: int, taken: int, spare: int) -> None:
        """Frees `taken` at a right vertex: swaps it with `spare` along the path that begins there.

        The path cannot come to the left vertex that wants `taken`: it enters left vertices by
        edges of that colour only, and there it is free.
        """
        path, side, colour = [], 1, taken
        while (edge := self._edges[side][vertex * self._num_colours + colour]) >= 0:
            path.append(edge)
            side = 1 - side
            vertex = self._ends[side][edge]
            colour = taken + spare - colour
        colours = [self.colours[edge] for edge in path]
        for edge in path:
            self._wipe(edge)
        for edge, colour in zip(path, colours, strict=True):
            self._paint(edge, taken + spare - colour)

    def _paint(self, edge: int, colour: int) -> None:
        self.colours[edge] = colour
        for side in (0, 1):
            vertex = self._ends[side][edge]
            self._free[side][vertex] ^= 1 << colour
            self._edges[side][vertex * self._num_colours + colour] = edge

    def _wipe(self, edge: int) -> None:
        colour = self.colours[edge]
        for side in (0, 1):
            vertex = self._ends[side][edge]
            self._free[side][vertex] ^= 1 << colour
            self._edges[side][vertex * self._num_colours + colour] = -1


def _lowest(bits: int) -> int:
    """Number of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
