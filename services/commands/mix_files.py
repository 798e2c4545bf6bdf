"""Mixes, policies and plans as the command line is given them: files, or the id of a plan."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from ...mixer.errors import Reason, RecollectError
from ...mixer.measures import Measures
from ...mixer.plan import Plan
from ...mixer.sealing import read_plan
from ...v1 import mix_pb2 as wire
from ..client import JOB_SECONDS, ServiceClient, connect

PLAN_ID = re.compile(r"[0-9a-f]{64}")


def read_text(path: Path, noun: str) -> str:
    """The text of a file.

    Raises:
        RecollectError: INPUT_NOT_FOUND.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            f"cannot read the {noun} ({type(error).__name__}).",
            where=str(path),
            fix="Name an existing UTF-8 file.",
        ) from None


def require_folder(path: Path | None) -> None:
    """Checks, before any work is done, that a file that is asked for has a folder to lie in.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise _unwritable(path, "there is no such folder")


def write_text(path: Path, text: str) -> None:
    """Writes what was asked for into a file.

    Raises:
        RecollectError: CONFIG_INVALID where it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error.strerror or type(error).__name__) from None


def _unwritable(path: Path, why: str) -> RecollectError:
    return RecollectError(
        Reason.CONFIG_INVALID,
        f"cannot write there: {why}.",
        where=str(path),
        fix="Name a file in a folder that exists and that you may write to.",
    )


def read_mix(path: Path) -> str:
    """The text of a mix file."""
    return read_text(path, "mix")


def find_plan(given: str, server: str, *, with_measures: bool) -> Plan:
    """A plan by its id on the server, or from a file of its JSON.

    Args:
        given: the plan id, or a path.
        server: address of the service; it is not asked where the file says everything.
        with_measures: whether the plan has to be able to say its batches.
    """
    with ExitStack() as stack:
        client: ServiceClient | None = None
        if PLAN_ID.fullmatch(given):
            client = stack.enter_context(connect(server))
            answer = client.mix.GetPlan(wire.GetPlanRequest(plan_id=given), timeout=JOB_SECONDS)
            plan = read_plan(answer.plan_json)
        else:
            plan = read_plan(read_text(Path(given), "plan"))
        if not with_measures or plan.rows is not None:
            return plan
        client = client or stack.enter_context(connect(server))
        return plan.with_measures(
            {source.name: _measures(client, plan.plan_id, source.name) for source in plan.sources}
        )


def _measures(client: ServiceClient, plan_id: str, source: str) -> Measures:
    # pyarrow is needed here alone.
    from ..measure_frames import decode_measures

    request = wire.GetMeasuresRequest(plan_id=plan_id, source=source)
    answers = client.mix.GetMeasures(request, timeout=JOB_SECONDS)
    return decode_measures(answer.payload for answer in answers)
