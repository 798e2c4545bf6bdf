"""Measures on the wire: Arrow payloads of bounded size, each with whole examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from ..mixer.errors import Reason, RecollectError
from ..mixer.measures import Measures
from ..v1.measures import SCHEMA, decode

MOST_EXAMPLES = 1 << 16
"""Examples of a payload."""
MOST_RUNS = 1 << 17
"""Runs of a payload, 16 bytes each, unless one example alone has more."""


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
    try:
        columns = decode(payloads)
    except ValueError:
        raise RecollectError(
            Reason.MEASURES_DIFFER,
            "the measures that were received cannot be read",
            fix="Use the same version of the program on both sides.",
        ) from None
    return Measures(**columns._asdict())


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
