"""`recollect deid audit`: how many stored examples may still hold an identifier."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...mixer.errors import Reason, RecollectError
from ...v1 import audit_pb2 as wire
from ..client import JOB_SECONDS, connect
from ..core_dumps import refuse_core_dumps
from .terminal import DEFAULT_SERVER, JsonOption, ServerOption, console, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..privacy.residual import Outcome
    from ..privacy.residual.quasi import Anonymity
    from ..residual_audit import Question


def audit(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A file that `deid apply --k --key-file` wrote: counts who is told apart in it."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            help="Data folder to read instead of asking a service; nothing is recorded then.",
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", min=1, help="Examples of the whole store to look at.")
    ] = 1000,
    per_source: Annotated[
        int, typer.Option("--per-source", min=0, help="Examples of each source, at least.")
    ] = 100,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the draw; a new one, if not said.")
    ] = None,
    sources: Annotated[
        list[str] | None, typer.Option("--source", help="Only this source; may be repeated.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="Folder of a token classifier or GLiNER model that looks as well; with --store.",
        ),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option("--limit", help="Exit with 1 if more may hold an identifier, as in 0.5%."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            min=2,
            help="Also count subjects told apart to fewer than K by what is left of age, date, "
            "place and trade; reads every example of --store.",
        ),
    ] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", help="Key that made FILE.")] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="Field of FILE that holds text.")
    ] = None,
    listed: Annotated[
        int, typer.Option("--list", min=0, help="Of how many findings to tell where they are.")
    ] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the tables as a page as well.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Bound the share of stored examples that still hold a direct identifier, with 95 %.

    Draws examples at random, looks at them with another detector than the one that made them, and
    knows stand-ins by the places that were sealed when they were made. What is left is never
    printed: --list tells the example, the place, the type and the shape. A service records the
    outcome in its ledger.

    Of a FILE, it reads again what is left of each subject, and counts those who are alike to fewer
    than K. Exit code 1: more than --limit may hold one, all that is undecidable counted; or
    somebody in FILE is.
    """
    from ..residual_audit import Question, anonymity

    refuse_core_dumps()
    if file is not None:
        _audit_file(file, key_file, tuple(fields or ("text",)), k, listed, as_json=as_json)
        return
    most = None if limit is None else _share(limit)
    question = Question(
        num_examples=examples, per_source=per_source, seed=seed, sources=tuple(sources or ())
    )
    with progress(as_json=as_json) as bar:
        task = bar.add_task("examples looked at")

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        classes = None
        if store is not None:
            outcome = _in_folder(store, question, model, tell)
            if k is not None:
                task = bar.add_task("examples read for their subjects")
                classes = anonymity(store, k, question.sources, tell)
        elif model is None and k is None:
            outcome = _by_service(server, question, tell)
        else:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "a service looks with what it has, at a sample.",
                where="--k" if model is None else "--model",
                fix="Name the data folder with --store: it may be read while the service runs.",
            )
    _show(outcome, classes, listed, html, as_json=as_json)
    if most is not None and outcome.whole.at_most_with_undecidable > most:
        raise typer.Exit(1)


def _audit_file(
    file: Path,
    key_file: Path | None,
    fields: tuple[str, ...],
    k: int | None,
    listed: int,
    *,
    as_json: bool,
) -> None:
    from ..file_anonymity import file_anonymity
    from ..residual_report import anonymity_lines
    from ..secret import secret_key

    if k is None or key_file is None:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "of a file, it is counted who is alike to fewer than K in what is left.",
            where="--k" if k is None else "--key-file",
            fix="Give --k, and with --key-file the key that made the file.",
        )
    with progress(as_json=as_json) as bar:
        task = bar.add_task("bytes read", total=file.stat().st_size if file.is_file() else 0)

        def tell(num_bytes: int) -> None:
            bar.update(task, completed=num_bytes)

        found = file_anonymity(file, secret_key(key_file, create=False), fields, k, tell)
    if as_json:
        below = [int(one, 16) for one in found.examples_below[:listed]]
        print_json({"anonymity": {**found.to_body(), "rows_below": below}})
    else:
        for shown in anonymity_lines(found):
            console.print(shown, highlight=False)
    if found.num_below:
        raise typer.Exit(1)


def _show(
    outcome: Outcome, classes: Anonymity | None, listed: int, html: Path | None, *, as_json: bool
) -> None:
    from ..deid_page import residual_page, write_html
    from ..residual_report import anonymity_lines, outcome_body, outcome_lines

    lines = [*outcome_lines(outcome, listed), *(anonymity_lines(classes) if classes else ())]
    if html is not None:
        write_html(residual_page("what is left in a store", outcome), lines, html)
    if as_json:
        body = outcome_body(outcome, listed)
        if classes is not None:
            below = list(classes.examples_below[:listed])
            body["anonymity"] = {**classes.to_body(), "examples_below": below}
        print_json(body)
        return
    for shown in lines:
        console.print(shown, highlight=False)


def _in_folder(
    folder: Path, question: Question, model: Path | None, tell: Callable[[int, int], None]
) -> Outcome:
    from ..residual_audit import audit_folder, model_finder

    finders = () if model is None else (model_finder(model),)
    looking = audit_folder(folder, question, finders)
    for done in looking.steps():
        tell(done.num_done, done.num_all)
    return looking.outcome()


def _by_service(server: str, question: Question, tell: Callable[[int, int], None]) -> Outcome:
    from ..residual_wire import outcome_from_wire

    request = wire.AuditResidualRequest(
        num_examples=question.num_examples,
        per_source=question.per_source,
        seed=question.seed,
        sources=question.sources,
    )
    answer = wire.AuditResidualResponse()
    with connect(server) as client:
        for answer in client.audit.AuditResidual(request, timeout=JOB_SECONDS):
            tell(answer.num_done, answer.num_all)
    return outcome_from_wire(answer.outcome)


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s?%", text.strip())
    if match is None or float(match[1]) > 100:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{text!r:.40} is no share.",
            where="--limit",
            fix="Write it in percent, as in 0.5%.",
        )
    return float(match[1]) / 100
