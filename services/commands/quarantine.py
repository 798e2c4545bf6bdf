"""`recollect quarantine`: rows that could not be de-identified, tried again or given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import RawExample
from ...v1 import store_pb2 as wire
from ..client import CALL_SECONDS, JOB_SECONDS, ServiceClient, connect
from ..core_dumps import refuse_core_dumps
from ..ingestion import send
from ..intake import ColumnMapping, IntakeReport, pointer_name, read_examples
from .ingest import load_mapping
from .terminal import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    console,
    counted,
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
    source: Annotated[
        str,
        typer.Argument(
            help="Name of a source, or a TARGET.quarantine.jsonl of `recollect deid apply`; all "
            "sources, if not said."
        ),
    ] = "",
    file: FileOption = "",
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """List the rows in quarantine: where they stand, why, and which entry of the ledger says so.

    Their text is stored nowhere. Identifiers in the name of a file are replaced.
    """
    if _is_file(source):
        _list_file(Path(source), as_json=as_json)
        return
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
    console.print(table(f"{counted(len(rows), 'row')} in quarantine", columns, cells))
    if len(rows) > _SHOWN:
        _tell_of_more(len(rows))
    for name, number in num_unlisted.items():
        console.print(
            f"[yellow]{name}[/yellow]: {number:,} more that no entry points to; mend what made "
            "them fail, and ingest their file again"
        )


def _tell_of_more(num_rows: int) -> None:
    console.print(f"… and {num_rows - _SHOWN:,} more: --json lists them all", highlight=False)


def _is_file(source: str) -> bool:
    """Whether this is a path: no name of a source has a dot or a slash."""
    return "." in source or "/" in source


def _list_file(path: Path, *, as_json: bool) -> None:
    from ..deid_quarantine import read_quarantine

    columns = ("row", "reason", "where", "message")
    rows = [{name: row.get(name, "") for name in columns} for row in read_quarantine(path)]
    if as_json:
        print_json({"rows": rows})
        return
    cells = [[str(value) for value in row.values()] for row in rows[:_SHOWN]]
    console.print(table(f"{counted(len(rows), 'row')} in quarantine", columns, cells))
    if len(rows) > _SHOWN:
        _tell_of_more(len(rows))


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


def _check_mapping(
    held: Iterable[wire.QuarantinedRow], mapping: ColumnMapping | None, *, as_json: bool
) -> None:
    """Refuses rows without the mapping that they were read with, and tells of another one.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    digests = {row.mapping_digest if row.HasField("mapping_digest") else None for row in held}
    if mapping is None and digests - {None, ""}:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "the file was ingested with a mapping, and is read without one: columns that identify "
            "people would not be looked for.",
            where="--mapping",
            fix="Name that mapping with --mapping.",
        )
    if as_json:
        return
    if mapping is None and None in digests:
        notes.print("without --mapping: no column of the file is looked for by its name")
    if mapping is not None and digests - {None, "", mapping.digest}:
        notes.print("this is another mapping than the one that the file was ingested with")


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
        held = [row for part in listed for row in part.rows]
        wanted = _Wanted(frozenset(row.pointer.row for row in held), name)
        if wanted.rows:
            mapped = load_mapping(mapping)
            _check_mapping(held, mapped, as_json=as_json)
            report = IntakeReport()
            read = read_examples(location, mapped, report=report, on_bad_row="skip")
            examples = wanted.of(read)
            # Where none of them is there any more, there is nothing to record.
            for first in examples:
                chosen = chain([first], examples)
                digest = mapped.digest if mapped else ""
                *_, answer = send(
                    client, source, chosen, retry=True, mapping_digest=digest, skipped=report
                )
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
        f"[bold]{source}[/bold]: {counted(len(wanted.rows), 'row')} of this file in quarantine, "
        f"{len(wanted.seen):,} tried again, {answer.num_released:,} left it, "
        f"{counted(answer.num_stored, 'example')} stored, {answer.num_duplicates:,} already there"
    )
    if missing := len(wanted.rows) - len(wanted.seen):
        console.print(
            f"[yellow]{counted(missing, 'row')}[/yellow] not in the file, or not to be read"
        )


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
