"""`recollect ingest`: reads what people have; the service de-identifies and stores it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Purpose, Role
from ...v1 import store_pb2 as wire
from ..client import connect
from ..core_dumps import refuse_core_dumps
from ..ingestion import register, send
from ..intake import ColumnMapping, IntakeReport, read_examples
from .terminal import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    console,
    counted,
    print_json,
    progress,
    table,
)


def load_mapping(path: Path | None) -> ColumnMapping | None:
    """The column mapping in a YAML file."""
    if path is None:
        return None
    try:
        return ColumnMapping.from_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the column mapping cannot be read ({type(error).__name__}).",
            where=str(path),
            fix="Name an existing UTF-8 file with --mapping.",
        ) from None


def ingest(
    location: Annotated[
        str, typer.Argument(help="A JSONL, JSON, CSV, Parquet or text file, or datasets:NAME.")
    ],
    source: Annotated[str, typer.Option("--source", help="Name of the source.")],
    role: Annotated[Role, typer.Option("--role", help="What its examples are for.")] = Role.TASK,
    purpose: Annotated[
        Purpose,
        typer.Option("--purpose", help="`evaluate` holds it out: no training mix may use it."),
    ] = Purpose.TRAIN,
    licence: Annotated[str, typer.Option("--licence", help="SPDX id or name.")] = "proprietary",
    legal_basis: Annotated[
        str, typer.Option("--legal-basis", help="Why it may be processed.")
    ] = "unspecified",
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help="YAML file that names columns and speakers.")
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Count malformed rows and go on.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """De-identify a file into a source of the replay store.

    The file is streamed: raw text is held in memory a few rows at a time and written nowhere.
    All of the file is committed at once, or nothing. Repeating the command stores nothing twice.
    """
    refuse_core_dumps()
    report = IntakeReport()
    mapped = load_mapping(mapping)
    examples = read_examples(
        location,
        mapped,
        report=report,
        on_bad_row="skip" if skip_bad_rows else "stop",
    )
    # A file that cannot be read at all must not leave a source behind.
    first = next(examples)
    answer = wire.IngestResponse()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with connect(server) as client, progress(*columns, as_json=as_json) as bar:
        task = bar.add_task(f"ingest {source}", total=None)
        register(
            client,
            name=source,
            role=role,
            purpose=purpose,
            licence=licence,
            legal_basis=legal_basis,
        )
        quarantined: list[wire.Quarantined] = []
        skipped = report if skip_bad_rows else None
        for answer in send(
            client,
            source,
            chain([first], examples),
            mapping_digest=mapped.digest if mapped else "",
            skipped=skipped,
        ):
            quarantined += answer.quarantined
            bar.update(task, description=f"ingest {source}: {answer.num_read:,} read")
    _show(source, answer, quarantined, report, as_json=as_json)


def _show(
    source: str,
    answer: wire.IngestResponse,
    quarantined: list[wire.Quarantined],
    report: IntakeReport,
    *,
    as_json: bool,
) -> None:
    findings = {f.entity_type: f.count for f in answer.findings}
    if as_json:
        print_json(
            {
                "source": source,
                "num_read": answer.num_read,
                "num_stored": answer.num_stored,
                "num_duplicates": answer.num_duplicates,
                "num_quarantined": answer.num_quarantined,
                "findings": findings,
                "intake": report.to_lines(),
                "quarantined": [
                    {"file": q.pointer.file, "row": q.pointer.row, "reason": q.reason}
                    for q in quarantined
                ],
            }
        )
        return
    console.print(
        f"[bold]{source}[/bold]: {answer.num_read:,} read, {answer.num_stored:,} stored, "
        f"{answer.num_duplicates:,} already there, {answer.num_quarantined:,} quarantined"
    )
    for line in report.to_lines()[1:]:
        console.print(f"  {line}", highlight=False, markup=False)
    for column, count in sorted(report.absent.items()):
        console.print(
            f"  [yellow]{counted(count, 'row')}[/yellow] without the identifying column "
            f"{escape(column)}",
            highlight=False,
        )
    for item in quarantined[:5]:
        console.print(f"  quarantined {item.pointer.file}:{item.pointer.row}: {item.reason}")
    if findings:
        rows = [(name, f"{count:,}") for name, count in sorted(findings.items())]
        console.print(table("Replaced", ("type", "count"), rows, numbers=1))
