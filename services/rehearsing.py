"""The asking side of a rehearsal: the teacher writes into a synthetic source."""

from __future__ import annotations

from rich.progress import Progress

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Purpose, Role
from ..v1 import teacher_pb2 as wire
from .client import JOB_SECONDS, ServiceClient
from .ingestion import register


def rehearse_into(
    client: ServiceClient, source: str, *, num_examples: int, seed: int, bar: Progress
) -> wire.RehearseResponse:
    """Lets the teacher write into a synthetic source, which is made if there is none.

    Args:
        client: of the service.
        source: name of the synthetic source.
        num_examples: how many to keep.
        seed: of the teacher's sampler.
        bar: shows how many were kept so far.

    Returns:
        The last answer, which counts what was written, kept and dropped.

    Raises:
        RecollectError: INTERNAL if the teacher stops before it says that it is done.
    """
    register(
        client,
        name=source,
        role=Role.SYNTHETIC,
        purpose=Purpose.TRAIN,
        licence="generated",
        legal_basis="generated",
    )
    task = bar.add_task(f"the teacher writes {source}", total=num_examples)
    answer = wire.RehearseResponse()
    request = wire.RehearseRequest(source=source, num_examples=num_examples, seed=seed)
    for answer in client.teacher.Rehearse(request, timeout=JOB_SECONDS):
        bar.update(task, completed=answer.num_kept)
    bar.remove_task(task)
    if not answer.done:
        raise RecollectError(
            Reason.INTERNAL, "the rehearsal ended early.", where=source, fix="Run it again."
        )
    return answer
