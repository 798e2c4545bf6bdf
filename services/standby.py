"""Standing by: a second server that has everything loaded and waits for a data folder to be free.

Loading takes seconds, taking over a fraction of one. The kernel lets the lock of a folder go as
soon as the process that holds it is dead, however it died, so nobody has to decide that it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from .durable import make_folder, storage
from .ledger import LOCK_FILE, FolderLock

FOLDER = "ledger"
TURN_FILE = "standby.lock"
POLL_SECONDS = 0.05
"""How often one that stands by looks whether it is its turn."""


@asynccontextmanager
async def turn(data_folder: Path, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Waits until nobody serves a data folder; whether that was so before `stop` was set.

    Of several that wait, one at a time goes on, for as long as the block lasts.

    Raises:
        RecollectError: STORAGE_FAILED, STORAGE_FULL where the folder cannot be made.
    """
    with storage(data_folder):
        make_folder(data_folder / FOLDER)
    turn_lock = await _free(data_folder / TURN_FILE, stop)
    if turn_lock is None:
        yield False
        return
    try:
        lock = await _free(data_folder / FOLDER / LOCK_FILE, stop)
        if lock is not None:
            # The ledger takes it by itself: this one only looked.
            lock.release()
        yield lock is not None
    finally:
        turn_lock.release()


async def _free(path: Path, stop: asyncio.Event) -> FolderLock | None:
    """A lock, once nobody else has it; None where `stop` is set first."""
    while not stop.is_set():
        try:
            with storage(path):
                return FolderLock(path)
        except RecollectError as error:
            if error.reason is not Reason.STORAGE_LOCKED:
                raise
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL_SECONDS)
    return None
