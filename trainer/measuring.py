"""Measures as they come from the service: Arrow record batches of lengths and runs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..mixer.errors import Reason, RecollectError
from ..mixer.measures import Measures

Integers = npt.NDArray[np.int64]

SCHEMA = pa.schema(
    [
        ("length", pa.int64()),
        ("run_starts", pa.list_(pa.int64())),
        ("run_stops", pa.list_(pa.int64())),
    ]
)
UNREADABLE = (OSError, StopIteration, TypeError, ValueError, pa.lib.ArrowException)


def read_measures(payloads: Iterable[bytes]) -> Measures:
    """The measures of a source from all payloads, in their order.

    Raises:
        RecollectError: MEASURES_DIFFER.
    """
    parts = [_part(payload) for payload in payloads]
    columns = [
        np.concatenate(column) if column else np.empty(0, dtype=np.int64)
        for column in (zip(*parts, strict=True) if parts else [()] * 4)
    ]
    lengths, num_runs, starts, stops = columns
    return Measures(
        lengths=lengths,
        run_offsets=np.concatenate(([0], np.cumsum(num_runs))).astype(np.int64),
        run_starts=starts,
        run_stops=stops,
    )


def _part(payload: bytes) -> tuple[Integers, Integers, Integers, Integers]:
    """Lengths, number of runs of each example, starts and stops of the runs."""
    try:
        batch = pa.ipc.open_stream(payload).read_next_batch()
        batch.validate(full=True)
        if batch.schema != SCHEMA or any(column.null_count for column in batch.columns):
            raise TypeError("another schema")
        starts, stops = batch.column("run_starts"), batch.column("run_stops")
        if not starts.offsets.equals(stops.offsets):
            raise ValueError("as many runs begin as end")
        num_runs = np.diff(starts.offsets.to_numpy()).astype(np.int64)
        lengths = batch.column("length").to_numpy()
        return lengths, num_runs, starts.values.to_numpy(), stops.values.to_numpy()
    except UNREADABLE as error:
        raise RecollectError(
            Reason.MEASURES_DIFFER,
            "What the service sent as the measures of a source cannot be read.",
            fix="Do not train: the server is not to be trusted.",
        ) from error
