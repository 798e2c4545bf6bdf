"""The rows of a file that were kept out of its result: listed, and taken again into their place."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..mixer.errors import Reason, RecollectError
from .deid_fields import require_fields
from .deid_files import (
    GROUP_ROWS,
    RowEngine,
    make_empty,
    quarantine_file,
    quarantine_line,
    require_files,
    require_key,
    state_file,
)
from .deid_rows import short_key_id
from .durable import storage

_TRIED_AGAIN = frozenset(
    reason.name
    for reason in (
        Reason.INPUT_MALFORMED,
        Reason.INPUT_ENCODING,
        Reason.INPUT_EMPTY,
        Reason.INPUT_TOO_LARGE,
        Reason.DEIDENTIFICATION_FAILED,
    )
)
"""Why a row alone was kept out; whatever else keeps one out is no matter of that row alone."""


@dataclass(kw_only=True)
class Retried:
    """What became of the rows that were kept out."""

    num_listed: int
    num_released: int = 0
    """Rows that stand in the result now."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Rows that stay out, by reason."""
    findings: Counter[str] = field(default_factory=Counter)
    """What was replaced in the rows that were let in, by type."""


def read_quarantine(path: Path) -> list[dict[str, Any]]:
    """The rows in a list that `recollect deid apply` or `DatasetDeidentifier` wrote.

    Raises:
        RecollectError: INPUT_NOT_FOUND, INPUT_MALFORMED, STORAGE_FAILED.
    """
    if not path.is_file():
        raise RecollectError(Reason.INPUT_NOT_FOUND, "there is no such file", where=str(path))
    rows = []
    with storage(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if not isinstance(entry["reason"], str) or not isinstance(entry.get("row", 0), int):
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise RecollectError(
                    Reason.INPUT_MALFORMED,
                    "this is no list of rows in quarantine",
                    where=f"{path}:{number}",
                    fix="Name a file that ends in .quarantine.jsonl.",
                ) from None
            rows.append(entry)
    return rows


def retry_rows(
    source: Path,
    target: Path,
    engine: RowEngine,
    *,
    tell: Callable[[int], None] = lambda _: None,
) -> Retried:
    """Takes the rows that were kept out of `target` again, and no others.

    What is accepted now is put where it belongs in the result, which changes as a whole or not at
    all; what is not stays listed. Rows may have been corrected where they stand.

    Args:
        source: the input, with as many rows as it had.
        target: its result.
        engine: under the key that made the result, with the same fields.
        tell: called with the number of rows that were tried so far.

    Raises:
        RecollectError: INPUT_NOT_FOUND where nothing was kept out; CONFIG_INVALID where key, fields
            or rows are not those that made the result; and as `apply_through`.
    """
    if engine.second is not None:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "how many are alike cannot be said of the rows in quarantine alone",
            where="--retry",
            fix="De-identify the whole file again, without --retry.",
        )
    require_files(source, target)
    listing = quarantine_file(target)
    entries = _entries(listing, target)
    _require_same(entries, engine, listing)
    require_key(target, engine.key_id)
    require_fields(source, engine.layout)
    wanted = {row for row, entry in entries.items() if entry["reason"] in _TRIED_AGAIN}
    retried = Retried(num_listed=len(entries))
    parts = _Parts(target)
    with storage(target), ExitStack() as stack:
        stack.callback(parts.remove)
        again, lost, out = (stack.enter_context(file) for file in parts.opened())
        still: dict[int, bytes] = {}
        _try_again(source, wanted, engine, again, still, retried, tell)
        for row, entry in entries.items():
            if row not in wanted:
                still[row] = json.dumps(entry).encode() + b"\n"
                retried.quarantined[entry["reason"]] += 1
        lost.writelines(line for _, line in sorted(still.items()))
        again.seek(0)
        with source.open("rb") as lines, target.open("rb") as old:
            _merge(lines, old, again, (entries.keys(), wanted), out, listing)
        for file in (lost, out):
            file.flush()
            os.fsync(file.fileno())
        # The result first: should the second renaming not come about, the next try sees that list
        # and result do not fit, and says so.
        os.replace(parts.out, target)
        if still:
            os.replace(parts.lost, listing)
        else:
            listing.unlink()
    return retried


def _entries(listing: Path, target: Path) -> Mapping[int, dict[str, Any]]:
    if state_file(target).exists() or not target.is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "there is no whole result yet",
            where=str(target),
            fix="Run the command without --retry first.",
        )
    if not listing.is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "no row of it is in quarantine",
            where=str(listing),
            fix="There is nothing to try again.",
        )
    return {int(entry.get("row", 0)): entry for entry in read_quarantine(listing)}


def _require_same(
    entries: Mapping[int, Mapping[str, Any]], engine: RowEngine, listing: Path
) -> None:
    """Refuses rows that would come out unlike those that stand in the result already."""
    fields = "--field, --keep, --identifier, --subject and --spans"
    made = (
        ("key", short_key_id(engine.key_id), "under another key", "--key-file, or the --server,"),
        ("layout", engine.layout.layout_id, "with other fields", fields),
    )
    for name, own, how, options in made:
        if any(entry.get(name) != own for entry in entries.values()):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"the result was made {how}",
                where=str(listing),
                fix=f"Give {options} as before.",
            )


def _try_again(
    source: Path,
    wanted: set[int],
    engine: RowEngine,
    again: IO[bytes],
    still: dict[int, bytes],
    retried: Retried,
    tell: Callable[[int], None],
) -> None:
    """Writes a line for each row that is tried: what it comes to, or an empty one."""
    numbers = iter(sorted(wanted))
    num_tried = 0
    with source.open("rb") as lines:
        chosen = (line for number, line in enumerate(lines, start=1) if number in wanted)
        groups = iter(lambda: list(islice(chosen, GROUP_ROWS)), [])
        with closing(engine.answers(groups)) as answers:
            for answered in answers:
                for line, (new, told) in zip(*answered, strict=True):
                    row = next(numbers)
                    if new is not None:
                        retried.num_released += 1
                        retried.findings.update(told)
                    elif line.strip():
                        still[row] = quarantine_line(row, told, engine)
                        retried.quarantined[told["reason"]] += 1
                    again.write((new or "").encode() + b"\n")
                num_tried += len(answered[0])
                tell(num_tried)


def _merge(
    lines: Iterator[bytes],
    old: IO[bytes],
    again: IO[bytes],
    rows: tuple[Collection[int], Collection[int]],
    out: IO[bytes],
    listing: Path,
) -> None:
    """The old result with the new rows between its own, in the order of the input."""
    listed, wanted = rows
    num_listed = 0
    for number, line in enumerate(lines, start=1):
        if number in listed:
            num_listed += 1
            new = again.readline() if number in wanted else b"\n"
        elif line.strip():
            new = old.readline()
            if not new:
                raise _misfit(listing)
        else:
            continue
        if new.strip():
            out.write(new)
    if old.readline() or num_listed != len(listed):
        raise _misfit(listing)


def _misfit(listing: Path) -> RecollectError:
    return RecollectError(
        Reason.CONFIG_INVALID,
        "input, result and this list do not fit together: rows were added or taken away since",
        where=str(listing),
        fix="Run the whole command without --retry, with --overwrite.",
    )


class _Parts:
    """Files that lie beside the result while it is made."""

    def __init__(self, target: Path) -> None:
        self.again = target.with_name(target.name + ".again.part")
        self.lost = target.with_name(target.name + ".quarantine.part")
        self.out = target.with_name(target.name + ".part")

    def opened(self) -> Iterator[IO[bytes]]:
        """New and empty, for their owner alone."""
        for path in (self.again, self.lost, self.out):
            make_empty(path)
            yield path.open("r+b")

    def remove(self) -> None:
        """What is left of them."""
        for path in (self.again, self.lost, self.out):
            path.unlink(missing_ok=True)
