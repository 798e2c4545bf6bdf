"""Measures on the wire: what the payloads of `MixService.GetMeasures` say, to whoever reads them.

Unlike the stubs beside it, this module is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers: TypeAlias = npt.NDArray[np.int64]

SCHEMA = pa.schema(
    [
        ("length", pa.int64()),
        ("run_starts", pa.list_(pa.int64())),
        ("run_stops", pa.list_(pa.int64())),
    ]
)


class Columns(NamedTuple):
    """The measures of a source, as `mixer.measures.Measures` takes them."""

    lengths: Integers
    run_offsets: Integers
    run_starts: Integers
    run_stops: Integers


def decode(payloads: Iterable[bytes]) -> Columns:
    """The columns of all payloads, in their order.

    Raises:
        ValueError: they are not Arrow IPC streams of `SCHEMA`, whole and without gaps.
    """
    parts = []
    try:
        for payload in payloads:
            with pa.ipc.open_stream(payload) as reader:
                parts += [_columns(batch) for batch in reader]
        lengths, counts, starts, stops = map(np.concatenate, zip(*parts, strict=True))
    except (OSError, TypeError, pa.lib.ArrowException) as error:
        raise ValueError(f"no measures ({type(error).__name__})") from error
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return Columns(lengths, offsets, starts, stops)


def _columns(batch: pa.RecordBatch) -> tuple[Integers, Integers, Integers, Integers]:
    """Lengths, number of runs of each example, starts and stops of the runs."""
    batch.validate(full=True)
    if batch.schema != SCHEMA or any(column.null_count for column in batch.columns):
        raise TypeError("another schema")
    starts, stops = batch.column("run_starts"), batch.column("run_stops")
    counts = [np.diff(column.offsets.to_numpy()).astype(np.int64) for column in (starts, stops)]
    if not np.array_equal(*counts):
        raise TypeError("a run without its end")
    values = (batch.column("length"), starts.flatten(), stops.flatten())
    lengths, run_starts, run_stops = (
        np.asarray(column.to_numpy(zero_copy_only=True), dtype=np.int64) for column in values
    )
    return lengths, counts[0], run_starts, run_stops
