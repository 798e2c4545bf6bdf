"""Rows: what a source can serve, one row after the other, pass by pass.

A row is one example, or a pack of pieces of several. Every pass serves each row once, in an order
of its own; what has been erased since is replaced in place by the next row of the same pass that
survives, so that nothing else moves.
"""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .measures import Measures
from .packing import Packing, Packs, Pieces, pack
from .permutation import permutation_of
from .survivors import surviving

Integers: TypeAlias = npt.NDArray[np.int64]
Booleans: TypeAlias = npt.NDArray[np.bool_]


class SourceRows:
    """The rows of one source in a plan.

    Args:
        name: name of the source.
        seed: seed of the mix.
        num_rows: rows of one pass.
        packs: what the rows hold; None where a row is an example whose length does not matter.
        measures: lengths of the examples, if they are known.
    """

    def __init__(
        self,
        name: str,
        seed: int,
        num_rows: int,
        packs: Packs | None = None,
        measures: Measures | None = None,
    ) -> None:
        self.name, self.seed, self.num_rows = name, seed, num_rows
        self.packs, self.measures = packs, measures

    @classmethod
    def packed(
        cls, name: str, seed: int, measures: Measures, *, capacity: int, packing: Packing
    ) -> SourceRows:
        """Packs a source; which examples meet does not depend on the seed, so plans share packs."""
        packs = pack(
            measures.lengths, capacity=capacity, packing=packing, key=measures.digest.encode()
        )
        return cls(name, seed, len(packs), packs, measures)

    def restore_keys(
        self, ordinals: Integers, erased: Booleans | None = None
    ) -> tuple[Integers, Integers]:
        """Passes and rows that ordinals stand for.

        Args:
            ordinals: how many rows of the source came before, in the whole plan.
            erased: for each row, whether nothing of it is left; not all of them.
        """
        passes, places = np.divmod(ordinals, self.num_rows)
        rows = np.empty_like(places)
        if not passes.size:
            return passes, rows
        first, last = int(passes.min()), int(passes.max())
        # Rows that are asked for together are of one pass most of the time.
        for number in [first] if first == last else np.unique(passes).tolist():
            here = slice(None) if first == last else passes == number
            order = permutation_of(self.seed, self.name, number, self.num_rows)
            if erased is None:
                rows[here] = order.forward(places[here])
            else:
                rows[here] = surviving(order, places[here], erased)
        return passes, rows

    @cached_property
    def tokens(self) -> Integers:
        """Tokens of each row."""
        return self._packs.lengths

    @cached_property
    def supervised_tokens(self) -> Integers:
        """Tokens of each row that carry loss."""
        packs = self._packs
        assert self.measures is not None
        return packs.per_pack(self.measures.supervised(packs.examples, packs.starts, packs.stops))

    def in_order(self, values: Integers, first: int, last: int) -> Integers:
        """A value of the rows that are served as ordinals first … last - 1."""
        found = [np.empty(0, dtype=np.int64)]
        while first < last:
            number, place = divmod(first, self.num_rows)
            size = min(last - first, self.num_rows - place)
            order = permutation_of(self.seed, self.name, number, self.num_rows)
            places = np.arange(place, place + size, dtype=np.int64)
            found.append(values[order.forward(places)].astype(np.int64, copy=False))
            first += size
        return np.concatenate(found)

    def pieces(self, rows: Integers) -> Pieces:
        """What rows hold."""
        return self._packs.pieces(rows)

    @property
    def _packs(self) -> Packs:
        if self.packs is None:
            raise ValueError(f"the lengths of {self.name} were not given")
        return self.packs
