"""Durable writing: the few system calls that it rests on, with their failures named.

An `OSError` becomes a `RecollectError` here and nowhere else, so that a full disk reads the same
wherever it is met.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..mixer.errors import Reason, RecollectError

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


def write_durably(path: Path, content: bytes) -> None:
    """Creates a file with its content and syncs both; leaves nothing behind if that fails.

    Raises:
        FileExistsError: there is such a file already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
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


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `path`, which takes its place once it is on the disk.

    Only the owner may read the file, and it is there whole or not at all.

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
