"""Writing a cache file so that it is there whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..ledger import make_folder, storage, sync_folder


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `path`, which takes its place once it is on the disk.

    Raises:
        RecollectError: STORAGE_FULL, STORAGE_FAILED; nothing is left behind.
    """
    with storage(path):
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
            sync_folder(path.parent)
        finally:
            Path(name).unlink(missing_ok=True)
