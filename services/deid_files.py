"""De-identifies the rows of a JSONL file, in several processes, and goes on where it was cut off.

A row comes out with its text replaced, or goes into quarantine by its number and the reason. What
is written until the end lies beside the result under other names, so that a file under its own name
is always whole.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..mixer.errors import Reason, RecollectError
from .deid_rows import Answer, RowDeidentifier, RowOptions
from .durable import atomic_file, storage

_GROUP_ROWS = 64
_AHEAD = 4
"""Groups under way for each process: memory stays flat, however long the file."""
_Answered = tuple[list[bytes], list[Answer]]


@dataclass(kw_only=True)
class Applied:
    """What became of a file."""

    num_rows: int = 0
    num_written: int = 0
    num_bytes: int = 0
    """Bytes of the input that were read."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Rows by reason."""
    findings: Counter[str] = field(default_factory=Counter)
    """What was replaced, by type."""


_worker: RowDeidentifier | None = None


def _start(options: RowOptions) -> None:
    global _worker
    _worker = RowDeidentifier(options)


def _work(lines: list[bytes]) -> list[Answer]:
    assert _worker is not None
    return [_worker(line) for line in lines]


def apply_rows(
    source: Path,
    target: Path,
    options: RowOptions,
    *,
    workers: int = 1,
    tell: Callable[[Applied], None] = lambda _: None,
) -> Applied:
    """De-identifies a JSONL file; `target` appears when every row was dealt with.

    Rows that could not be are listed in `target` with `.quarantine.jsonl` behind it, by number and
    reason. Called again after a crash, it goes on behind the last group that was finished, if
    neither input, policy, key nor fields have changed since.

    Args:
        source: one JSON object a line.
        target: where the rows are written.
        options: what of a row is read and written.
        workers: processes that work; 1 works in this one.
        tell: called with the counts so far after every group.

    Raises:
        RecollectError: INPUT_NOT_FOUND; CONFIG_INVALID where both are one file; STORAGE_FULL;
            STORAGE_FAILED; DEIDENTIFICATION_FAILED where the self-test fails.
    """
    if not source.is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND, "there is no such file", where=str(source), fix="Name a file."
        )
    if target.exists() and target.samefile(source):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "the result would take the place of the input",
            where=str(target),
            fix="Name another file; delete the input yourself once you have looked at the result.",
        )
    job = _Job(source, target, options)
    with storage(target), ExitStack() as stack:
        done = job.resume()
        lines = stack.enter_context(source.open("rb"))
        out = stack.enter_context(job.part.open("r+b"))
        lost = stack.enter_context(job.lost.open("r+b"))
        lines.seek(done.num_bytes)
        out.seek(0, os.SEEK_END)
        lost.seek(0, os.SEEK_END)
        results = _results(lines, options, workers, stack)
        for group, answers in results:
            for line, (new, told) in zip(group, answers, strict=True):
                done.num_rows += 1
                done.num_bytes += len(line)
                if new is not None:
                    done.num_written += 1
                    done.findings.update(told)
                    out.write(new.encode() + b"\n")
                elif line.strip():
                    done.quarantined[told["reason"]] += 1
                    entry = {"row": done.num_rows, **told}
                    lost.write(json.dumps(entry).encode() + b"\n")
            job.note(done, out, lost)
            tell(done)
    with storage(target):
        job.finish(done)
    return done


def _results(
    lines: IO[bytes], options: RowOptions, workers: int, stack: ExitStack
) -> Iterator[_Answered]:
    groups = iter(lambda: list(islice(lines, _GROUP_ROWS)), [])
    if workers <= 1:
        rows = RowDeidentifier(options)
        for group in groups:
            yield group, [rows(line) for line in group]
        return
    pool = stack.enter_context(_Pool(workers, options))
    under_way: deque[tuple[list[bytes], Future[Any]]] = deque()
    for group in groups:
        under_way.append((group, pool.submit(group)))
        if len(under_way) >= workers * _AHEAD:
            yield pool.answered(*under_way.popleft())
    while under_way:
        yield pool.answered(*under_way.popleft())


class _Pool:
    """Processes that work; when one dies, the group that killed it is lost, and no other."""

    def __init__(self, workers: int, options: RowOptions) -> None:
        self._workers = workers
        self._options = options
        self._pool = self._new(workers)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _new(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(self._options,),
        )

    def submit(self, group: list[bytes]) -> Future[Any]:
        """Hands a group to a process."""
        try:
            return self._pool.submit(_work, group)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._new(self._workers)
            return self._pool.submit(_work, group)

    def answered(self, group: list[bytes], future: Future[Any]) -> _Answered:
        """The group and what became of it."""
        try:
            return group, future.result()
        except (BrokenProcessPool, CancelledError):
            # A dead process takes every group under way with it; alone, each shows whether it was
            # the one.
            return group, self._alone(group)

    def _alone(self, group: list[bytes]) -> list[Answer]:
        answers: list[Answer] = []
        pool = self._new(1)
        for line in group:
            try:
                answers += pool.submit(_work, [line]).result()
            except BrokenProcessPool:
                told = {
                    "reason": Reason.DEIDENTIFICATION_FAILED.name,
                    "where": "",
                    "message": "the process that read it died",
                }
                answers.append((None, told))
                pool.shutdown()
                pool = self._new(1)
        pool.shutdown()
        return answers


class _Job:
    """The files of one job, and how far it is."""

    def __init__(self, source: Path, target: Path, options: RowOptions) -> None:
        self._target = target
        self.part = target.with_name(target.name + ".part")
        self.lost = target.with_name(target.name + ".quarantine.part")
        self._state = target.with_name(target.name + ".state")
        stat = source.stat()
        self._name = [str(source.resolve()), stat.st_size, stat.st_mtime_ns, options.digest]

    def resume(self) -> Applied:
        """How far the job was, with the files cut to what was noted."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state["name"] != self._name:
                raise ValueError
            sizes = state["sizes"]
            done = Applied(**state["done"])
            done.quarantined, done.findings = Counter(done.quarantined), Counter(done.findings)
            for path, size in zip((self.part, self.lost), sizes, strict=True):
                if path.stat().st_size < size:
                    raise ValueError
                os.truncate(path, size)
        except (OSError, ValueError, KeyError, TypeError):
            for path in (self.part, self.lost):
                _make_empty(path)
            return Applied()
        return done

    def note(self, done: Applied, out: IO[bytes], lost: IO[bytes]) -> None:
        """Make what was written durable, then say so."""
        for file in (out, lost):
            file.flush()
            os.fsync(file.fileno())
        counts = {
            "num_rows": done.num_rows,
            "num_written": done.num_written,
            "num_bytes": done.num_bytes,
            "quarantined": done.quarantined,
            "findings": done.findings,
        }
        state = {"name": self._name, "sizes": [out.tell(), lost.tell()], "done": counts}
        with atomic_file(self._state) as file:
            file.write(json.dumps(state).encode())

    def finish(self, done: Applied) -> None:
        """Give the files their names."""
        quarantine = self._target.with_name(self._target.name + ".quarantine.jsonl")
        if done.quarantined:
            os.replace(self.lost, quarantine)
        else:
            self.lost.unlink()
            quarantine.unlink(missing_ok=True)
        os.replace(self.part, self._target)
        self._state.unlink(missing_ok=True)


def _make_empty(path: Path) -> None:
    """An empty file that its owner alone may read."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
