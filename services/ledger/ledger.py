"""The ledger: an append-only file of what happened, written by one process at a time.

`append` returns when its entry is on the disk and not before. Threads that append at the same time
share one fsync (group commit): whoever holds the commit lock writes everything that waits.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ...mixer.errors import Reason, RecollectError
from ..durable import make_folder, storage, storage_error, sync_folder, write_all
from .chain import MAX_BODY_BYTES, MAX_LINE_BYTES, corrupt, walk
from .entry import GENESIS, JSON, BrokenChain, Entry, canonical_json, make_entry, parse_line
from .lock import FolderLock

FILE = "ledger.jsonl"
LOCK_FILE = "ledger.lock"

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Request:
    kind: str
    actor: str
    body: Mapping[str, JSON]
    entry: Entry | None = None
    error: RecollectError | None = None

    @property
    def is_done(self) -> bool:
        return self.entry is not None or self.error is not None


@dataclass(kw_only=True, slots=True)
class _Tail:
    """Where the chain ends."""

    size: int = 0
    digest: str = GENESIS
    offsets: array[int] = field(default_factory=lambda: array("q"))


MAX_ACTOR_CHARACTERS = 128
MAX_DEPTH = 32
"""Levels of nesting in a body; far below what a parser can take when the ledger is opened."""


class Ledger:
    """The single writer of `ledger.jsonl` in its folder."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        """Use `Ledger.open`."""
        self.path = path
        self.num_bytes_cut = 0
        """Bytes of a half-written last line that `open` removed: never an acknowledged entry."""
        self._clock = clock
        self._queue: list[_Request] = []
        self._queue_lock = threading.Lock()
        self._commit_lock = threading.Lock()
        self._failure: RecollectError | None = None
        self._is_closed = False
        self._lock = FolderLock(path.with_name(LOCK_FILE))
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                sync_folder(path.parent)
                self._tail = self._recover()
            except BaseException:
                os.close(self._descriptor)
                raise
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def open(
        cls, folder: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> Ledger:
        """Opens the ledger in a folder for writing, and creates both where there are none.

        Every line is checked. A half-written last line, which a crash leaves, is cut off and its
        length kept in `num_bytes_cut`.

        Raises:
            RecollectError: STORAGE_LOCKED, LEDGER_CORRUPT, STORAGE_FULL, STORAGE_FAILED.
        """
        path = Path(folder) / FILE
        with storage(path):
            make_folder(path.parent)
            return cls(path, clock)

    @staticmethod
    def read(folder: Path) -> Iterator[Entry]:
        """The entries of the ledger in a folder, checked one by one; takes no lock, writes nothing.

        For auditors, also while a service is running. A last line without its end is left out.

        Raises:
            RecollectError: LEDGER_CORRUPT at the first line that breaks the chain.
        """
        path = Path(folder) / FILE
        with storage(path), path.open("rb") as file:
            for entry, _, _ in walk(file, path, os.fstat(file.fileno()).st_size):
                yield entry

    @property
    def num_entries(self) -> int:
        """How many entries there are."""
        return len(self._tail.offsets)

    @property
    def head(self) -> str:
        """Digest of the last entry: equal heads, equal ledgers."""
        return self._tail.digest

    def append(self, kind: str, body: Mapping[str, JSON], *, actor: str) -> Entry:
        """Adds an entry and returns it once it is durable. May be called from any thread.

        Raises:
            RecollectError: STORAGE_FULL, with the ledger as it was; STORAGE_FAILED;
                INPUT_TOO_LARGE.
            TypeError, ValueError: the body is not JSON.
        """
        # Written and read back: the entry then holds what an auditor will read, and nothing that
        # the caller may still change.
        _check_actor(actor)
        frozen = _freeze(body)
        request = _Request(kind=kind, actor=actor, body=frozen)
        with self._queue_lock:
            self._queue.append(request)
        with self._commit_lock:
            if not request.is_done:
                with self._queue_lock:
                    group, self._queue = self._queue, []
                self._commit(group)
        if request.entry is None:
            raise request.error or RuntimeError("an entry was neither written nor refused")
        return request.entry

    def entries(self, first: int = 0) -> Iterator[Entry]:
        """The entries from a sequence number on, as of this call, checked while they are read."""
        tail = self._tail
        last = len(tail.offsets)
        if not 0 <= first < last:
            return
        size = tail.size
        with storage(self.path), self.path.open("rb") as file:
            file.seek(tail.offsets[first])
            for entry, _, _ in walk(file, self.path, size, first=first):
                yield entry

    def verify(self) -> int:
        """Checks every line again and returns how many there are.

        Raises:
            RecollectError: LEDGER_CORRUPT naming the first line that breaks the chain.
        """
        with self._commit_lock:
            expected, head = self.num_entries, self.head
            count, digest = 0, GENESIS
            for entry in self.entries():
                count, digest = count + 1, entry.digest
        if (count, digest) != (expected, head):
            raise corrupt(self.path, count, "is missing or not the one that was written")
        return count

    def close(self) -> None:
        """Lets go of the file and of the lock; a second call does nothing."""
        with self._commit_lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._descriptor)
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _commit(self, group: list[_Request]) -> None:
        try:
            entries, lines = self._prepare(group)
            self._write(b"".join(lines))
        except RecollectError as error:
            _refuse(group, error)
            return
        except BaseException:
            # An interrupt, or a clock that fails: the others must not wait for ever.
            self._take_back()
            _refuse(group, RecollectError(Reason.INTERNAL, "the write was broken off"))
            raise
        for request, entry, line in zip(group, entries, lines, strict=True):
            self._tail.offsets.append(self._tail.size)
            self._tail.size += len(line)
            self._tail.digest = entry.digest
            request.entry = entry

    def _prepare(self, group: list[_Request]) -> tuple[list[Entry], list[bytes]]:
        if self._is_closed:
            raise RecollectError(
                Reason.STORAGE_FAILED, "the ledger is closed", where=str(self.path)
            )
        if self._failure is not None:
            raise self._failure
        entries: list[Entry] = []
        previous = self._tail.digest
        for request in group:
            entry = make_entry(
                sequence=self.num_entries + len(entries),
                time=self._clock(),
                kind=request.kind,
                actor=request.actor,
                body=request.body,
                previous=previous,
            )
            entries.append(entry)
            previous = entry.digest
        return entries, [entry.to_line() + b"\n" for entry in entries]

    def _write(self, lines: bytes) -> None:
        try:
            write_all(self._descriptor, lines, self._tail.size)
            os.fsync(self._descriptor)
        except OSError as error:
            self._take_back()
            raise storage_error(error, self.path) from error

    def _take_back(self) -> None:
        # After a failed fsync the kernel may have dropped the pages and forgotten the error, so
        # the file counts as sound only if cutting it back is itself proven durable.
        try:
            os.ftruncate(self._descriptor, self._tail.size)
            os.fsync(self._descriptor)
        except OSError as error:
            self._failure = RecollectError(
                Reason.STORAGE_FAILED,
                "a failed write could not be taken back, so nothing more is written"
                f" ({os.strerror(error.errno or 0)})",
                where=str(self.path),
                fix="Repair the disk and start the service again.",
            )

    def _recover(self) -> _Tail:
        tail = _Tail()
        size = os.fstat(self._descriptor).st_size
        with self.path.open("rb") as file:
            for entry, start, end in walk(file, self.path, size):
                tail.offsets.append(start)
                tail.size, tail.digest = end, entry.digest
            file.seek(tail.size)
            torn = file.read(MAX_LINE_BYTES + 1)
        if torn:
            self._mend(tail, torn)
        return tail

    def _mend(self, tail: _Tail, torn: bytes) -> None:
        number = len(tail.offsets)
        with suppress(BrokenChain):
            entry = parse_line(torn, sequence=number, previous=tail.digest)
            return self._complete(tail, entry, torn)
        _log.warning("%s: cut off %d bytes of a half-written line", self.path, len(torn))
        self.num_bytes_cut = len(torn)
        os.ftruncate(self._descriptor, tail.size)
        os.fsync(self._descriptor)

    def _complete(self, tail: _Tail, entry: Entry, line: bytes) -> None:
        # Only the line feed is missing. Keeping an entry that was never acknowledged does no
        # harm; dropping one that was would.
        write_all(self._descriptor, b"\n", tail.size + len(line))
        os.fsync(self._descriptor)
        tail.offsets.append(tail.size)
        tail.size, tail.digest = tail.size + len(line) + 1, entry.digest


def _check_actor(actor: str) -> None:
    if len(actor) <= MAX_ACTOR_CHARACTERS and actor.isprintable():
        return
    raise RecollectError(
        Reason.INPUT_MALFORMED,
        f"an actor of {len(actor):,} characters cannot be recorded",
        where="actor",
        fix=f"Give a printable name of at most {MAX_ACTOR_CHARACTERS} characters.",
    )


def _depth(value: JSON) -> int:
    """Levels of nesting, counted without recursion: what comes in may be made to exhaust it."""
    deepest, level = 0, [value]
    while level and deepest <= MAX_DEPTH:
        deepest += 1
        level = [
            inner
            for item in level
            if isinstance(item, Mapping | list | tuple)
            for inner in (item.values() if isinstance(item, Mapping) else item)
        ]
    return deepest


def _freeze(body: Mapping[str, JSON]) -> Mapping[str, JSON]:
    if _depth(dict(body)) > MAX_DEPTH:
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            f"a body is nested more than {MAX_DEPTH} levels deep",
            fix="Flatten it.",
        )
    text = canonical_json(body)
    if len(text) > MAX_BODY_BYTES:
        raise RecollectError(
            Reason.INPUT_TOO_LARGE,
            f"a body of {len(text)} bytes exceeds the {MAX_BODY_BYTES} that an entry may hold",
            fix="Write it as several entries.",
        )
    frozen: Mapping[str, JSON] = json.loads(text)
    return frozen


def _refuse(group: list[_Request], error: RecollectError) -> None:
    for request in group:
        request.error = error
