"""De-identifies lines of JSON in this process, or in several that may die."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from ..mixer.errors import Reason, RecollectError
from .deid_rows import Answer, Answered, RowDeidentifier, RowLayout, RowOptions
from .deid_second_pass import SecondPass
from .policy_version import PolicyVersion

_AHEAD = 4
"""Groups under way for each process: memory stays flat, however long the file."""
_worker: RowDeidentifier | RecollectError | None = None


def _start(options: RowOptions) -> None:
    global _worker
    try:
        _worker = RowDeidentifier(options)
    except RecollectError as error:
        # Told with the first group: a pool whose process fails to start says nothing but that.
        _worker = error


def _work(lines: list[bytes]) -> list[Answer]:
    if isinstance(_worker, RecollectError):
        raise _worker
    assert _worker is not None
    return _worker.answers(lines)


class RowPool:
    """The engine that ships, in a number of processes; 1 works in this one."""

    def __init__(self, options: RowOptions, workers: int) -> None:
        rule = options.policy.k_anonymity
        self._options = replace(options, draft=rule is not None)
        self._workers = workers
        self.second = None if rule is None else SecondPass(options, rule)

    @property
    def digest(self) -> str:
        """Equal digest, equal answers."""
        return self._options.digest

    @property
    def layout(self) -> RowLayout:
        """What of a row is read and written."""
        return self._options

    @property
    def key_id(self) -> str:
        """Stands for the key of the stand-ins."""
        return self._options.key_id

    @property
    def policy(self) -> PolicyVersion:
        """What the answers are made by."""
        return PolicyVersion.of(self._options.policy)

    def answers(self, groups: Iterator[list[bytes]]) -> Generator[Answered, None, None]:
        """Each group of lines, in order, with an answer for each of its lines.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED where the self-test fails.
        """
        if self._workers <= 1:
            rows = RowDeidentifier(self._options)
            for group in groups:
                yield group, rows.answers(group)
            return
        with _Processes(self._workers, self._options) as processes:
            under_way: deque[tuple[list[bytes], Future[Any]]] = deque()
            for group in groups:
                under_way.append((group, processes.submit(group)))
                if len(under_way) >= self._workers * _AHEAD:
                    yield processes.answered(*under_way.popleft())
            while under_way:
                yield processes.answered(*under_way.popleft())


class _Processes:
    """Processes that work; when one dies, the group that killed it is lost, and no other."""

    def __init__(self, workers: int, options: RowOptions) -> None:
        self._workers = workers
        self._options = options
        self._pool = self._new(workers)

    def __enter__(self) -> _Processes:
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

    def answered(self, group: list[bytes], future: Future[Any]) -> Answered:
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
