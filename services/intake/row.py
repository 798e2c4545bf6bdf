"""Rows: what a format yields, before any layout gives the columns a meaning.

A format yields a bad row as a value and goes on, so that the reader decides whether to stop. What
concerns the whole input (a truncated file) is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...mixer.errors import RecollectError


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record of an input."""

    number: int
    """1-based line, element or row in the input."""
    columns: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A record that could not be read."""

    number: int
    error: RecollectError


Rows = Iterator[Row | BadRow]
