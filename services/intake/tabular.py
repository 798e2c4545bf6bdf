"""Tables: CSV records and Parquet rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...mixer.errors import Reason, RecollectError
from .limits import IntakeLimits, num_content_bytes
from .lines import decode, read_lines, too_large
from .row import BadRow, Row, Rows

if TYPE_CHECKING:
    import pyarrow.parquet

_DELIMITERS = (",", ";", "\t")
"""Tried in this order; the one that occurs most often in the header is it."""


class _RecordLines:
    """The lines of a CSV file; a record may span several, but not more than the limit of a row."""

    def __init__(self, stream: io.BufferedReader, file: str, limits: IntakeLimits) -> None:
        self._lines = read_lines(stream, limits)
        self._file = file
        self._limits = limits
        self._num_bytes = 0
        self.number = 0

    def start_record(self) -> None:
        self._num_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        text = decode(line, self._file, self._limits)
        if isinstance(text, RecollectError):
            raise text
        self._num_bytes += len(line.content)
        if self._num_bytes > self._limits.max_row_bytes:
            raise too_large(f"{self._file}:{self.number}", self._limits)
        return text


def read_csv(stream: io.BufferedReader, file: str, limits: IntakeLimits) -> Rows:
    """The records under the header; comma, semicolon and tab are told apart by the header.

    Raises:
        RecollectError: if the header cannot be read.
    """
    # The limit is the process's own; it is only ever raised, since others may rely on it.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_row_bytes))
    lines = _RecordLines(stream, file, limits)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    header = _next_record(csv.reader([first], delimiter=delimiter), f"{file}:1") or []
    if isinstance(header, RecollectError):
        raise header
    if len(set(header)) < len(header):
        raise _malformed("two columns have the same name", f"{file}:1")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.start_record()
        first_line = lines.number + 1
        record = _next_record(reader, f"{file}:{first_line}")
        if record is None:
            return
        if isinstance(record, RecollectError):
            yield BadRow(number=first_line, error=record)
        elif record and len(record) != len(header):
            message = f"the record has {len(record)} fields, the header {len(header)}"
            yield BadRow(number=first_line, error=_malformed(message, f"{file}:{first_line}"))
        elif record:
            columns: dict[str, object] = dict(zip(header, record, strict=True))
            yield Row(number=first_line, columns=columns)


def _next_record(reader: Iterator[list[str]], where: str) -> list[str] | RecollectError | None:
    try:
        return next(reader, None)
    except RecollectError as failure:
        return failure
    except csv.Error:
        pass
    return _malformed("the record's quoting is broken", where)


def read_parquet(
    path: Path, limits: IntakeLimits, select: Callable[[Collection[str]], list[str]]
) -> Rows:
    """The rows of a Parquet file, a few at a time however large its row groups are.

    Args:
        path: the file.
        limits: bounds of a row and of a batch.
        select: from the names of all columns those that are to be read.

    Raises:
        RecollectError: INPUT_MALFORMED if the file is broken.
    """
    import pyarrow.parquet

    problem = "the Parquet file is damaged or none"
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=2**20) as table:
            yield from _parquet_rows(table, path.name, limits, select)
            return
    except pyarrow.ArrowNotImplementedError:
        problem = "the Parquet file uses a feature that cannot be read"
    except PermissionError:
        problem = "the Parquet file may not be read"
    except (pyarrow.ArrowException, OSError):
        pass
    raise _malformed(problem, path.name)


def _parquet_rows(
    table: pyarrow.parquet.ParquetFile,
    file: str,
    limits: IntakeLimits,
    select: Callable[[Collection[str]], list[str]],
) -> Rows:
    names = table.schema_arrow.names
    if len(set(names)) < len(names):
        raise _malformed("two columns have the same name", file)
    columns = select(names)
    number = 0
    for batch in table.iter_batches(batch_size=_batch_rows(table, limits), columns=columns):
        for index in range(batch.num_rows):
            number += 1
            yield _parquet_row(batch.slice(index, 1), number, file, limits)


def _batch_rows(table: pyarrow.parquet.ParquetFile, limits: IntakeLimits) -> int:
    groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
    mean = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=1)
    return max(1, min(limits.max_batch_rows, limits.max_batch_bytes // max(mean, 1)))


def _parquet_row(
    row: pyarrow.RecordBatch, number: int, file: str, limits: IntakeLimits
) -> Row | BadRow:
    where = f"{file}:{number}"
    try:
        columns: dict[str, object] = row.to_pylist()[0]
    except UnicodeDecodeError:
        columns = {}
    if not columns:
        error = RecollectError(Reason.INPUT_ENCODING, "a value is not UTF-8.", where=where)
        return BadRow(number=number, error=error)
    if num_content_bytes(columns) > limits.max_row_bytes:
        return BadRow(number=number, error=too_large(where, limits))
    return Row(number=number, columns=columns)


def _malformed(message: str, where: str) -> RecollectError:
    return RecollectError(
        Reason.INPUT_MALFORMED, f"{message}.", where=where, fix="Write the file again."
    )
