"""The demo from beginning to end: what a team does with Recollect, in a few minutes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ...mixer.errors import RecollectError
from ...v1 import audit_pb2, mix_pb2, teacher_pb2
from ...v1.store_pb2 import Role
from ..client import CALL_SECONDS, JOB_SECONDS, ServiceClient, connect
from ..config import SHIPPED_MODEL
from ..verification import verify_folder
from ..yaml_text import mix_from_yaml
from . import stages
from .processes import num_cores, service_process
from .record import (
    MIX,
    TASK_ONLY,
    DemoRecord,
    LedgerRecord,
    PlannedShare,
    Previewed,
    TeacherRecord,
)
from .sample import EVALUATIONS, REFUSAL_PROMPTS, mix_text
from .training import Course, Job, train_all

ARMS = {TASK_ONLY: "task_only", MIX: "support"}


class Demo:
    """One demo over one running service."""

    def __init__(
        self,
        *,
        client: ServiceClient,
        address: str,
        workspace: Path,
        num_seeds: int,
        console: Console,
        bar: Progress,
    ) -> None:
        self._client = client
        self._address = address
        self._workspace = workspace
        self._num_seeds = num_seeds
        self._console = console
        self._bar = bar
        self._started = time.monotonic()

    def _say(self, text: str) -> None:
        seconds = time.monotonic() - self._started
        self._console.print(f"[dim]{seconds:5.0f} s[/dim]  {text}", highlight=False)

    def run(self) -> DemoRecord:
        """All stages in order; everything the report needs."""
        client, bar = self._client, self._bar
        shown = stages.show_deidentification(client)
        self._say("[bold]de-identification[/bold] of a message that nobody wrote:")
        self._say(f"         before: {escape(shown.before)}")
        self._say(f"         after:  {escape(shown.after)}")
        ingested, remarks = stages.ingest_sample(client, bar)
        num_replaced = sum(sum(i.findings.values()) for i in ingested)
        num_stored = sum(i.num_stored for i in ingested)
        self._say(
            f"[bold]ingested[/bold] {num_stored:,} examples of {len(ingested)} sources; "
            f"{num_replaced:,} identifiers replaced in memory, "
            f"{sum(i.num_near_duplicate_groups for i in ingested)} groups of near-duplicates"
        )
        for remark in remarks:
            self._say(f"         [dim]{escape(remark)}[/dim]")
        rehearsed = stages.rehearse(client, bar)
        self._say(
            f"[bold]rehearsed[/bold] {rehearsed.num_kept} examples written by the frozen teacher "
            f"and kept, of {rehearsed.num_written}{stages.shortfall(rehearsed)}"
        )
        preview = stages.preview_mix(client, ARMS[MIX])
        jobs = self._seal()
        max_length = mix_from_yaml(mix_text(ARMS[MIX], seed=0)).max_length
        evaluations = self._seal_evaluations(EVALUATIONS, max_length)
        refusals = self._seal_evaluations(REFUSAL_PROMPTS, max_length)
        annotated = stages.annotate(client, next(j for j in jobs if j.arm == MIX).plan_id, bar)
        self._say(
            f"[bold]annotated[/bold] {sum(a.num_tokens for a in annotated.values()):,} tokens "
            "with the teacher's log-probabilities"
        )
        course = Course(
            address=self._address,
            model_folder=SHIPPED_MODEL,
            workspace=self._workspace,
            evaluations=evaluations,
            refusals=refusals,
            num_steps=preview.num_steps,
        )
        runs = train_all(client, course, jobs, bar)
        self._say(f"[bold]trained[/bold] {len(runs)} runs of {preview.num_steps} steps")
        differences = self.audit(jobs)
        return DemoRecord(
            runs=tuple(runs),
            shares=_shares(preview),
            ingested=tuple(ingested),
            shown=shown,
            teacher=self._teacher(rehearsed, annotated),
            preview=_previewed(preview),
            ledger=self._ledger(differences),
            seconds=time.monotonic() - self._started,
        )

    def _seal(self) -> list[Job]:
        """Seals a plan per arm and seed."""
        jobs = []
        for seed in range(self._num_seeds):
            for arm, mix in ARMS.items():
                plan_id = stages.seal(self._client, mix_text(mix, seed=seed))
                jobs.append(Job(arm=arm, seed=seed, plan_id=plan_id))
        self._say(
            f"[bold]sealed[/bold] {len(jobs)} plans, for example "
            f"{jobs[-1].plan_id[:16]} for the mix with seed {jobs[-1].seed}"
        )
        return jobs

    def _seal_evaluations(self, held_out: dict[str, str], max_length: int) -> dict[str, str]:
        """Name → plan that serves the rows of its held-out source once."""
        plans = stages.seal_evaluations(
            self._client, list(held_out.values()), max_length=max_length
        )
        return dict(zip(held_out, plans, strict=True))

    def audit(self, jobs: Sequence[Job]) -> tuple[str, ...]:
        """Lets the auditor recount every run from the ledger; what differs from its plan."""
        differences: list[str] = []
        for job in jobs:
            request = audit_pb2.AuditRunRequest(run_id=job.run_id)
            answer = self._client.audit.AuditRun(request, timeout=JOB_SECONDS)
            differences += [f"{job.run_id}: {difference}" for difference in answer.differences]
        for difference in differences:
            self._say(f"[red]differs[/red] {escape(difference)}")
        self._say(
            f"[bold]audited[/bold] {len(jobs)} runs: recounted from the ledger alone, "
            f"{len(differences) or 'no'} differences from their plans"
        )
        return tuple(differences)

    def _teacher(
        self,
        rehearsed: teacher_pb2.RehearseResponse,
        annotated: dict[str, teacher_pb2.AnnotateResponse],
    ) -> TeacherRecord:
        teacher = self._client.teacher.DescribeTeacher(
            teacher_pb2.DescribeTeacherRequest(), timeout=CALL_SECONDS
        )
        return TeacherRecord(
            digest=teacher.digest,
            num_parameters=teacher.num_parameters,
            num_written=rehearsed.num_written,
            num_kept=rehearsed.num_kept,
            drops={drop.reason: drop.count for drop in rehearsed.drops},
            mean_nll={name: answer.mean_nll for name, answer in annotated.items()},
        )

    def _ledger(self, differences: tuple[str, ...]) -> LedgerRecord:
        request = audit_pb2.ListEntriesRequest()
        kinds = Counter[str]()
        head = ""
        for entry in self._client.audit.ListEntries(request, timeout=JOB_SECONDS):
            kinds[entry.kind] += 1
            head = entry.digest
        damage = damage_in(self._workspace / "data", head=head)
        if damage:
            self._say(f"[red]not intact[/red] {escape(damage)}")
        return LedgerRecord(
            entries_by_kind=dict(sorted(kinds.items())),
            head_digest=head,
            verified=not damage,
            audit_differences=differences,
        )


def damage_in(data_folder: Path, *, head: str) -> str:
    """Reads a data folder past its service; says what is damaged, nothing if nothing is.

    Args:
        data_folder: of the service.
        head: digest of the last entry, as the service tells it.
    """
    try:
        found = verify_folder(data_folder)
    except RecollectError as error:
        return f"{error.where}: {error.message}"
    return "" if found.head == head else f"the ledger ends with {found.head}, not with {head}"


def _shares(preview: mix_pb2.PreviewMixResponse) -> tuple[PlannedShare, ...]:
    return tuple(
        PlannedShare(source=row.source, role=_role(row.role), share=row.share)
        for row in preview.sources
    )


def _role(role: Role.ValueType) -> str:
    return Role.Name(role).removeprefix("ROLE_").lower()


def _previewed(preview: mix_pb2.PreviewMixResponse) -> tuple[Previewed, ...]:
    return tuple(
        Previewed(
            source=row.source,
            num_examples=row.num_examples,
            num_rows=row.num_rows,
            epochs=row.epochs,
            max_repeats=row.max_repeats,
            num_tokens=row.num_tokens,
            exhaustion_step=None if row.exhaustion_step < 0 else row.exhaustion_step,
        )
        for row in preview.sources
    )


def run_demo(workspace: Path, *, num_seeds: int, console: Console, bar: Progress) -> DemoRecord:
    """Starts the service over `workspace` and runs the demo against it.

    Args:
        workspace: an empty folder; holds data, logs and runs afterwards.
        num_seeds: how many seeds to train with, at least 1.
        console: where to say what is done.
        bar: a started progress display.

    Raises:
        RecollectError: whatever a stage refuses.
    """
    threads = num_cores()
    with service_process(workspace, threads=threads) as address, connect(address) as client:
        demo = Demo(
            client=client,
            address=address,
            workspace=workspace,
            num_seeds=num_seeds,
            console=console,
            bar=bar,
        )
        return demo.run()
