"""The reader: any input, in any layout, as a stream of raw examples that touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message, Pointer, RawExample
from .columns import ABSENT, describe, leaves, look_up
from .dialogue import to_messages
from .hub import PREFIX, parse_location, read_dataset
from .json_array import read_json_array, starts_array
from .jsonl import read_jsonl
from .layouts import RowLayout, resolve
from .limits import IntakeLimits
from .lines import opened
from .mapping import ColumnMapping
from .report import IntakeReport, Unusable
from .row import BadRow, Row, Rows
from .tabular import read_csv, read_parquet
from .text import read_text

OnBadRow = Literal["stop", "skip"]
Select = Callable[[Collection[str]], list[str]]
FIRST_ROWS = 1_000
"""Rows in one of which each identifying column of the mapping must stand."""
_MOST_HELD = 1 << 24
"""Characters that are held back until then."""
DEFAULT_LIMITS = IntakeLimits()
DEFAULT_MAPPING = ColumnMapping()

_STREAMS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_text,
}


def read_examples(
    location: str | Path,
    mapping: ColumnMapping | None = None,
    *,
    limits: IntakeLimits = DEFAULT_LIMITS,
    report: IntakeReport | None = None,
    on_bad_row: OnBadRow = "stop",
) -> Iterator[RawExample]:
    """The examples of an input, one at a time; nothing of it is kept or written.

    Args:
        location: a file (.jsonl, .json, .csv, .tsv, .txt, each also gzipped, or .parquet), or
            `datasets:NAME_OR_FOLDER[:SPLIT]`.
        mapping: what the columns mean; told from their names if left out.
        limits: how much is held in memory.
        report: counts what came through, what was repaired and what was rejected.
        on_bad_row: whether a row that cannot be read stops the reading or is counted and passed
            over. Rows that can be read but not trained on are always counted and passed over.

    Raises:
        RecollectError: INPUT_NOT_FOUND, INPUT_EMPTY, INPUT_UNKNOWN_FORMAT, INPUT_MALFORMED,
            INPUT_ENCODING, INPUT_TOO_LARGE or INPUT_UNKNOWN_SPEAKER, as the input deserves.
    """
    reading = _Reading(location, mapping or DEFAULT_MAPPING, report or IntakeReport(), on_bad_row)
    with closing(_open_rows(str(location), limits, reading.select)) as rows:
        yield from reading.examples(rows)


class _Reading:
    """One pass over an input."""

    def __init__(
        self,
        location: str | Path,
        mapping: ColumnMapping,
        report: IntakeReport,
        on_bad_row: OnBadRow,
    ) -> None:
        self._file = pointer_name(str(location))
        self._mapping = mapping
        self._report = report
        self._stop = on_bad_row == "stop"
        self._names: tuple[str, ...] = ()
        self._layout: RowLayout | None = None
        self._num_rows = self._num_examples = 0
        self._never_seen = {*mapping.identifiers, *([mapping.subject] if mapping.subject else [])}

    def select(self, names: Collection[str]) -> list[str]:
        """The columns of a table that have to be read."""
        mapping = self._mapping
        wanted = {*resolve(names, mapping).columns, *mapping.identifiers, mapping.subject or ""}
        return [
            name
            for name in names
            if name in wanted or any(path.startswith(f"{name}.") for path in wanted)
        ]

    def examples(self, rows: Rows) -> Iterator[RawExample]:
        """The examples of the rows; none before each identifying column was met."""
        held: list[RawExample] = []
        num_held = 0
        for found in self._found(rows):
            held += found
            num_held += sum(len(m.content) for example in found for m in example.messages)
            if self._never_seen and self._num_rows < FIRST_ROWS and num_held < _MOST_HELD:
                continue
            if self._num_rows >= FIRST_ROWS:
                self._check_columns()
            yield from held
            held, num_held = [], 0
        self._check_end()
        yield from held

    def _found(self, rows: Rows) -> Iterator[list[RawExample]]:
        """The examples of each row that can be read."""
        for row in rows:
            self._num_rows += 1
            self._report.num_rows += 1
            found = row.error if isinstance(row, BadRow) else self._read_row(row)
            if isinstance(found, RecollectError):
                if self._stop:
                    raise found
                self._report.reject(found.reason, Pointer(file=self._file, row=row.number))
                continue
            self._num_examples += len(found)
            self._report.num_examples += len(found)
            yield found

    def _read_row(self, row: Row) -> list[RawExample] | RecollectError:
        """The examples of a row; the error of a row that cannot be read, with its place."""
        try:
            return self._examples_of(row)
        except RecollectError as failure:
            place = f"{self._file}:{row.number}"
            where = f"{place}:{failure.where}" if failure.where else place
            return RecollectError(failure.reason, failure.message, where=where, fix=failure.fix)

    def _examples_of(self, row: Row) -> list[RawExample]:
        pointer = Pointer(file=self._file, row=row.number)
        subject = self._values(row, [self._mapping.subject] if self._mapping.subject else [])
        known_values = self._values(row, self._mapping.identifiers)
        found: list[tuple[Message, ...]] = []
        unusable = Unusable.EMPTY
        for turns in self._layout_of(row).examples(row.columns):
            speakers = self._mapping.speakers_by_label
            messages = to_messages(turns, speakers, self._report.repairs)
            if isinstance(messages, Unusable):
                unusable = messages
            else:
                found.append(messages)
        if not found:
            self._report.reject(unusable, pointer)
        return [
            RawExample(
                messages=messages,
                pointer=pointer,
                subject=subject[0] if subject else None,
                known_values=known_values,
            )
            for messages in found
        ]

    def _layout_of(self, row: Row) -> RowLayout:
        names = tuple(row.columns)
        if self._layout is None or names != self._names:
            self._layout, self._names = resolve(names, self._mapping), names
        return self._layout

    def _values(self, row: Row, columns: Collection[str]) -> tuple[str, ...]:
        values: dict[str, None] = {}
        for column in columns:
            value = look_up(row.columns, column)
            if value is ABSENT:
                self._report.absent[column] += 1
            else:
                self._never_seen.discard(column)
                values.update(dict.fromkeys(leaves(value)))
        return tuple(values)

    def _check_end(self) -> None:
        if self._num_rows == 0:
            raise RecollectError(
                Reason.INPUT_EMPTY,
                "the input holds no rows.",
                where=self._file,
                fix="Check that it is the file you meant and that it was written to its end.",
            )
        if self._num_examples == 0:
            raise RecollectError(
                Reason.INPUT_EMPTY,
                f"none of the {self._num_rows} rows makes an example.",
                where=self._file,
                fix="See the report for the reasons; an assistant who goes by another name, such as"
                " system, is mapped under speakers.",
            )
        self._check_columns()

    def _check_columns(self) -> None:
        """Refuses identifying columns that no row has had so far."""
        if self._never_seen:
            raise RecollectError(
                Reason.INPUT_UNKNOWN_FORMAT,
                f"none of the first {self._num_rows:,} rows has the identifying column "
                f"{describe(sorted(self._never_seen))}.",
                where=self._file,
                fix="Correct subject and identifiers in the mapping.",
            )


def pointer_name(location: str) -> str:
    """The name of an input as pointers have it: without its folder."""
    if location.startswith(PREFIX):
        name, _, split = parse_location(location)
        return f"{Path(name).name}:{split}"
    return Path(location).name


def _open_rows(location: str, limits: IntakeLimits, select: Select) -> Generator[Row | BadRow]:
    if location.startswith(PREFIX):
        yield from read_dataset(location, limits, select)
        return
    path = Path(location)
    _check_path(path)
    suffix = _suffix(path)
    if suffix == ".parquet":
        yield from read_parquet(path, limits, select)
        return
    with opened(path) as stream:
        is_array = suffix == ".json" and starts_array(stream)
        read = read_json_array if is_array else _STREAMS[suffix]
        yield from read(stream, path.name, limits)


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "this is a folder.",
            where=path.name,
            fix=f"Name a file in it, or read it as a data set: {PREFIX}FOLDER.",
        )
    if not path.exists():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND, "there is no such file.", where=path.name, fix="Check the path."
        )


def _suffix(path: Path) -> str:
    """The suffix that tells the format."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _STREAMS and (suffix != ".parquet" or path.suffix.lower() == ".gz"):
        known = ", ".join([*_STREAMS, ".parquet"])
        raise RecollectError(
            Reason.INPUT_UNKNOWN_FORMAT,
            "the name of the file tells no known format.",
            where=path.name,
            fix=f"Known are {known}; all but .parquet also with .gz.",
        )
    return suffix
