"""The fields that somebody named, looked for in the rows before any of them is de-identified.

A misspelt name would pass in silence: no row has the field, so nothing is looked for in its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..mixer.errors import Reason, RecollectError
from .deid_rows import RowLayout, opened_row, read_row
from .intake.columns import describe

FIRST_ROWS = 1_000
"""Rows in one of which each field that was named must stand."""
_USUAL = RowLayout()


def named_fields(layout: RowLayout) -> Mapping[str, str]:
    """Field → the option that names it; without those that are read where nothing is said."""
    fields = layout.fields if layout.fields != _USUAL.fields else ()
    keep = layout.keep if layout.keep != _USUAL.keep else ()
    subject = (layout.subject,) if layout.subject else ()
    by_option = (
        ("--keep", keep),
        ("--field", fields),
        ("--subject", subject),
        ("--identifier", layout.identifiers),
    )
    return {name: option for option, names in by_option for name in names}


def absent_fields(line: bytes, names: Iterable[str]) -> Iterator[str]:
    """Those of the names that the row of a line does not have; none of a line that is no row."""
    try:
        row = read_row(line)
    except RecollectError:
        return
    yield from (name for name in names if name not in row)


def require_fields(source: Path, layout: RowLayout) -> None:
    """Refuses a file none of whose first rows has a field that was named, or any text at all.

    Reads no further than to the row in which the last of them is met. Lines that are no rows say
    nothing; a file without any row passes.

    Raises:
        RecollectError: INPUT_UNKNOWN_FORMAT with the option, and the fields that there are.
    """
    missing = dict(named_fields(layout))
    has_text = False
    seen: dict[str, None] = {}
    num_rows = 0
    with source.open("rb") as lines:
        for line in lines:
            if (has_text and not missing) or num_rows == FIRST_ROWS:
                break
            try:
                row = read_row(line)
            except RecollectError:
                continue
            num_rows += 1
            seen.update(dict.fromkeys(row))
            missing = {name: option for name, option in missing.items() if name not in row}
            has_text = has_text or _has_text(row, layout)
    if not num_rows:
        return
    rows = "the only row" if num_rows == 1 else f"any of the first {num_rows:,} rows"
    for name, option in missing.items():
        raise _refusal(f"{name} is no field of {rows}", option, seen)
    if not has_text:
        read = describe(layout.fields)
        raise _refusal(f"no text stands under {read} in {rows}, and no dialogue", "--field", seen)


def _has_text(row: Mapping[str, Any], layout: RowLayout) -> bool:
    try:
        opened_row(row, layout)
    except RecollectError as error:
        # What is wrong with a text is told when it is its row's turn.
        return error.reason is not Reason.INPUT_EMPTY
    return True


def _refusal(message: str, option: str, seen: Iterable[str]) -> RecollectError:
    return RecollectError(
        Reason.INPUT_UNKNOWN_FORMAT,
        f"{message}; they have {describe(seen)}.",
        where=option,
        fix=f"Correct what {option} names, or leave it out. Nothing was written.",
    )
