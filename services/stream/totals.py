"""Totals of a token cache: sums over its rows, in its file, so that nobody adds them up again.

They stand beside every record batch and are those of all rows so far, so the last batch has those
of the cache, which are read without a look at the rows. They carry a checksum of their own.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from ...mixer.contents import Totals
from .template import Rendered

FIELD = b"totals"
"""Where they are in the metadata of a record batch."""
NOTHING = Totals(num_tokens=0, num_supervised_tokens=0)


def with_rows(totals: Totals, rows: Sequence[Rendered]) -> Totals:
    """What there is once these rows were added."""
    return Totals(
        num_tokens=totals.num_tokens + sum(len(row.input_ids) for row in rows),
        num_supervised_tokens=totals.num_supervised_tokens + sum(map(num_supervised, rows)),
        num_truncated=totals.num_truncated
        + sum(row.num_tokens > len(row.input_ids) for row in rows),
    )


def num_supervised(row: Rendered) -> int:
    """The tokens of a row that carry loss: its first one never does."""
    return int(np.count_nonzero(row.loss_mask[1:]))


def encode(totals: Totals) -> bytes:
    """The totals as the metadata of a record batch holds them."""
    numbers = (totals.num_tokens, totals.num_supervised_tokens, totals.num_truncated)
    text = b"%d %d %d" % numbers
    return b"%s %08x" % (text, zlib.crc32(text))


def decode(metadata: Mapping[bytes, bytes] | None) -> Totals:
    """The totals that the metadata of a record batch hold.

    Raises:
        ValueError: there are none, as in a file of an earlier version, or they were damaged.
    """
    text, _, checksum = (metadata or {}).get(FIELD, b"").rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("no totals")
    num_tokens, num_supervised_tokens, num_truncated = map(int, text.split())
    return Totals(
        num_tokens=num_tokens,
        num_supervised_tokens=num_supervised_tokens,
        num_truncated=num_truncated,
    )
