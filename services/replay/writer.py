"""The writer: takes the examples of one ingest and commits them all or none.

The files of an ingest are written and synced first, under a name that says they are pending. One
ledger entry then lists all of them: that is the commit. The renaming that follows only makes it
visible to people who look at the folder, and is caught up on at the next start if a crash comes
first. So a pending file without an entry is a broken ingest and may go, while a file with its final
name and no entry means that the ledger was cut, and is never removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example
from ..durable import make_folder, storage, sync_folder, write_durably
from .identity import IdentitySet
from .key import to_utf8
from .manifest import SegmentManifest
from .segment import encode, num_characters

PENDING = ".pending"
MAX_ROWS = 8192
"""Examples in a segment at most: what has to fit into memory at once."""
MAX_CHARACTERS = 4 * 2**20
"""Characters after which a segment is closed."""

Commit = Callable[[Sequence[SegmentManifest]], None]


class SegmentWriter:
    """Writes to one source; as a context manager it commits unless an exception leaves the block.

    It belongs to one thread.
    """

    def __init__(
        self,
        *,
        folder: Path,
        source: str,
        identities: IdentitySet,
        commit: Commit,
        release: Callable[[], None],
        max_rows: int = MAX_ROWS,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        """Use `ReplayStore.writer`."""
        self.source = source
        self.num_added = 0
        """Examples added that the source did not hold."""
        self.num_duplicates = 0
        """Examples refused because the source holds their content already."""
        self._folder = folder
        self._identities = identities
        self._commit = commit
        self._release = release
        self._max_rows = max_rows
        self._max_characters = max_characters
        self._buffer: list[Example] = []
        self._num_characters = 0
        self._written: list[SegmentManifest] = []
        self._is_open = True

    def add(self, example: Example) -> bool:
        """Takes an example; False where the source holds its content already.

        Raises:
            RecollectError: SOURCE_CONFLICT, INPUT_ENCODING, STORAGE_FULL, STORAGE_FAILED.
        """
        if example.source != self.source:
            raise RecollectError(
                Reason.SOURCE_CONFLICT,
                f"an example of {example.source[:80]!r} cannot be added to {self.source!r}",
                where=str(example.pointer),
            )
        to_utf8(f"{example.pointer.file}{example.subject}{example.policy}")
        for message in example.messages:
            to_utf8(message.content)
        if not self._identities.add(example.example_id):
            self.num_duplicates += 1
            return False
        self._buffer.append(example)
        self._num_characters += num_characters(example)
        self.num_added += 1
        if len(self._buffer) >= self._max_rows or self._num_characters >= self._max_characters:
            self._flush()
        return True

    def commit(self) -> tuple[SegmentManifest, ...]:
        """Makes everything added since the last commit durable and visible, in one step.

        Raises:
            RecollectError: STORAGE_FULL, with none of it in the store; STORAGE_FAILED.
        """
        try:
            self._flush()
        except BaseException:
            self.abort()
            raise
        # From here on the files belong to the ledger: unless it says that it took the entry back,
        # only the next start can tell whether they are committed.
        segments, self._written = tuple(self._written), []
        try:
            if segments:
                self._commit(segments)
        except RecollectError as error:
            self._identities.forget()
            if error.reason is Reason.STORAGE_FULL:
                self._remove(segments)
            raise
        self._identities.keep()
        return segments

    def abort(self) -> None:
        """Drops everything added since the last commit."""
        self._identities.forget()
        self._buffer.clear()
        self._num_characters = 0
        self._remove(self._written)
        self._written = []

    def close(self) -> None:
        """Drops what is not committed and lets the next writer in."""
        if self._is_open:
            self._is_open = False
            self.abort()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.commit()
        finally:
            self.close()

    def _flush(self) -> None:
        if not self._buffer:
            return
        manifest, content = encode(self._buffer)
        path = pending_path(self._folder, manifest)
        with storage(path):
            make_folder(path.parent)
            path.unlink(missing_ok=True)
            write_durably(path, content)
        self._written.append(manifest)
        self._buffer.clear()
        self._num_characters = 0

    def _remove(self, segments: Sequence[SegmentManifest]) -> None:
        for manifest in segments:
            with suppress(OSError):
                pending_path(self._folder, manifest).unlink(missing_ok=True)


def pending_path(folder: Path, manifest: SegmentManifest) -> Path:
    """Where a segment lies before its commit."""
    return folder / (manifest.path + PENDING)


def publish(folder: Path, manifest: SegmentManifest) -> None:
    """Gives a committed segment its final name; does nothing where it has it."""
    path = folder / manifest.path
    with suppress(FileNotFoundError):
        os.rename(pending_path(folder, manifest), path)
        sync_folder(path.parent)
