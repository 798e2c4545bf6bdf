"""Runs: what the ledger says about trainings, and the entries that trainings add to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from ...mixer.errors import Reason, RecollectError
from ..ledger import JSON, Kind
from .progress import Progress

ACTOR = "trainer"
AMOUNTS = ("counts", "tokens", "supervised_tokens")
"""What an acknowledgement says of each source."""


class RunEntry(Protocol):
    """What the run book reads of a ledger entry."""

    @property
    def sequence(self) -> int:
        """How many entries came before it."""
        ...

    @property
    def kind(self) -> str:
        """What happened."""
        ...

    @property
    def body(self) -> Mapping[str, JSON]:
        """The details."""
        ...

    @property
    def digest(self) -> str:
        """Its digest, in hex, which the next entry is chained to."""
        ...


class RunLedger(Protocol):
    """What the run book needs of the ledger."""

    def entries(self, first: int = 0) -> Iterator[RunEntry]:
        """Every entry from a sequence number on."""
        ...

    def append(self, kind: Kind, body: Mapping[str, JSON], *, actor: str) -> RunEntry:
        """Appends durably; thread-safe."""
        ...


@dataclass(kw_only=True, slots=True)
class Run:
    """One training."""

    started: Mapping[str, JSON]
    finished: Mapping[str, JSON] | None = None
    progress: Progress = field(default_factory=Progress)
    acknowledged: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in AMOUNTS}
    )
    """What was acknowledged of each source so far, by what it is counted in."""

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
        self._counting = Lock()
        # Ranks acknowledge at the same time and may share one fsync; one rank waits for itself.
        self._locks: defaultdict[tuple[str, int], Lock] = defaultdict(Lock)
        # Told by the ledger's entries themselves: its length and its head change one by one.
        self._head: tuple[int, bytes] = (0, b"")
        self._head_lock = Lock()
        for entry in ledger.entries():
            self._see(entry)
            self._project(entry.kind, entry.body)

    @property
    def ledger_head(self) -> tuple[int, bytes]:
        """A length of the ledger and the digest of its last entry then.

        All that this book has written so far is among those entries.
        """
        return self._head

    def require(self, length: int, head: bytes) -> None:
        """Checks that the ledger is the one that a trainer has heard of, or went on from there.

        Raises:
            RecollectError: RUN_CONFLICT if it is another one, such as a copy from before.
        """
        if not length:
            return
        entry = next(self._ledger.entries(length - 1), None) if length > 0 else None
        if entry is None or bytes.fromhex(entry.digest) != head:
            raise RecollectError(
                Reason.RUN_CONFLICT,
                f"The ledger does not hold the {length} entries that this trainer was told of.",
                where="ledger_head",
                fix="Point the trainer at the service that it began with, or restore its ledger: "
                "what was acknowledged since is missing.",
            )

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
    ) -> bool:
        """Records that a rank has trained on a step; durable on return. Whether it was new."""
        progress = self.get(run_id).progress
        with self._locks[run_id, rank]:
            if progress.has(step, rank, world_size):
                return False
            place: dict[str, JSON] = {"step": step, "rank": rank, "world_size": world_size}
            self._append(Kind.BATCH_ACKNOWLEDGED, {"run_id": run_id, **place, **body})
            return True

    def acknowledged(self, run_id: str) -> Mapping[str, Mapping[str, int]]:
        """What was acknowledged of each source: `counts`, `tokens`, `supervised_tokens`."""
        with self._counting:
            return {
                name: dict(amounts) for name, amounts in self._runs[run_id].acknowledged.items()
            }

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
        self._see(self._ledger.append(kind, body, actor=ACTOR))
        self._project(kind, body)

    def _see(self, entry: RunEntry) -> None:
        with self._head_lock:
            self._head = max(self._head, (entry.sequence + 1, bytes.fromhex(entry.digest)))

    def _project(self, kind: str, body: Mapping[str, JSON]) -> None:
        if kind == Kind.RUN_STARTED:
            self._runs[str(body["run_id"])] = Run(started=body)
        elif kind == Kind.RUN_FINISHED:
            self._runs[str(body["run_id"])].finished = body
        elif kind == Kind.BATCH_ACKNOWLEDGED:
            step, rank, world_size = (_int(body[name]) for name in ("step", "rank", "world_size"))
            run = self._runs[str(body["run_id"])]
            run.progress.add(step, rank, world_size)
            with self._counting:
                for name, amounts in run.acknowledged.items():
                    # A ledger of an earlier version says nothing of tokens.
                    amounts.update(_amounts(body.get(name, {})))


def _amounts(value: JSON) -> dict[str, int]:
    if not isinstance(value, dict):
        raise RecollectError(Reason.LEDGER_CORRUPT, "An acknowledgement holds no amounts.")
    return {source: _int(amount) for source, amount in value.items()}


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
