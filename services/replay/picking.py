"""Picking: single rows of a source, with each segment read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example
from .segment import read_rows
from .snapshot import Snapshot


def examples_at(
    folder: Path, snapshot: Snapshot, source: str, rows: Iterable[int]
) -> Iterator[tuple[int, Example]]:
    """Rows of a source with their examples, in ascending order, one segment in memory at a time.

    Raises:
        RecollectError: SOURCE_UNKNOWN; PLAN_OUT_OF_RANGE; STORAGE_CORRUPT naming the segment.
    """
    wanted = sorted(set(rows))
    first = place = 0
    for manifest in snapshot.of(source):
        last = first + manifest.num_examples
        here = []
        while place < len(wanted) and wanted[place] < last:
            here.append(wanted[place] - first)
            place += 1
        if here:
            yield from zip(
                (first + row for row in here), read_rows(folder, manifest, here), strict=True
            )
        first = last
    if place < len(wanted):
        raise RecollectError(
            Reason.PLAN_OUT_OF_RANGE, f"source {source} has no row {wanted[place]}"
        )
