"""A campaign: a trainer and its service are killed at random moments, and the line between lies.

What has to hold afterwards: the trainer was trained on what it would have been trained on had
nothing happened, to the byte, and the ledger says so.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from recollect.services.access import DEFAULT_TENANT, CredentialRegister, Scope
from recollect.services.access.certificates import DevelopmentCA
from recollect.services.ledger import Ledger
from recollect.services.listening import tls_folder
from recollect.services.verification import verify_folder
from recollect.v1.connection import Credentials

from .fleet import Fleet, own_environment, started, wait_for
from .proxy import NOTHING, Odds, Proxy
from .rank import Job, Line, read, run, undisturbed

LONGEST_MOMENT = 0.4
"""Seconds between the trainer's first step after a kill and the next kill, at most."""
STEP_SECONDS = 0.01
RUN_ID = "campaign"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to happen."""

    server_kills: int = 0
    trainer_kills: int = 0
    rotations: int = 0
    up: Odds = NOTHING
    """What happens to what the trainer sends."""
    down: Odds = NOTHING
    """What happens to what it is sent."""

    @property
    def num_events(self) -> int:
        """All of them."""
        return self.server_kills + self.trainer_kills + self.rotations


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What did happen."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    server_back: list[float] = field(default_factory=list)
    """Seconds from the death of a server to the second step that was acknowledged after it: the
    answer to the first may have been on its way."""
    trainer_back: list[float] = field(default_factory=list)
    """Seconds from the death of a trainer to the first step of the next."""
    errors: list[dict[str, str]] = field(default_factory=list)
    """Typed errors that ended a trainer, which was then started again."""
    num_steps: int = 0


class Trainer:
    """The trainer's processes, one after another, and their journal."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lines: list[Line] = []
        self._end = 0
        self._process = self._start()

    def follow(self) -> None:
        """Reads what was written since."""
        more, self._end = read(self.job.journal, self._end)
        self.lines += more

    def kill(self) -> float:
        """Ends it as a power failure would; the time at which it was dead."""
        self._process.kill()
        self._process.join()
        died_at = time.monotonic()
        self.follow()
        return died_at

    def start(self) -> None:
        """Starts the next."""
        self._process = self._start()

    def has_failed(self) -> bool:
        """Whether it ended with a typed error; any other end is a failure of the test."""
        code = self._process.exitcode
        assert code in (None, 3), f"the trainer ended with {code} at step {len(self.lines)}"
        return code == 3

    def steps_after(self, at: float) -> list[float]:
        """When the steps after a moment were acknowledged."""
        self.follow()
        found = []
        for line in reversed(self.lines):
            if line.at <= at:
                break
            found.append(line.at)
        return found[::-1]

    def _start(self) -> BaseProcess:
        return started(_train, self.job)


def _train(job: Job) -> None:
    own_environment()
    run(job)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Where a campaign takes place."""

    data: Path
    addresses: Sequence[str]
    """Where the two servers listen."""
    behind: Sequence[Path | int]
    """The same, for a proxy."""
    logs: Path
    job: Job
    rotate: Callable[[], None] | None = None
    """Replaces the certificates."""


def campaign(scene: Scene, wanted: Wanted, seed: int) -> Outcome:
    """Lets it all happen, and checks what has to hold; raises AssertionError if it does not."""
    dice = random.Random(seed)
    outcome = Outcome(seed=seed)
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(scene.data, scene.addresses, scene.logs))
        proxies = [
            stack.enter_context(
                Proxy(behind, seed=dice.randrange(1 << 32), up=wanted.up, down=wanted.down)
            )
            for behind in scene.behind
        ]
        # Through the proxies, and by the end on its own.
        job = replace(scene.job, address=",".join(proxy.address for proxy in proxies))
        trainer = Trainer(job)
        _wait(trainer, outcome, lambda: len(trainer.lines) > 2)
        for event in _events(wanted, dice):
            time.sleep(dice.uniform(0, LONGEST_MOMENT))
            _happen(event, scene, fleet, trainer, outcome)
        trainer.kill()
        for proxy in proxies:
            outcome.counts.update(proxy.faults)
        expected = _undisturbed(scene, fleet.active.address, len(trainer.lines))
    outcome.num_steps = len(trainer.lines)
    assert [line.step for line in trainer.lines] == list(range(outcome.num_steps))
    assert [(line.digest, line.weights) for line in trainer.lines] == expected
    _check_ledger(scene, [digest for digest, _ in expected])
    return outcome


def _events(wanted: Wanted, dice: random.Random) -> list[str]:
    events = ["server"] * wanted.server_kills
    events += ["trainer"] * wanted.trainer_kills + ["rotation"] * wanted.rotations
    dice.shuffle(events)
    return events


def _happen(event: str, scene: Scene, fleet: Fleet, trainer: Trainer, outcome: Outcome) -> None:
    outcome.counts[event] += 1
    if event == "server":
        fleet.wait()
        at = fleet.kill()
        back = _wait(trainer, outcome, lambda: trainer.steps_after(at)[1:])
        outcome.server_back.append(back[0] - at)
    elif event == "trainer":
        at = trainer.kill()
        trainer.start()
        back = _wait(trainer, outcome, lambda: trainer.steps_after(at))
        outcome.trainer_back.append(back[0] - at)
    else:
        assert scene.rotate is not None
        scene.rotate()
        at = time.monotonic()
        _wait(trainer, outcome, lambda: trainer.steps_after(at)[1:])


def _wait(trainer: Trainer, outcome: Outcome, found: Callable[[], Any]) -> Any:
    """Waits for the trainer, which is started again where it ended with a typed error."""

    def looked() -> Any:
        trainer.follow()
        if trainer.has_failed():
            outcome.counts["typed error"] += 1
            error_file = trainer.job.journal.with_suffix(".error")
            outcome.errors.append(json.loads(error_file.read_text().splitlines()[-1]))
            trainer.start()
        return found()

    return wait_for("the next step", looked)


def _undisturbed(scene: Scene, address: str, num_steps: int) -> list[tuple[str, str]]:
    """What a trainer is trained on that nothing happens to; in a process of its own."""
    path = scene.logs / "undisturbed.json"
    job = replace(scene.job, address=address)
    process = started(_write_undisturbed, job, num_steps, str(path))
    process.join()
    assert process.exitcode == 0
    return [(digest, weights) for digest, weights in json.loads(path.read_text())]


def _write_undisturbed(job: Job, num_steps: int, path: str) -> None:
    own_environment()
    Path(path).write_text(json.dumps(list(islice(undisturbed(job), num_steps))))


def _check_ledger(scene: Scene, digests: Sequence[str]) -> None:
    """Every step was acknowledged once, in order; the last may be one ahead of the journal."""
    bodies: list[Any] = [
        entry.body
        for entry in Ledger.read(scene.data / "ledger")
        if entry.kind == "batch_acknowledged"
    ]
    assert [body["step"] for body in bodies] == list(range(len(bodies)))
    assert len(digests) <= len(bodies) <= len(digests) + 1
    assert [body["digest"] for body in bodies[: len(digests)]] == list(digests)
    verify_folder(scene.data)


def on_sockets(place: Path, plan_id: str) -> Scene:
    """Two Unix sockets; what lies between them and the trainer is TCP in the clear."""
    sockets = [place / "a", place / "b"]
    return Scene(
        data=place / "data",
        addresses=[f"unix:{socket}" for socket in sockets],
        behind=sockets,
        logs=place / "logs",
        job=_job(place, plan_id),
    )


def with_tls(place: Path, plan_id: str) -> Scene:
    """Two ports with TLS, a token, and certificates that can be replaced, each by another CA's."""
    data, trusted = place / "data", place / "trusted.pem"
    folder = tls_folder(data)
    first = DevelopmentCA(folder)
    first.server((), days=1)
    newest = first.pair.certificate.read_bytes()
    _replace(trusted, newest)
    _, token = CredentialRegister(data).issue_token(
        holder="trainer", tenant=DEFAULT_TENANT, scopes=[Scope.TRAINER], days=1, by="campaign"
    )
    num_rotations = 0

    def rotate() -> None:
        nonlocal newest, num_rotations
        num_rotations += 1
        authority = DevelopmentCA(place / "authorities" / str(num_rotations))
        pair = authority.server((), days=1)
        before, newest = newest, authority.pair.certificate.read_bytes()
        # First both CAs are trusted, then the service changes: the order that loses none.
        _replace(trusted, before + newest)
        _replace(folder / "server.key", pair.key.read_bytes())
        _replace(folder / "server.pem", pair.certificate.read_bytes())

    ports = _free_ports(2)
    return Scene(
        data=data,
        addresses=[f"127.0.0.1:{port}" for port in ports],
        behind=ports,
        logs=place / "logs",
        job=replace(
            _job(place, plan_id),
            # Streams that are opened often meet a new certificate often.
            steps_per_stream=8,
            credentials=Credentials(token=token, ca=trusted),
        ),
        rotate=rotate,
    )


def _job(place: Path, plan_id: str) -> Job:
    return Job(
        address="",
        plan_id=plan_id,
        run_id=RUN_ID,
        journal=place / "journal.jsonl",
        seconds_per_step=STEP_SECONDS,
    )


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in held]
