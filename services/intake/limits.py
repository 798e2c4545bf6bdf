"""Limits of a reading: what bounds its memory, whatever the input holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeLimits:
    """How much of an input is held in memory at once."""

    max_row_bytes: int = 16 * 2**20
    """Longest line, JSON element, CSV record, paragraph or table row that is read."""
    max_batch_rows: int = 64
    """Rows of a Parquet file that are decoded at once."""
    max_batch_bytes: int = 16 * 2**20
    """Aim for the size of a Parquet batch: fewer rows are decoded at once where rows are long."""


def num_content_bytes(value: object) -> int:
    """About how many bytes of text a decoded value holds, nested values included."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(num_content_bytes(item) for item in value.values())
    if isinstance(value, Iterable):
        return sum(num_content_bytes(item) for item in value)
    return 8
