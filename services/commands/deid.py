"""`recollect deid`: de-identifies files, and measures how well it does."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ...mixer.errors import Reason, RecollectError
from ..core_dumps import refuse_core_dumps
from .deid_audit import audit
from .deid_policies import policies
from .terminal import JsonOption, console, counted, notes, print_json, progress, table

if TYPE_CHECKING:
    from ..deid_files import Applied, RowEngine
    from ..deid_quarantine import Retried
    from ..policy_version import PolicyVersion

app = typer.Typer(
    help="De-identify files, and measure what is found and what is missed.", no_args_is_help=True
)

_DEFAULT_POLICY = "gdpr-pseudonymous"
PolicyOption = Annotated[
    str,
    typer.Option(
        "--policy", "-p", help="Name of a shipped policy (`recollect deid policies`), or a file."
    ),
]


@app.command(epilog="Example: recollect deid apply chats.jsonl safe.jsonl --spans --key-file k.key")
def apply(
    source: Annotated[Path, typer.Argument(help="JSONL: one object with text a line.")],
    target: Annotated[Path, typer.Argument(help="Where the rows go with surrogates in place.")],
    policy: PolicyOption = _DEFAULT_POLICY,
    spans: Annotated[
        bool,
        typer.Option("--spans", help="Write class, score, stage and surrogate of each span too."),
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            help="Key of the surrogates, made if there is none: same key, same stand-ins.",
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field", help="Field that holds text; `text` or a dialogue's turns, if not said."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", help="Field to copy as it is; `id`, if not said. Others are dropped."
        ),
    ] = None,
    identifiers: Annotated[
        list[str] | None,
        typer.Option("--identifier", help="Field that names the row's person or account."),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject", help="Field that names whom a row is about: its dates move alike."
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that work.")] = 1,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            help="Address of a service that does the work, under its key; here, if not said.",
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            min=2,
            help="Read the rows twice, and tell less exactly of whoever is not alike to K subjects "
            "in what is left of age, date, place and trade; needs --subject.",
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Take only the rows in TARGET.quarantine.jsonl, into their place."
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a TARGET that was made under another key."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """De-identify a JSONL file, row by row.

    A row that cannot be read or de-identified never stops the rest: its number and the reason go to
    TARGET.quarantine.jsonl, its text goes nowhere. After a crash the same command goes on where it
    was. Exit code 0 also where rows were quarantined.
    """
    from ..deid_files import apply_through
    from ..deid_quarantine import retry_rows

    refuse_core_dumps()
    read = {
        "fields": tuple(fields or ("text",)),
        "keep": tuple(keep or ("id",)),
        "identifiers": tuple(identifiers or ()),
        "subject": subject,
        "spans": spans,
    }
    chosen = (
        _here(read, policy, key_file, workers, k)
        if server is None
        else _there(read, policy, server, key_file, workers, k)
    )
    with progress(as_json=as_json) as bar, chosen as engine:
        size = source.stat().st_size if source.is_file() else 0
        made_by = engine.policy
        if retry:
            task = bar.add_task("rows tried again")
            again = retry_rows(
                source, target, engine, tell=lambda num: bar.update(task, completed=num)
            )
            _show_retried(again, target, as_json=as_json)
            return
        task = bar.add_task("bytes read", total=size)

        def tell(done: Applied) -> None:
            bar.update(task, completed=done.num_bytes)

        done = apply_through(source, target, engine, overwrite=overwrite, tell=tell)
    if as_json:
        print_json(_applied(done, made_by))
        return
    rows = [(kind, f"{n:,}") for kind, n in done.findings.most_common()]
    console.print(table("Replaced", ("type", "times"), rows, numbers=1))
    console.print(
        f"{done.num_written:,} of {counted(done.num_rows, 'row')} written to {target}, "
        f"policy {made_by.name} {made_by.version}",
        highlight=False,
    )
    for name, count in done.absent.items():
        console.print(
            f"[yellow]{counted(count, 'row')}[/yellow] without the field {escape(name)}",
            highlight=False,
        )
    if done.anonymity is not None:
        from ..residual_report import second_pass_lines

        for shown in second_pass_lines(done.anonymity):
            console.print(shown, highlight=False)
    _show_quarantined(done.quarantined, target)
    if key_file is None and server is None:
        notes.print(
            "[dim]The key was made for this run alone: another run chooses other stand-ins. "
            "Keep one with --key-file.[/dim]",
            highlight=False,
        )


def _show_quarantined(quarantined: Counter[str], target: Path) -> None:
    for reason, count in quarantined.most_common():
        console.print(
            f"[yellow]quarantined[/yellow] {counted(count, 'row')}: {reason}", highlight=False
        )
    if quarantined:
        console.print(
            f"See `recollect quarantine list {target}.quarantine.jsonl`; mend what is wrong where "
            "it stands, and give the same command with --retry",
            highlight=False,
            markup=False,
        )


def _show_retried(again: Retried, target: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(again))
        return
    console.print(
        f"{again.num_released:,} of {counted(again.num_listed, 'row')} in quarantine put into "
        f"{'its' if again.num_listed == 1 else 'their'} place in {target}",
        highlight=False,
        markup=False,
    )
    _show_quarantined(again.quarantined, target)


@contextmanager
def _here(
    read: dict[str, Any], policy: str, key_file: Path | None, workers: int, k: int | None
) -> Iterator[RowEngine]:
    """The engine of this process, or of a few."""
    from ..deid_pool import RowPool
    from ..deid_rows import RowOptions
    from ..privacy.policy import load_policy
    from ..secret import secret_key

    chosen = load_policy(policy)
    if k is not None:
        chosen = chosen.with_k(k)
    key = secret_key(key_file, create=True) if key_file else secrets.token_bytes(32)
    yield RowPool(RowOptions(policy=chosen, key=key, **read), workers)


@contextmanager
def _there(
    read: dict[str, Any],
    policy: str,
    server: str,
    key_file: Path | None,
    workers: int,
    k: int | None,
) -> Iterator[RowEngine]:
    """The engine of a service."""
    from ..deid_remote import remote_rows
    from ..deid_rows import RowLayout

    given = {"--key-file": key_file is not None, "--workers": workers != 1, "--k": k is not None}
    for name, is_given in given.items():
        if is_given:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "a service works with a key and threads of its own, record by record.",
                where=name,
                fix=f"Leave out {name}, or --server.",
            )
    with remote_rows(server, policy, RowLayout(**read)) as engine:
        yield engine


def _applied(done: Applied, policy: PolicyVersion) -> dict[str, Any]:
    return {
        "num_rows": done.num_rows,
        "num_written": done.num_written,
        "quarantined": dict(done.quarantined),
        "findings": dict(done.findings),
        "absent": dict(done.absent),
        **({} if done.anonymity is None else {"anonymity": done.anonymity}),
        "policy": asdict(policy),
    }


@app.command(epilog="Example: recollect deid evaluate labelled.jsonl --perturb")
def evaluate(
    labelled: Annotated[
        Path,
        typer.Argument(
            help="Labelled text: JSONL of spans, Presidio's JSON, TAB's JSON, or CoNLL."
        ),
    ],
    policy: PolicyOption = _DEFAULT_POLICY,
    perturb: Annotated[
        bool, typer.Option("--perturb", help="Also in lower case, with typing errors, as a table …")
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Also with each stage of the cascade left out.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--type", help="Only labels of this type; may be repeated.")
    ] = None,
    misses: Annotated[
        int, typer.Option("--misses", min=0, help="How many missed mentions to print.")
    ] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the tables as a page as well.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure recall, precision and over-masking on labelled text, with exact 95 % bounds.

    A mention counts if all its letters and digits are covered, an entity if all its mentions are.
    What is missed is printed only when asked for: label invented or public text.
    """
    from ..deid_report import evaluated, report_body, report_tables, write_page

    refuse_core_dumps()
    with progress(as_json=as_json) as bar:
        task = bar.add_task("measured")

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = evaluated(
            labelled, policy, perturb=perturb, stages=stages, only=tuple(only or ()), tell=tell
        )
    if html is not None:
        write_page(report, html)
    if as_json:
        print_json(report_body(report, misses))
        return
    for shown in report_tables(report):
        console.print(shown)
    for text_id, kind, value in report.plain.missed[:misses]:
        console.print(f"missed {kind} in {text_id}: {value}", highlight=False, markup=False)


app.command(epilog="Example: recollect deid policies hipaa-safe-harbor")(policies)
app.command(epilog="Example: recollect deid audit --examples 2000 --limit 0.5%")(audit)
