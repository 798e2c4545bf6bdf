"""Identities: which examples a source holds already, at 16 bytes each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .key import ID_BYTES

_DTYPE = np.dtype(f"S{ID_BYTES}")


class IdentitySet:
    """A set of example ids: the committed ones sorted in one array, the pending ones in a set."""

    def __init__(self) -> None:
        self._committed: npt.NDArray[np.bytes_] = np.empty(0, dtype=_DTYPE)
        self._pending: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._committed) + len(self._pending)

    def __contains__(self, example_id: str) -> bool:
        key = bytes.fromhex(example_id)
        if key in self._pending:
            return True
        place = int(np.searchsorted(self._committed, np.array(key, dtype=_DTYPE)))
        # Both sides lose the zero bytes at their end here, and only there, so equality holds.
        return place < len(self._committed) and self._committed[place] == key.rstrip(b"\0")

    def add(self, example_id: str) -> bool:
        """Adds an id until `forget` or `keep`; False where it was there already."""
        if example_id in self:
            return False
        self._pending.add(bytes.fromhex(example_id))
        return True

    def forget(self) -> None:
        """Drops what was added since the last `keep`."""
        self._pending.clear()

    def keep(self) -> None:
        """Makes what was added permanent."""
        added = np.array(list(self._pending), dtype=_DTYPE)
        self._committed = np.sort(np.concatenate([self._committed, added]))
        self._pending.clear()

    def load(self, example_ids: Iterable[str]) -> None:
        """Adds ids that are committed."""
        joined = bytes.fromhex("".join(example_ids))
        loaded = np.frombuffer(joined, dtype=_DTYPE)
        self._committed = np.sort(np.concatenate([self._committed, loaded]))
