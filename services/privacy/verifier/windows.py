"""Windows: how a text longer than a model can read is read whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `first` up to `last`, of which the window answers for `own_first` up to `own_last`."""

    first: int
    last: int
    own_first: int
    own_last: int

    def __len__(self) -> int:
        return self.last - self.first


def windows(length: int, size: int, overlap: int) -> Iterator[Window]:
    """Windows of at most `size` tokens that overlap by at least `overlap`.

    Each token is one window's own, the one in which it has the most context: at least half of the
    overlap to each side, but at the ends of the text. Findings are put together from the tokens of
    all windows, so none is cut where two of them meet, however long it is.
    """
    first = own_first = 0
    while first + size < length:
        # The last window reaches back for as much context as it can hold.
        after = min(first + size - overlap, length - size)
        own_last = (after + first + size) // 2
        yield Window(first, first + size, own_first, own_last)
        first, own_first = after, own_last
    if length:
        yield Window(first, length, own_first, length)
