"""Runs: what the ledger says about trainings, and the entries that trainings add to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from ...mixer.errors import Reason, RecollectError
from ..ledger import JSON, Kind
from .progress import Progress

ACTOR = "trainer"


class RunEntry(Protocol):
    """What the run book reads of a ledger entry."""

    @property
    def kind(self) -> str:
        """What happened."""
        ...

    @property
    def body(self) -> Mapping[str, JSON]:
        """The details."""
        ...


class RunLedger(Protocol):
    """What the run book needs of the ledger."""

    def entries(self, first: int = 0) -> Iterator[RunEntry]:
        """Every entry from a sequence number on."""
        ...

    def append(self, kind: Kind, body: Mapping[str, JSON], *, actor: str) -> object:
        """Appends durably; thread-safe."""
        ...


@dataclass(kw_only=True, slots=True)
class Run:
    """One training."""

    started: Mapping[str, JSON]
    finished: Mapping[str, JSON] | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def plan_id(self) -> str:
        """The plan that it consumes."""
        return str(self.started["plan_id"])


class RunBook:
    """The runs of one ledger: a projection of its entries, and the only writer of them.

    Every method may be called again with the same arguments and then adds nothing, since a trainer
    that lost the answer cannot know whether it was heard. Methods are safe to call from several
    threads.
    """

    def __init__(self, ledger: RunLedger) -> None:
        self._ledger = ledger
        self._runs: dict[str, Run] = {}
        # Ranks acknowledge at the same time and may share one fsync; one rank waits for itself.
        self._locks: defaultdict[tuple[str, int], Lock] = defaultdict(Lock)
        for entry in ledger.entries():
            self._project(entry.kind, entry.body)

    def start(self, run_id: str, body: Mapping[str, JSON]) -> Run:
        """The run, begun if it is new; raises RUN_CONFLICT if it began with something else."""
        started = {"run_id": run_id, **body}
        with self._locks[run_id, -1]:
            run = self._runs.get(run_id)
            if run is None:
                self._append(Kind.RUN_STARTED, started)
            elif run.started != started:
                _refuse_difference(run_id, run.started, started)
            return self._runs[run_id]

    def get(self, run_id: str) -> Run:
        """The run; raises RUN_UNKNOWN."""
        if run_id not in self._runs:
            raise RecollectError(
                Reason.RUN_UNKNOWN,
                f"No run {run_id!r:.80} has begun.",
                where="run_id",
                fix="Call StartRun first.",
            )
        return self._runs[run_id]

    def acknowledge(
        self, run_id: str, *, step: int, rank: int, world_size: int, body: Mapping[str, JSON]
    ) -> None:
        """Records that a rank has trained on a step; durable on return."""
        progress = self.get(run_id).progress
        with self._locks[run_id, rank]:
            if not progress.has(step, rank, world_size):
                place: dict[str, JSON] = {"step": step, "rank": rank, "world_size": world_size}
                self._append(Kind.BATCH_ACKNOWLEDGED, {"run_id": run_id, **place, **body})

    def finish(self, run_id: str, body: Mapping[str, JSON]) -> None:
        """Records the end of a run; raises RUN_CONFLICT if it ended with something else."""
        finished = {"run_id": run_id, **body}
        with self._locks[run_id, -1]:
            run = self.get(run_id)
            if run.finished is None:
                self._append(Kind.RUN_FINISHED, finished)
            elif run.finished != finished:
                _refuse_difference(run_id, run.finished, finished)

    def _append(self, kind: Kind, body: Mapping[str, JSON]) -> None:
        self._ledger.append(kind, body, actor=ACTOR)
        self._project(kind, body)

    def _project(self, kind: str, body: Mapping[str, JSON]) -> None:
        if kind == Kind.RUN_STARTED:
            self._runs[str(body["run_id"])] = Run(started=body)
        elif kind == Kind.RUN_FINISHED:
            self._runs[str(body["run_id"])].finished = body
        elif kind == Kind.BATCH_ACKNOWLEDGED:
            step, rank, world_size = (_int(body[name]) for name in ("step", "rank", "world_size"))
            self._runs[str(body["run_id"])].progress.add(step, rank, world_size)


def _int(value: JSON) -> int:
    if not isinstance(value, int):
        raise RecollectError(Reason.LEDGER_CORRUPT, "An acknowledgement holds no whole number.")
    return value


def _refuse_difference(run_id: str, old: Mapping[str, JSON], new: Mapping[str, JSON]) -> None:
    names = ", ".join(name for name in new if old.get(name) != new[name])
    raise RecollectError(
        Reason.RUN_CONFLICT,
        f"The run {run_id} is in the ledger with another {names}.",
        where="run_id",
        fix="Choose another run id for another run.",
    )
