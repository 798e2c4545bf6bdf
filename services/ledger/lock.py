"""The lock: one process at a time writes to a data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ...mixer.errors import Reason, RecollectError


class FolderLock:
    """An advisory lock on a file, which the kernel lets go of when its process dies."""

    def __init__(self, path: Path) -> None:
        """Takes the lock or raises STORAGE_LOCKED naming the process that has it."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise RecollectError(
                Reason.STORAGE_LOCKED,
                f"process {holder or '(unknown)'} is using this data folder",
                where=str(path.parent),
                fix="Stop it, or use another folder.",
            ) from None
        self._name_holder()

    def _name_holder(self) -> None:
        # The number only serves the message above, so a full disk must not keep us from opening.
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            return

    def release(self) -> None:
        """Lets the next one in. The file stays: removing it would let two in at once."""
        os.close(self._descriptor)
