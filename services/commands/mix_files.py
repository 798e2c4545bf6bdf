"""Mixes, policies and plans as the command line is given them: files, or the id of a plan.

Errors about what a file holds name the file before the place in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...mixer.errors import Reason, RecollectError
from ...mixer.measures import Measures
from ...mixer.mix import Mix
from ...mixer.plan import Plan
from ...mixer.sealing import read_plan
from ...v1 import mix_pb2 as wire
from ..client import JOB_SECONDS, ServiceClient, connect
from ..yaml_text import mix_from_yaml, parse_yaml

PLAN_ID = re.compile(r"[0-9a-f]{64}")
SHORT_ID = re.compile(r"[0-9a-f]{8,63}")
"""How an id may be cut short where only one plan begins so."""
PLAN_HELP = "Id of a plan, or the first 8 digits or more of it, or a file of its JSON."
MOST_CANDIDATES = 5
"""Plans that an ambiguous id is said to stand for."""
ABOUT_MIX = frozenset(
    {
        Reason.MIX_INVALID,
        Reason.MIX_SHARES,
        Reason.MIX_UNKNOWN_SOURCE,
        Reason.MIX_EMPTY_SOURCE,
        Reason.MIX_EXHAUSTED,
        Reason.MIX_PURPOSE,
        Reason.LIMIT_VIOLATED,
    }
)
"""What may be wrong with a mix; other errors of a call say nothing of its file."""
ABOUT_POLICY = frozenset({Reason.POLICY_INVALID})
ABOUT_LIMITS = frozenset({Reason.LIMIT_VIOLATED})


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


def read_recipe(path: Path) -> Mix:
    """The mix in a file.

    Raises:
        RecollectError: INPUT_NOT_FOUND, or what is wrong with the mix.
    """
    text = read_mix(path)
    with naming(path, "mix", ABOUT_MIX):
        return mix_from_yaml(text)


@contextmanager
def naming(path: Path | None, noun: str, reasons: Collection[Reason]) -> Iterator[None]:
    """Errors for these reasons are about this file, and name it.

    Args:
        path: the file; None where there is none.
        noun: what an error calls the whole of it.
        reasons: the reasons.
    """
    try:
        yield
    except RecollectError as error:
        if path is None or error.reason not in reasons:
            raise
        raise _in_file(error, path, noun) from None


def _in_file(error: RecollectError, path: Path, noun: str) -> RecollectError:
    place = "" if error.where == noun else error.where.removeprefix(f"{noun}: ")
    where = f"{path}: {place}" if place else str(path)
    return RecollectError(error.reason, error.message, where=where, fix=error.fix)


def find_plan(given: str, server: str, *, with_measures: bool) -> Plan:
    """A plan by its id on the server, or from a file of its JSON.

    Args:
        given: the plan id, or at least 8 digits that it begins with, or a path.
        server: address of the service; it is not asked where the file says everything.
        with_measures: whether the plan has to be able to say its batches.

    Raises:
        RecollectError: PLAN_UNKNOWN, PLAN_AMBIGUOUS, INPUT_NOT_FOUND, INPUT_UNKNOWN_FORMAT where
            the file is a mix, or PLAN_TAMPERED.
    """
    with ExitStack() as stack:
        client: ServiceClient | None = None
        if is_plan_id(given):
            client = stack.enter_context(connect(server))
            request = wire.GetPlanRequest(plan_id=_whole_id(client, given))
            plan = read_plan(client.mix.GetPlan(request, timeout=JOB_SECONDS).plan_json)
        else:
            plan = _plan_in(Path(given))
        if not with_measures or plan.rows is not None:
            return plan
        client = client or stack.enter_context(connect(server))
        return plan.with_measures(
            {source.name: _measures(client, plan.plan_id, source.name) for source in plan.sources}
        )


def is_plan_id(given: str) -> bool:
    """Whether this is a plan id, whole or cut short, and not the name of a file."""
    if PLAN_ID.fullmatch(given):
        return True
    return SHORT_ID.fullmatch(given) is not None and not Path(given).exists()


def _whole_id(client: ServiceClient, given: str) -> str:
    """The one plan id that begins so."""
    if PLAN_ID.fullmatch(given):
        return given
    request = wire.ListPlansRequest(prefix=given, page_size=MOST_CANDIDATES + 1)
    found = client.mix.ListPlans(request, timeout=JOB_SECONDS).plans
    if not found:
        raise RecollectError(
            Reason.PLAN_UNKNOWN,
            "no plan that was sealed here has an id that begins so.",
            where=given,
            fix="`recollect mix list` lists the plans.",
        )
    if len(found) > 1:
        named = ", ".join(f"{plan.plan_id} ({plan.mix})" for plan in found[:MOST_CANDIDATES])
        more = " and more" if len(found) > MOST_CANDIDATES else ""
        raise RecollectError(
            Reason.PLAN_AMBIGUOUS,
            f"several plans have an id that begins so: {named}{more}.",
            where=given,
        )
    return found[0].plan_id


def _plan_in(path: Path) -> Plan:
    text = read_text(path, "plan")
    try:
        return read_plan(text)
    except RecollectError as error:
        if _is_mix(text):
            raise RecollectError(
                Reason.INPUT_UNKNOWN_FORMAT,
                "this is a mix, not a plan.",
                where=str(path),
                fix=f"Seal it with `recollect mix seal {path}`, and name the id that this prints.",
            ) from None
        raise _in_file(error, path, "plan") from None


def _is_mix(text: str) -> bool:
    try:
        found = parse_yaml(text)
    except RecollectError:
        return False
    return isinstance(found, dict) and "sources" in found and "snapshot_id" not in found


def _measures(client: ServiceClient, plan_id: str, source: str) -> Measures:
    # pyarrow is needed here alone.
    from ..measure_frames import decode_measures

    request = wire.GetMeasuresRequest(plan_id=plan_id, source=source)
    answers = client.mix.GetMeasures(request, timeout=JOB_SECONDS)
    return decode_measures(answer.payload for answer in answers)
