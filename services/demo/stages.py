"""The stages before training: ingest, near-duplicates, rehearsal, plans, annotation.

Every stage talks to the real service over the wire, as a team's own scripts would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.progress import Progress

from ...v1 import mix_pb2, store_pb2, teacher_pb2
from ..client import CALL_SECONDS, JOB_SECONDS, ServiceClient
from ..ingestion import register, send
from ..intake import IntakeReport, read_examples
from ..rehearsing import rehearse_into
from .record import Ingested, Shown
from .sample import DATA, FILES, SampleFile, evaluation_mix, mix_text

ACTOR = "demo"
SYNTHETIC = "synthetic"
NUM_SYNTHETIC = 200
INVENTED = (
    "Hi, this is Margaret Ellison. My order 402-7719283-5530146 never came. "
    "Write to margaret.ellison@mail.example.com or call +1 555 0142; "
    "I paid with 4111 1111 1111 1111."
)
"""A message that nobody wrote, to show what de-identification does."""


@dataclass(kw_only=True, slots=True)
class _Intake:
    """What became of the files of one source."""

    num_read: int = 0
    num_stored: int = 0
    num_duplicates: int = 0
    num_quarantined: int = 0
    findings: Counter[str] = field(default_factory=Counter)


def ingest_sample(client: ServiceClient, bar: Progress) -> tuple[list[Ingested], list[str]]:
    """Ingests every file of the sample.

    Returns:
        One record per source, in order; and the repairs and rejections of the intake, in words.
    """
    intakes: dict[str, _Intake] = {}
    remarks: list[str] = []
    task = bar.add_task("ingest", total=len(FILES))
    for file in FILES:
        bar.update(task, description=f"ingest {file.path}")
        remarks += _ingest_file(client, file, intakes.setdefault(file.source, _Intake()))
        bar.advance(task)
    bar.remove_task(task)
    records = [
        Ingested(
            source=source,
            num_read=intake.num_read,
            num_stored=intake.num_stored,
            num_duplicates=intake.num_duplicates,
            num_quarantined=intake.num_quarantined,
            findings=dict(sorted(intake.findings.items())),
            num_near_duplicate_groups=_num_near_duplicate_groups(client, source),
        )
        for source, intake in intakes.items()
    ]
    return records, remarks


def _ingest_file(client: ServiceClient, file: SampleFile, intake: _Intake) -> list[str]:
    register(
        client,
        name=file.source,
        role=file.role,
        purpose=file.purpose,
        licence=file.licence,
        legal_basis=file.legal_basis,
    )
    report = IntakeReport()
    *_, answer = send(client, file.source, read_examples(DATA / file.path, report=report))
    intake.num_read += answer.num_read
    intake.num_stored += answer.num_stored
    intake.num_duplicates += answer.num_duplicates
    intake.num_quarantined += answer.num_quarantined
    intake.findings.update({f.entity_type: f.count for f in answer.findings})
    return [f"{file.path}: {line}" for line in report.to_lines()[1:]]


def _num_near_duplicate_groups(client: ServiceClient, source: str) -> int:
    request = store_pb2.FindNearDuplicatesRequest(source=source)
    return len(client.store.FindNearDuplicates(request, timeout=JOB_SECONDS).groups)


def show_deidentification(client: ServiceClient) -> Shown:
    """An invented message before and after."""
    answer = client.store.Preview(store_pb2.PreviewRequest(text=INVENTED), timeout=CALL_SECONDS)
    return Shown(before=INVENTED, after=answer.text)


def rehearse(client: ServiceClient, bar: Progress) -> teacher_pb2.RehearseResponse:
    """Lets the teacher write the synthetic source."""
    return rehearse_into(client, SYNTHETIC, num_examples=NUM_SYNTHETIC, seed=0, bar=bar)


def shortfall(rehearsed: teacher_pb2.RehearseResponse) -> str:
    """What to say of a rehearsal that kept fewer examples than it was asked for."""
    if rehearsed.num_kept >= NUM_SYNTHETIC:
        return ""
    return f"; fewer than the {NUM_SYNTHETIC} that were asked for"


def annotate(
    client: ServiceClient, plan_id: str, bar: Progress
) -> dict[str, teacher_pb2.AnnotateResponse]:
    """Lets the teacher score every token of a plan's sources."""
    task = bar.add_task("the teacher annotates", total=None)
    answers: dict[str, teacher_pb2.AnnotateResponse] = {}
    request = teacher_pb2.AnnotateRequest(plan_id=plan_id)
    for answer in client.teacher.Annotate(request, timeout=JOB_SECONDS):
        if answer.source:
            answers[answer.source] = answer
            bar.update(task, description=f"the teacher annotates {answer.source}")
    bar.remove_task(task)
    return answers


def preview_mix(client: ServiceClient, name: str) -> mix_pb2.PreviewMixResponse:
    """What a plan of a mix of the sample would serve."""
    request = mix_pb2.PreviewMixRequest(mix_yaml=mix_text(name, seed=0))
    return client.mix.PreviewMix(request, timeout=JOB_SECONDS)


def seal(client: ServiceClient, mix_yaml: str) -> str:
    """Seals a mix; the plan id."""
    request = mix_pb2.SealPlanRequest(mix_yaml=mix_yaml, actor=ACTOR)
    return client.mix.SealPlan(request, timeout=JOB_SECONDS).plan_id


def seal_evaluations(
    client: ServiceClient, sources: Sequence[str], *, max_length: int
) -> list[str]:
    """Seals a plan over each held-out source; their ids, in order."""
    return [
        seal(client, evaluation_mix(source, batch_size=32, max_length=max_length))
        for source in sources
    ]
