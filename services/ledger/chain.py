"""The chain: reads the lines of a ledger file and proves that each follows the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ...mixer.errors import Reason, RecollectError
from .entry import GENESIS, BrokenChain, Entry, parse_line

MAX_BODY_BYTES = 32 * 2**20
"""A larger body is refused."""
MAX_LINE_BYTES = MAX_BODY_BYTES + 2**20
"""No line is longer, so that a damaged file cannot fill the memory."""


def walk(
    file: BinaryIO, path: Path, size: int, *, first: int = 0
) -> Iterator[tuple[Entry, int, int]]:
    """Each whole line up to `size` as (entry, start, end); stops before a last line without end.

    Raises:
        RecollectError: LEDGER_CORRUPT at the first line that breaks the chain.
    """
    number, start = first, file.tell()
    previous: str | None = GENESIS if first == 0 else None
    while start < size:
        line = file.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            if start + len(line) < size:
                raise corrupt(path, number, "is too long")
            _expect_torn(line, path, number, previous)
            return
        try:
            known = json.loads(line)["previous"] if previous is None else previous
            entry = parse_line(line[:-1], sequence=number, previous=known)
        except (BrokenChain, ValueError, TypeError, KeyError) as error:
            reason = str(error) if isinstance(error, BrokenChain) else "is not an entry"
            raise corrupt(path, number, reason) from None
        end = start + len(line)
        yield entry, start, end
        number, start, previous = number + 1, end, entry.digest


def _expect_torn(line: bytes, path: Path, number: int, previous: str | None) -> None:
    """A crash leaves the beginning of an entry, never a whole one with a wrong byte at its end."""
    with suppress(BrokenChain, ValueError, TypeError, KeyError):
        known = json.loads(line[:-1])["previous"] if previous is None else previous
        parse_line(line[:-1], sequence=number, previous=known)
        raise corrupt(path, number, "does not end in a line feed but in another byte")


def corrupt(path: Path, number: int, what: str) -> RecollectError:
    """The refusal to believe a line, counted from 0."""
    return RecollectError(
        Reason.LEDGER_CORRUPT,
        f"line {number + 1} {what}",
        where=f"{path}:{number + 1}",
        fix="Restore the ledger from a copy; it cannot be repaired by hand.",
    )
