"""Token caches: the rendered rows of one source, memory-mapped.

A cache is an Arrow IPC file of record batches with a fixed number of rows, so row r lies in batch r
// ROWS_PER_CHUNK and is found in O(1) with nothing read at start-up. It is only a cache: it is
keyed by everything that it depends on, each batch carries a checksum that is verified when the
batch is first touched, and whatever is wrong with it is cured by building it again. What its rows
hold in all is in the file as well (`totals`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from ...mixer.contents import Totals
from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example
from ..durable import atomic_file
from . import totals as sums
from .building import Progress, Reports, rendered_chunks
from .gathering import (
    Bytes,
    Layout,
    Ranges,
    copy_masks,
    copy_tokens,
    located,
    num_supervised,
)
from .template import ChatTemplate, Rendered

FORMAT = b"recollect-tokens-2"
ROWS_PER_CHUNK = 512
"""Rows of a record batch, which is what one checksum covers: a MiB or so. The rows of the first
batch of a stream are in as many record batches, and all of them are checked before it is sent."""
CHECKSUM = b"xxh3"
"""Where the checksum of a record batch is in its metadata."""

UNREADABLE = (OSError, KeyError, TypeError, ValueError, pa.lib.ArrowException)
"""What reading a file raises that is missing or damaged, wherever the damage hits."""

SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.bool_())),
        ("num_tokens", pa.int32()),
        ("num_supervised", pa.int32()),
    ]
)

Number = TypeVar("Number", np.int32, np.uint8)
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheKey:
    """Everything that the rows of a cache depend on."""

    content_digest: str
    tokenizer_digest: str
    max_length: int
    num_rows: int

    @property
    def name(self) -> str:
        """Name of the cache: equal names, equal rows."""
        return _name(self, ROWS_PER_CHUNK)


@lru_cache(maxsize=1024)  # a key is made anew for every message
def _name(key: CacheKey, chunk_rows: int) -> str:
    fields = (
        FORMAT.decode(),
        key.content_digest,
        key.tokenizer_digest,
        str(key.max_length),
        str(key.num_rows),
        str(chunk_rows),
    )
    return hashlib.sha256("\n".join(fields).encode()).hexdigest()[:32]


class DamagedCache(Exception):
    """A cache file is not what was written; it has to be built again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """One record batch as views into the memory map."""

    offsets: Int32s
    input_ids: Int32s
    packed_mask: npt.NDArray[np.uint8]
    """The loss mask, eight tokens to a byte, lowest bit first."""
    num_tokens: Int32s
    num_supervised: Int32s


class TokenCache:
    """The tokens of one source; safe to share between threads."""

    def __init__(self, path: Path, key: CacheKey) -> None:
        """Maps the file at `path`.

        Raises:
            DamagedCache: the file is missing, cut off, or was made from something else, or by a
                version that wrote no totals.
        """
        self.key = key
        try:
            with path.open("rb") as file:
                self._map = mmap(file.fileno(), 0, access=ACCESS_READ)
            self._file = pa.py_buffer(self._map)
            self._reader = pa.ipc.open_file(pa.BufferReader(self._file))
        except UNREADABLE as error:
            raise DamagedCache(type(error).__name__) from error
        metadata = self._reader.schema.metadata or {}
        num_chunks = -(-key.num_rows // ROWS_PER_CHUNK)
        if (
            metadata.get(b"key") != key.name.encode()
            or not self._reader.schema.equals(SCHEMA)
            or self._reader.num_record_batches != num_chunks
        ):
            raise DamagedCache("another key, schema or length")
        self._require_whole()
        self.totals = self._totals(num_chunks)
        """What its rows hold in all, as served."""
        self._words = np.frombuffer(self._file, dtype=np.int32, count=self._file.size // 4)
        self._octets = np.frombuffer(self._file, dtype=np.uint8)
        self._layout = Layout.unknown(num_chunks)
        self._chunks: list[Chunk | None] = [None] * num_chunks
        self._reading = Lock()
        self.is_damaged = False
        """Whether it was found to be damaged; it has to be built again."""

    def __len__(self) -> int:
        return self.key.num_rows

    def located(self, example_rows: Int64s, firsts: Int64s, ends: Int64s) -> Ranges:
        """Where a range of the tokens of each row lies: from `firsts` to before `ends`.

        Raises:
            DamagedCache: a record batch does not match its checksum.
            IndexError: there is no such row.
        """
        self._verify(example_rows)
        ends = np.minimum(ends, self.key.max_length)
        return located(
            self._words, self._layout, example_rows, firsts, ends, chunk_rows=ROWS_PER_CHUNK
        )

    def copy(self, ranges: Ranges, places: Int64s, ids: npt.NDArray[Any], mask: Bytes) -> None:
        """Copies ranges of tokens and their loss masks.

        A range is a text of its own, so its first token carries no loss: nothing predicts it.

        Args:
            ranges: where they lie.
            places: int64[n], the token of the target at which each begins.
            ids: int32[m], the target, or uint16[m] where every id fits.
            mask: uint8[m / 8], a bit for every token of it, lowest bit first; zero before.

        Raises:
            DamagedCache: the file was cut off since.
        """
        self._require_whole()
        copy_tokens(self._words, self._layout, ranges, places, ids)
        copy_masks(self._octets, self._layout, ranges, places, mask)

    def num_supervised(self, example_rows: Int64s) -> Int64s:
        """Tokens of rows, as served, that carry loss."""
        self._verify(example_rows)
        return num_supervised(self._words, self._layout, example_rows, chunk_rows=ROWS_PER_CHUNK)

    def gather(self, example_rows: Int64s) -> tuple[list[Int32s], list[Bools]]:
        """Token ids of the rows, in the order asked for, and which of them carry loss."""
        whole = np.full_like(example_rows, self.key.max_length)
        ranges = self.located(example_rows, np.zeros_like(whole), whole)
        ends = np.cumsum(ranges.lengths)
        if not len(ends):
            return [], []
        num_tokens = int(ends[-1])
        ids = np.empty(num_tokens, dtype=np.int32)
        mask = np.zeros(-(-num_tokens // 8), dtype=np.uint8)
        self.copy(ranges, ends - ranges.lengths, ids, mask)
        bits = np.unpackbits(mask, count=num_tokens, bitorder="little").view(np.bool_)
        return np.split(ids, ends[:-1]), np.split(bits, ends[:-1])

    def rows(self, example_rows: Int64s) -> pa.RecordBatch:
        """The rows as columns `input_ids` and `loss_mask`."""
        ids, masks = self.gather(example_rows)
        return pa.record_batch(
            {
                "input_ids": list_array(ids, pa.int32()),
                "loss_mask": list_array(masks, pa.bool_()),
            }
        )

    def masks(self) -> Iterator[tuple[Int64s, Bools]]:
        """By record batch, the lengths of its rows and which of all their tokens are learnt."""
        for index in range(len(self._chunks)):
            chunk = self._chunk(index)
            bits = np.unpackbits(chunk.packed_mask, bitorder="little").view(np.bool_)
            yield np.diff(chunk.offsets).astype(np.int64), bits[: int(chunk.offsets[-1])]

    @property
    def lengths(self) -> Int32s:
        """Tokens of every row, as served."""
        return np.minimum(self._column("num_tokens"), np.int32(self.key.max_length))

    @property
    def supervised_lengths(self) -> Int32s:
        """Tokens of every row that carry loss, as served; 0 where the cut left none."""
        return self._column("num_supervised")

    @property
    def num_truncated(self) -> int:
        """Rows that were cut at the length limit."""
        return self.totals.num_truncated

    @property
    def num_unsupervised(self) -> int:
        """Rows that teach nothing: they are served, so that the ratio holds, with an empty mask."""
        return int(np.count_nonzero(self._column("num_supervised") == 0))

    def _totals(self, num_chunks: int) -> Totals:
        if not num_chunks:
            return sums.NOTHING
        try:
            # The file is mapped: of the batch itself nothing is read.
            _, metadata = self._reader.get_batch_with_custom_metadata(num_chunks - 1)
            return sums.decode(metadata)
        except UNREADABLE as error:
            raise DamagedCache(type(error).__name__) from error

    def _column(self, name: str) -> Int32s:
        parts = [getattr(self._chunk(index), name) for index in range(len(self._chunks))]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)

    def _require_whole(self) -> None:
        """Raises DamagedCache if the file is shorter than what is mapped of it.

        A page that lies behind the end of a file kills whoever touches it, by SIGBUS. Caches are
        replaced, never written into, so nobody but a fault from outside shortens one; it is asked
        for before every use, which takes a microsecond. Who is in the middle of copying just then
        is not saved by that.
        """
        if self._map.size() < len(self._map):
            self.is_damaged = True
            raise DamagedCache("cut off while in use")

    def _verify(self, example_rows: Int64s) -> None:
        """Checks the file, and the record batches of rows that nobody has touched yet."""
        self._require_whole()
        if not example_rows.size:
            return
        if not 0 <= example_rows.min() <= example_rows.max() < self.key.num_rows:
            raise IndexError(f"a row outside of {self.key.num_rows}")
        chunks = example_rows // ROWS_PER_CHUNK
        unknown = chunks[self._layout.num_supervised[chunks] < 0]
        for index in np.unique(unknown).tolist():
            self._chunk(index)

    def _chunk(self, index: int) -> Chunk:
        self._require_whole()
        chunk = self._chunks[index]
        if chunk is None:
            with self._reading:
                chunk = self._chunks[index] = self._read(index)
        return chunk

    def _read(self, index: int) -> Chunk:
        try:
            chunk = _chunk_of(verified_batch(self._reader, index))
        except DamagedCache:
            self.is_damaged = True
            raise
        except UNREADABLE as error:
            self.is_damaged = True
            raise DamagedCache(type(error).__name__) from error
        # What is looked at to see whether a record batch is verified comes last.
        self._layout.offsets[index] = self._begin(chunk.offsets) // 4
        self._layout.input_ids[index] = self._begin(chunk.input_ids) // 4
        self._layout.loss_mask[index] = self._begin(chunk.packed_mask)
        self._layout.num_supervised[index] = self._begin(chunk.num_supervised) // 4
        return chunk

    def _begin(self, view: npt.NDArray[Any]) -> int:
        """Bytes of the file before a view into it; 0 of an empty one, which may be anywhere."""
        return int(view.ctypes.data) - int(self._file.address) if view.size else 0


def verified_batch(reader: pa.ipc.RecordBatchFileReader, index: int) -> pa.RecordBatch:
    """A record batch whose buffers are what was written; raises DamagedCache otherwise."""
    batch, metadata = reader.get_batch_with_custom_metadata(index)
    if (metadata or {}).get(CHECKSUM) != checksum(batch):
        raise DamagedCache(f"checksum of record batch {index}")
    batch.validate()
    return batch


def _chunk_of(batch: pa.RecordBatch) -> Chunk:
    ids, mask = batch.column("input_ids"), batch.column("loss_mask")
    return Chunk(
        offsets=_view(ids.buffers()[1], np.int32, len(ids) + 1),
        input_ids=_view(ids.buffers()[3], np.int32),
        packed_mask=_view(mask.buffers()[3], np.uint8),
        num_tokens=_view(batch.column("num_tokens").buffers()[1], np.int32, len(batch)),
        num_supervised=_view(batch.column("num_supervised").buffers()[1], np.int32, len(batch)),
    )


def build(
    path: Path,
    key: CacheKey,
    *,
    template: ChatTemplate,
    examples: Iterable[Example],
    progress: Progress = lambda **_: None,
) -> None:
    """Writes the cache of `examples`, in bounded memory; the file appears whole or not at all.

    Args:
        path: where it is to lie.
        key: what it depends on.
        template: how examples become tokens.
        examples: in the order of their rows.
        progress: told every few seconds how far it has come, and when the cache is there.

    Raises:
        RecollectError: STORAGE_FULL; STORAGE_CORRUPT when there are not as many as the key says;
            TEMPLATE_REFUSED, naming the example that the chat template does not take.
    """
    schema = SCHEMA.with_metadata({"key": key.name})
    num_rows, so_far = 0, sums.NOTHING
    reports = Reports(key.num_rows, progress)
    chunks = rendered_chunks(
        template, examples, max_length=key.max_length, chunk_rows=ROWS_PER_CHUNK
    )
    with atomic_file(path) as file, pa.ipc.new_file(file, schema) as writer:
        for rendered in chunks:
            batch, so_far = _record_batch(rendered), sums.with_rows(so_far, rendered)
            metadata = {CHECKSUM: checksum(batch), sums.FIELD: sums.encode(so_far)}
            writer.write_batch(batch, custom_metadata=metadata)
            num_rows += len(rendered)
            reports.done(num_rows)
        if num_rows != key.num_rows:
            raise RecollectError(
                Reason.STORAGE_CORRUPT,
                f"The store returned {num_rows} examples; the plan was sealed over {key.num_rows}.",
                fix="Verify the data folder with `recollect audit verify`.",
            )
    reports.finished()


def list_array(
    rows: Sequence[npt.NDArray[np.generic]],
    values: pa.DataType,
    *,
    num_rows: int | None = None,
    row_of: Int64s | None = None,
) -> pa.ListArray:
    """A list column of the rows, copied once.

    Args:
        rows: the rows, or parts of them in their order.
        values: type of a value.
        num_rows: rows, where parts are given.
        row_of: for each part, the row that it belongs to.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    if row_of is not None:
        # Exact: a frame has far fewer than 2**53 values.
        lengths = np.bincount(row_of, weights=lengths, minlength=num_rows or 0).astype(np.int64)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    flat = pa.array(np.concatenate(rows), type=values) if rows else pa.array([], type=values)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def checksum(batch: pa.RecordBatch) -> bytes:
    """XXH3 over length and buffers of a record batch, as its metadata holds it."""
    digest = xxhash.xxh3_64(batch.num_rows.to_bytes(8, "little"))
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None:
                digest.update(buffer)
    return digest.hexdigest().encode()


def _record_batch(rendered: Sequence[Rendered]) -> pa.RecordBatch:
    masks = [row.loss_mask for row in rendered]
    return pa.record_batch(
        {
            "input_ids": list_array([row.input_ids for row in rendered], pa.int32()),
            "loss_mask": list_array(masks, pa.bool_()),
            "num_tokens": np.array([row.num_tokens for row in rendered], dtype=np.int32),
            "num_supervised": np.array([*map(sums.num_supervised, rendered)], dtype=np.int32),
        },
        schema=SCHEMA,
    )


def _view(buffer: pa.Buffer | None, dtype: type[Number], count: int = -1) -> npt.NDArray[Number]:
    return np.zeros(0, dtype=dtype) if buffer is None else np.frombuffer(buffer, dtype, count)
