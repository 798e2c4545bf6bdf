"""Where a demo works: a kept folder, or a temporary one of which nothing remains.

A killed demo cannot tidy up. The next one does it for the dead: temporary folders carry the process
id of their owner, and a kept folder holds a mark, so that it can be begun again. The mark is a lock
as well: a folder is never begun again while its demo lives.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ...mixer.errors import Reason, RecollectError
from ..ledger.lock import FolderLock

_MARK = ".recollect-demo"
_PREFIX = "recollect-demo-"
_LEDGER_LOCK = Path("data") / "ledger" / "ledger.lock"
_DRAIN_SECONDS = 15.0
"""How long to wait for the service of a killed demo: it drains for at most 5 s, then it ends."""
_RETRY_SECONDS = 0.2


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_own_folder(path: Path) -> bool:
    """Whether it is a folder of this user and no link; False if it has just gone."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def remove_abandoned(parent: Path) -> list[Path]:
    """Removes the temporary folders below `parent` whose demos are dead; returns them."""
    removed = []
    for folder in parent.glob(f"{_PREFIX}*"):
        process_id = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not process_id.isdigit() or _is_alive(int(process_id)) or not _is_own_folder(folder):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    return removed


def _unusable(folder: Path, error: OSError) -> RecollectError:
    return RecollectError(
        Reason.CONFIG_INVALID,
        f"the folder cannot be used: {error.strerror or type(error).__name__}.",
        where=str(folder),
        fix="Name an empty or a new folder that you may write to with --keep.",
    )


def _marked(folder: Path) -> FolderLock:
    """Makes the folder, if need be, and takes its mark."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _MARK).exists() and any(folder.iterdir()):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "the folder is not empty and holds no earlier demo.",
                where=str(folder),
                fix="Name an empty or a new folder with --keep.",
            )
        return FolderLock(folder / _MARK)
    except OSError as error:
        raise _unusable(folder, error) from error


def _empty(folder: Path) -> None:
    """Removes everything but the mark, without which the next demo would refuse the folder."""
    for path in folder.iterdir():
        if path.name == _MARK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _empty_unless_served(folder: Path) -> None:
    """Empties the folder, unless the service of the earlier demo still has its ledger."""
    if not (folder / _LEDGER_LOCK).exists():
        _empty(folder)
        return
    lock = FolderLock(folder / _LEDGER_LOCK)
    try:
        _empty(folder)
    finally:
        lock.release()


def _emptied(folder: Path, *, patience_s: float) -> None:
    """Empties the folder once the service of the demo that was killed there has ended."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            _empty_unless_served(folder)
        except RecollectError:
            # STORAGE_LOCKED: it names the process.
            if time.monotonic() >= deadline:
                raise
        except OSError as error:
            # Somebody adds files while they are removed (ENOTEMPTY), or they may not be removed.
            if time.monotonic() >= deadline or isinstance(error, PermissionError):
                raise _unusable(folder, error) from error
        else:
            return
        time.sleep(_RETRY_SECONDS)


def _terminate(number: int, _: FrameType | None) -> None:
    # Once is enough: a second signal must not interrupt the tidying up.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def _tidy_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the block as Ctrl-C does, so that what must be tidied up is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _kept(folder: Path, *, patience_s: float) -> Iterator[Path]:
    mark = _marked(folder)
    try:
        _emptied(folder, patience_s=patience_s)
        yield folder
    finally:
        mark.release()


@contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def workspace(keep: Path | None, *, patience_s: float = _DRAIN_SECONDS) -> Iterator[Path]:
    """A folder for one demo. SIGTERM ends the block with exit code 143, tidied up.

    Args:
        keep: leave everything in this folder; None leaves nothing.
        patience_s: how long to wait until the service of a demo that was killed there has ended.

    Raises:
        RecollectError: CONFIG_INVALID if `keep` holds something else or cannot be written to,
            STORAGE_LOCKED if a demo or its service still works there.
    """
    parent = Path(tempfile.gettempdir())
    remove_abandoned(parent)
    inner = _temporary(parent) if keep is None else _kept(keep, patience_s=patience_s)
    with _tidy_on_sigterm():
        try:
            with inner as folder:
                yield folder
        finally:
            # Again: a service that drained at the beginning may have written behind our back.
            remove_abandoned(parent)
