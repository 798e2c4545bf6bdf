"""`recollect quarantine`: rows that could not be de-identified, tried again or given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from ...mixer.example import RawExample
from ...v1 import store_pb2 as wire
from ..client import CALL_SECONDS, JOB_SECONDS, ServiceClient, connect
from ..core_dumps import refuse_core_dumps
from ..ingestion import send
from ..intake import IntakeReport, pointer_name, read_examples
from .ingest import load_mapping
from .terminal import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    console,
    notes,
    print_json,
    table,
)

app = typer.Typer(
    help="See what was kept out of the store, try it again, or give it up.", no_args_is_help=True
)

_SHOWN = 50
"""Rows in the table; --json has all."""
FileOption = Annotated[
    str, typer.Option("--file", help="Only rows of the input with this name, without its folder.")
]


def _listed(client: ServiceClient, source: str, file: str) -> Iterator[wire.ListQuarantineResponse]:
    request = wire.ListQuarantineRequest(source=source, file=file)
    yield from client.store.ListQuarantine(request, timeout=JOB_SECONDS)


@app.command("list", epilog="Example: recollect quarantine list support")
def list_quarantine(
    source: Annotated[str, typer.Argument(help="Name of a source; all, if not said.")] = "",
    file: FileOption = "",
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """List the rows in quarantine: where they stand, why, and which entry of the ledger says so.

    Their text is stored nowhere. Identifiers in the name of a file are replaced.
    """
    rows: list[dict[str, str | int]] = []
    num_unlisted: dict[str, int] = {}
    with connect(server) as client:
        for answer in _listed(client, source, file):
            if answer.num_unlisted:
                num_unlisted[answer.source] = answer.num_unlisted
            rows += [
                {
                    "source": answer.source,
                    "file": row.pointer.file,
                    "row": row.pointer.row,
                    "reason": row.reason,
                    "ingest": row.ingest,
                    "time": row.time,
                }
                for row in answer.rows
            ]
    if as_json:
        print_json({"rows": rows, "num_unlisted": num_unlisted})
        return
    columns = ("source", "file", "row", "reason", "ingest", "time")
    cells = [[str(v)[:19] if k == "time" else str(v) for k, v in r.items()] for r in rows[:_SHOWN]]
    console.print(table(f"{len(rows):,} rows in quarantine", columns, cells))
    if len(rows) > _SHOWN:
        console.print(f"… and {len(rows) - _SHOWN:,} more: --json lists them all")
    for name, number in num_unlisted.items():
        console.print(
            f"[yellow]{name}[/yellow]: {number:,} more that no entry points to; mend what made "
            "them fail, and ingest their file again"
        )


@dataclass
class _Wanted:
    """The rows of a file that are in quarantine, and those of them that it holds."""

    rows: frozenset[int]
    name: str
    """What the file is called, if not by its own name."""
    seen: set[int] = field(default_factory=set)

    def of(self, examples: Iterable[RawExample]) -> Iterator[RawExample]:
        """The examples of these rows."""
        for example in examples:
            if example.pointer.row in self.rows:
                self.seen.add(example.pointer.row)
                pointer = example.pointer
                if self.name:
                    pointer = replace(pointer, file=self.name)
                yield replace(example, pointer=pointer)


@app.command(epilog="Example: recollect quarantine retry chats.jsonl --source support")
def retry(
    location: Annotated[
        str, typer.Argument(help="The file that was ingested, or datasets:NAME, under its name.")
    ],
    source: Annotated[str, typer.Option("--source", help="Name of the source.")],
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help="YAML file that names columns and speakers.")
    ] = None,
    name: Annotated[
        str,
        typer.Option("--as", help="Name that the list has for the file, should it be another now."),
    ] = "",
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Read a file again, and send the rows that are in quarantine, and no others.

    A corrected row, another policy or larger limits may let them in now: what is accepted leaves
    the quarantine. Rows are known by the name of the file and their number. Another policy may
    replace other parts of a name than before: --as takes the one that the list shows.
    """
    refuse_core_dumps()
    answer = wire.IngestResponse()
    with connect(server) as client:
        listed = _listed(client, source, name or pointer_name(location))
        wanted = _Wanted(frozenset(row.pointer.row for part in listed for row in part.rows), name)
        if wanted.rows:
            if mapping is None and not as_json:
                notes.print("without --mapping: no column of the file is looked for by its name")
            report = IntakeReport()
            mapped = load_mapping(mapping)
            read = read_examples(location, mapped, report=report, on_bad_row="skip")
            examples = wanted.of(read)
            # Where none of them is there any more, there is nothing to record.
            for first in examples:
                chosen = chain([first], examples)
                *_, answer = send(client, source, chosen, retry=True, skipped=report)
    told = {
        "source": source,
        "num_in_quarantine": len(wanted.rows),
        "num_tried": len(wanted.seen),
        "num_released": answer.num_released,
        "num_stored": answer.num_stored,
        "num_duplicates": answer.num_duplicates,
    }
    if as_json:
        print_json(told)
        return
    console.print(
        f"[bold]{source}[/bold]: {len(wanted.rows):,} rows of this file were in quarantine, "
        f"{len(wanted.seen):,} tried again, {answer.num_released:,} left it, "
        f"{answer.num_stored:,} examples stored, {answer.num_duplicates:,} already there"
    )
    if missing := len(wanted.rows) - len(wanted.seen):
        console.print(f"[yellow]{missing:,}[/yellow] are not in the file, or cannot be read")


@app.command(epilog='Example: recollect quarantine drop support --why "attachments, not text"')
def drop(
    source: Annotated[str, typer.Argument(help="Name of the source.")],
    why: Annotated[
        str, typer.Option("--why", help="Why nobody will try them again; goes to the ledger.")
    ],
    file: FileOption = "",
    row: Annotated[
        int | None, typer.Option("--row", help="Only this row of the file, from 1.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Give rows in quarantine up: all of a source, of one of its files, or one row.

    The ledger keeps who gave them up, when and why; identifiers in the reason are replaced.
    """
    request = wire.DropQuarantineRequest(source=source, file=file, row=row, why=why)
    with connect(server) as client:
        answer = client.store.DropQuarantine(request, timeout=CALL_SECONDS)
    if as_json:
        counts = {"num_rows": answer.num_rows, "num_unlisted": answer.num_unlisted}
        print_json({"source": source, **counts})
        return
    num = answer.num_rows + answer.num_unlisted
    console.print(f"[bold]{source}[/bold]: {num:,} given up")
