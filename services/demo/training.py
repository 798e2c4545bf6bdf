"""The trainings of a demo: `recollect train` processes, as many at once as there are cores.

Progress is read where it counts: from the acknowledgements in the ledger.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from ...v1 import audit_pb2
from ..client import CALL_SECONDS, ServiceClient
from ..ledger import Kind
from .processes import TrainerProcess, num_cores
from .record import Arm, Run, run_from_json

_POLL_SECONDS = 0.5
LEARNING_RATE = 1e-3
"""Chosen on rows that are in no file of the sample; see docs/log.md."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training."""

    arm: Arm
    seed: int
    plan_id: str

    @property
    def run_id(self) -> str:
        """The run's name in the ledger."""
        return f"{self.arm.replace(' ', '-')}-{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """What all trainings have in common."""

    address: str
    model_folder: Path
    workspace: Path
    evaluations: Mapping[str, str]
    """Name of a guardrail (or `target`) → plan that serves its held-out rows once."""
    refusals: Mapping[str, str]
    """Name of a set of prompts → plan; how often the model refuses them is measured."""
    num_steps: int

    def output(self, job: Job) -> Path:
        """Folder of a training."""
        return self.workspace / "runs" / job.run_id

    def arguments(self, job: Job) -> list[str]:
        """The arguments of its `recollect train`."""
        arguments = ["--server", self.address, "--plan", job.plan_id, "--run-id", job.run_id]
        arguments += ["--model", str(self.model_folder), "--out", str(self.output(job))]
        arguments += ["--learning-rate", str(LEARNING_RATE), "--seed", str(job.seed)]
        for name, plan_id in self.evaluations.items():
            arguments += ["--evaluate", f"{name}={plan_id}"]
        for name, plan_id in self.refusals.items():
            arguments += ["--refusals", f"{name}={plan_id}"]
        # The base model is the same in every run: whoever measures it first writes it down.
        arguments += ["--baseline", str(self.workspace / "baseline.json")]
        return [*arguments, "--threads", "1", "--quiet"]


class _Acknowledgements:
    """Counts acknowledged steps per run from the ledger, reading each entry once."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._next = 0
        self.num_steps: dict[str, int] = {}

    def read(self) -> None:
        request = audit_pb2.ListEntriesRequest(
            first_sequence=self._next, kind=Kind.BATCH_ACKNOWLEDGED
        )
        for entry in self._client.audit.ListEntries(request, timeout=CALL_SECONDS):
            self._next = entry.sequence + 1
            run_id = json.loads(entry.body_json)["run_id"]
            self.num_steps[run_id] = self.num_steps.get(run_id, 0) + 1


def train_all(
    client: ServiceClient, course: Course, jobs: Sequence[Job], bar: Progress
) -> list[Run]:
    """Runs every training, as many at once as there are cores; the runs in the order of the jobs.

    Raises:
        RecollectError: INTERNAL if a trainer fails; the others are then stopped.
    """
    waiting = list(jobs)
    running: dict[Job, TrainerProcess] = {}
    tasks = {
        job: bar.add_task(f"{job.arm}, seed {job.seed}", total=course.num_steps) for job in jobs
    }
    acknowledged = _Acknowledgements(client)
    try:
        while waiting or running:
            while waiting and len(running) < num_cores():
                job = waiting.pop(0)
                course.output(job).mkdir(parents=True, exist_ok=True)
                log = course.output(job) / "trainer.log"
                running[job] = TrainerProcess(course.arguments(job), log=log, threads=1)
            time.sleep(_POLL_SECONDS)
            acknowledged.read()
            for job, task in tasks.items():
                bar.update(task, completed=acknowledged.num_steps.get(job.run_id, 0))
            running = {job: trainer for job, trainer in running.items() if trainer.is_running()}
    finally:
        for trainer in running.values():
            trainer.stop()
        for task in tasks.values():
            bar.remove_task(task)
    return [_run(course, job) for job in jobs]


def _run(course: Course, job: Job) -> Run:
    text = (course.output(job) / "run.json").read_text(encoding="utf-8")
    return run_from_json(text, arm=job.arm, seed=job.seed, plan_id=job.plan_id)
