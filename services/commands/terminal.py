"""What commands share: where to print, how to fail, and the options that most of them take."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table

from ...mixer.errors import RecollectError
from ..config import Settings, load_settings

_WIDE = 160
"""Columns where nobody looks: what is piped or logged should not be cut at 80."""
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)
"""Results go here: standard output."""
notes = Console(
    stderr=True, width=None if sys.stderr.isatty() or "COLUMNS" in os.environ else _WIDE
)
"""Progress and errors go here, so that standard output stays readable by programs."""

DEFAULT_SERVER = "127.0.0.1:7431"

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        envvar="RECOLLECT_SERVER",
        help="Address of the service: host:port or unix:/path.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", envvar="RECOLLECT_CONFIG", help="Configuration file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value, as in --set teacher.threads=4."),
]


def settings_from(config: Path | None, overrides: list[str] | None) -> Settings:
    """The effective configuration of a command."""
    return load_settings(config, overrides or ())


def print_json(value: Any) -> None:
    """Prints one JSON document on standard output."""
    console.print_json(json.dumps(value, ensure_ascii=False))


def print_error(error: RecollectError, *, as_json: bool) -> None:
    """Prints one error: what is wrong, where, and what to do."""
    if as_json:
        body = {"reason": error.reason.name, **error.to_metadata()}
        notes.print_json(json.dumps({"error": body}, ensure_ascii=False))
        return
    where = f"[bold]{escape(error.where)}[/bold]: " if error.where else ""
    notes.print(f"[red]error[/red] {where}{escape(error.message)}", highlight=False)
    if error.fix:
        notes.print(f"      [dim]{escape(error.fix)}[/dim]", highlight=False)
    notes.print(f"      [dim]({error.reason.name})[/dim]", highlight=False)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0
) -> Table:
    """A table whose last `numbers` columns are right-aligned."""
    result = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=SIMPLE_HEAD
    )
    for index, column in enumerate(columns):
        right = index >= len(columns) - numbers
        result.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(escape(cell) for cell in row))
    return result


def progress() -> Progress:
    """A progress bar on standard error, which disappears when it is done."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
        console=notes,
        transient=True,
    )
