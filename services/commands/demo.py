"""`recollect demo`: the whole of Recollect once, on the sample that ships with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import JsonOption, console, notes, progress


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Leave data, models and report in this folder.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the report to this HTML file.")
    ] = None,
    num_seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=20, help="Seeds to average over.")
    ] = 3,
    as_json: JsonOption = False,
) -> None:
    """Ingest a sample, let the teacher write, seal a mix, train with and without it, report.

    The real service runs in a process of its own on a Unix socket. Without --keep nothing is left
    behind but the report that --report asks for. Exit code 1: the ledger is not intact, or a run
    differs from its plan.
    """
    from ..demo.record import record_to_json
    from ..demo.report import check_writable, write_page, write_report
    from ..demo.run import run_demo
    from ..demo.summary import summary
    from ..demo.workspace import workspace

    if report is not None:
        check_writable(report)
    with workspace(keep) as folder:
        notes.print("[bold]recollect demo[/bold]: starting the service")
        with progress(as_json=as_json) as bar:
            record = run_demo(folder, num_seeds=num_seeds, console=notes, bar=bar)
        pages = [write_report(record, folder)] if keep else []
        if report is not None:
            write_page(record, report)
            pages.append(report)
    if as_json:
        typer.echo(record_to_json(record))
    else:
        console.print(summary(record))
        for page in pages:
            console.print(f"The report as a page: {page.absolute().as_uri()}", highlight=False)
    if not record.ledger.holds:
        raise typer.Exit(1)
