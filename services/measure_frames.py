"""Measures on the wire: Arrow payloads of bounded size, each with whole examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..mixer.errors import Reason, RecollectError
from ..mixer.measures import Measures

MOST_EXAMPLES = 1 << 16
"""Examples of a payload."""
MOST_RUNS = 1 << 17
"""Runs of a payload, 16 bytes each, unless one example alone has more."""
SCHEMA = pa.schema(
    [
        ("length", pa.int64()),
        ("run_starts", pa.list_(pa.int64())),
        ("run_stops", pa.list_(pa.int64())),
    ]
)

Integers = npt.NDArray[np.int64]


def encode_measures(measures: Measures) -> Iterator[bytes]:
    """The payloads, in order; one, and empty, where there is no example."""
    offsets, first = measures.run_offsets, 0
    while first < len(measures) or not first:
        fitting = np.searchsorted(offsets, offsets[first] + MOST_RUNS, side="right") - 1
        last = min(max(int(fitting), first + 1), first + MOST_EXAMPLES, len(measures))
        yield _payload(measures, first, last)
        if not len(measures):
            return
        first = last


def decode_measures(payloads: Iterable[bytes]) -> Measures:
    """What the payloads say.

    Raises:
        RecollectError: `MEASURES_DIFFER`, if they are not what `encode_measures` writes.
    """
    parts: list[tuple[Integers, ...]] = []
    try:
        for payload in payloads:
            with pa.ipc.open_stream(payload) as reader:
                parts += [_columns(batch) for batch in reader]
        lengths, counts, starts, stops = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
    except (ValueError, TypeError, KeyError, pa.lib.ArrowException):
        raise RecollectError(
            Reason.MEASURES_DIFFER,
            "the measures that were received cannot be read",
            fix="Use the same version of the program on both sides.",
        ) from None
    return Measures(
        lengths=lengths,
        run_offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        run_starts=starts,
        run_stops=stops,
    )


def _payload(measures: Measures, first: int, last: int) -> bytes:
    runs = measures.run_offsets[first : last + 1]
    offsets = pa.array((runs - runs[0]).astype(np.int32))
    columns = [pa.array(measures.lengths[first:last])]
    for values in (measures.run_starts, measures.run_stops):
        flat = pa.array(values[runs[0] : runs[-1]])
        columns.append(pa.ListArray.from_arrays(offsets, flat))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return bytes(sink.getvalue())


def _columns(batch: pa.RecordBatch) -> tuple[Integers, ...]:
    """Lengths, number of runs, starts and stops."""
    batch.validate(full=True)
    starts, stops = batch.column("run_starts"), batch.column("run_stops")
    counts = [np.diff(column.offsets.to_numpy()) for column in (starts, stops)]
    if not np.array_equal(*counts):
        raise ValueError("a run without its end")
    return (
        _integers(batch.column("length")),
        counts[0].astype(np.int64),
        _integers(starts.flatten()),
        _integers(stops.flatten()),
    )


def _integers(column: pa.Array) -> Integers:
    return np.asarray(column.to_numpy(zero_copy_only=True), dtype=np.int64)
