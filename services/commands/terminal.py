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
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from ...mixer.errors import RecollectError
from ...v1.connection import default_address
from ..config import Settings, load_settings

_WIDE = 160
"""Columns where nobody looks: what is piped or logged should not be cut at 80."""
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)
"""Results go here: standard output."""
notes = Console(
    stderr=True, width=None if sys.stderr.isatty() or "COLUMNS" in os.environ else _WIDE
)
"""Progress and errors go here, so that standard output stays readable by programs."""

SECONDS_BETWEEN_LINES = 10.0
"""How often progress is told where it is not watched."""

DEFAULT_SERVER = default_address()
"""Where a service listens that was started here without being told where."""

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


def counted(number: int, noun: str) -> str:
    """A number with its noun, as in `1 row` and `2,000 rows`."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


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


class Lines(Progress):
    """Progress for a log: a plain line now and then in place of a bar."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._told_at = self.get_time()
        self._told = ""

    def start(self) -> None:
        """Starts no live display."""

    def stop(self) -> None:
        """Leaves nothing, not even the empty line that ends a live display."""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Takes a change in, and tells of the task if nothing was told for a while."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Like `update`."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        now = self.get_time()
        if now - self._told_at < SECONDS_BETWEEN_LINES:
            return
        self._told_at = now
        task = self._tasks[task_id]
        done = f": {task.completed:,.0f} of {task.total:,.0f}" if task.total else ""
        line = f"{task.description}{done}"
        if line != self._told:
            self.console.print(line, highlight=False, markup=False)
            self._told = line


def progress(*columns: ProgressColumn, as_json: bool = False) -> Progress:
    """Progress on standard error: a bar which disappears when it is done, or lines in a log.

    Args:
        columns: of the bar; how much is done of how much, if left out.
        as_json: whether programs read the output; then there are no lines.
    """
    kind = Progress if notes.is_terminal or as_json else Lines
    counted = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = columns or (SpinnerColumn(), *counted, TimeElapsedColumn())
    return kind(*shown, console=notes, transient=True)
