"""`recollect mix trace`: writes what a plan serves, row by row, for anyone to check."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, TextIO, TypeAlias

import numpy as np
import numpy.typing as npt
import typer

from ...mixer.errors import Reason, RecollectError
from ...mixer.trace import Columns, columns_of
from ...mixer.trace import trace as traced
from ..durable import atomic_file
from .mix_files import PLAN_HELP, find_plan
from .terminal import DEFAULT_SERVER, ServerOption, notes

Named: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Columns of a trace, with sources by name."""
Writer: TypeAlias = Callable[[IO[bytes], Sequence[str], Iterator[Named]], int]
"""Writes chunks of the named columns to a file; returns the number of entries."""


def trace(
    plan: Annotated[str, typer.Argument(help=PLAN_HELP)],
    first: Annotated[int, typer.Option("--from", help="The first position.")] = 0,
    last: Annotated[
        int | None,
        typer.Option("--to", help="The position after the last; the end of the plan if left out."),
    ] = None,
    world: Annotated[
        int | None, typer.Option("--world", help="Also write the rank, for so many ranks.")
    ] = None,
    pieces: Annotated[
        bool, typer.Option("--pieces", help="List the pieces of packed rows.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Write to this .csv or .arrow file, not standard output."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Write what a plan serves, row by row: position, source, ordinal, epoch, example, step, rank.

    Whoever counts the rows of a source up to any position can check the shares without this
    program. A plan that counts tokens or packs also gets the columns tokens and supervised_tokens,
    and needs the service for the lengths of its examples; of any other, a file of its JSON is
    enough.
    """
    write = _writer(output)
    found = find_plan(plan, server, with_measures=True)
    chunks = _named(
        traced(found, first, last, world_size=world, pieces=pieces),
        [source.name for source in found.sources],
    )
    columns = columns_of(found, world_size=world, pieces=pieces)
    if output is None:
        _write_rows(sys.stdout, columns, chunks)
        return
    with atomic_file(output) as file:
        num_entries = write(file, columns, chunks)
    notes.print(f"{num_entries:,} entries in {output}", highlight=False, markup=False)


def _writer(output: Path | None) -> Writer:
    """What writes a file of this name."""
    suffix = ".csv" if output is None else output.suffix
    if suffix not in _WRITERS:
        raise RecollectError(
            Reason.INPUT_UNKNOWN_FORMAT,
            f"a trace is written as .csv or .arrow, not as {suffix or 'a file without suffix'!r}.",
            where=str(output),
            fix="Choose another name.",
        )
    return _WRITERS[suffix]


def _named(chunks: Iterator[Columns], names: Sequence[str]) -> Iterator[Named]:
    """The chunks with the names of sources in place of their numbers."""
    by_number = np.array(names, dtype=object)
    for chunk in chunks:
        yield {
            name: by_number[values] if name == "source" else values
            for name, values in chunk.items()
        }


def _write_csv(file: IO[bytes], columns: Sequence[str], chunks: Iterator[Named]) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        return _write_rows(text, columns, chunks)
    finally:
        # What is left in the buffer is written, and the file stays open for who opened it.
        text.detach()


def _write_rows(file: TextIO, columns: Sequence[str], chunks: Iterator[Named]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    num_entries = 0
    for chunk in chunks:
        writer.writerows(zip(*(chunk[name].tolist() for name in columns), strict=True))
        num_entries += chunk["position"].size
    return num_entries


def _write_arrow(file: IO[bytes], columns: Sequence[str], chunks: Iterator[Named]) -> int:
    import pyarrow as pa

    schema = pa.schema(
        [(name, pa.string() if name == "source" else pa.int64()) for name in columns]
    )
    num_entries = 0
    with pa.ipc.new_file(file, schema) as writer:
        for chunk in chunks:
            writer.write_batch(
                pa.record_batch([pa.array(chunk[name]) for name in columns], schema=schema)
            )
            num_entries += chunk["position"].size
    return num_entries


_WRITERS: Mapping[str, Writer] = {".csv": _write_csv, ".arrow": _write_arrow}
