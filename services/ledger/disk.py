"""The disk: the few system calls that durability rests on, with their failures named.

An `OSError` becomes a `RecollectError` here and nowhere else, so that a full disk reads the same
wherever it is met.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...mixer.errors import Reason, RecollectError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No space, no quota, and a file larger than the process may write: nothing more fits."""


@contextmanager
def storage(where: Path) -> Iterator[None]:
    """Translates what the disk refuses into `STORAGE_FULL` or `STORAGE_FAILED`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, where) from error


def storage_error(error: OSError, where: Path) -> RecollectError:
    """The refusal that an error of the disk stands for."""
    if error.errno in _FULL:
        return RecollectError(
            Reason.STORAGE_FULL,
            f"nothing more can be written ({os.strerror(error.errno or 0)})",
            where=str(where),
            fix="Free some space and try again; nothing was changed.",
        )
    return RecollectError(
        Reason.STORAGE_FAILED,
        os.strerror(error.errno) if error.errno else "the disk failed",
        where=str(where),
        fix="Check the disk and the permissions of the data folder.",
    )


def write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Writes everything at an offset; the kernel may take it in parts."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def make_folder(folder: Path) -> None:
    """Makes a folder and what leads to it, all of it durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: without it a new file can vanish in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Creates a file with its content and syncs both; leaves nothing behind if that fails.

    Raises:
        FileExistsError: there is such a file already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
