"""What the teacher says of every token, beside the token cache that it was computed from.

Teacher log-probabilities are optional: a plan is streamed without them unless a trainer asks. The
file has the layout of a token cache, row for row, with 0.0 for the first token, which nothing
predicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...mixer.errors import Reason, RecollectError
from ..durable import atomic_file
from .tokens import (
    CHECKSUM,
    ROWS_PER_CHUNK,
    UNREADABLE,
    DamagedCache,
    Int64s,
    TokenCache,
    checksum,
    list_array,
    verified_batch,
)

SCHEMA = pa.schema([("teacher_logprobs", pa.list_(pa.float32()))])
FORMAT = "recollect-annotations-2"

Float32s = npt.NDArray[np.float32]


def annotation_name(cache: TokenCache, teacher_digest: str) -> str:
    """Name of the annotations of a cache by one teacher."""
    fields = "\n".join((FORMAT, cache.key.name, teacher_digest))
    return hashlib.sha256(fields.encode()).hexdigest()[:32]


def annotation_path(folder: Path, cache: TokenCache, teacher_digest: str) -> Path:
    """Where the annotations of a cache by one teacher lie."""
    return folder / f"{annotation_name(cache, teacher_digest)}.annotations.arrow"


class AnnotationWriter:
    """Writes the annotations of a whole cache, row by row; nothing exists until its end.

    Use it as a context manager: leaving it with an exception leaves nothing behind.
    """

    def __init__(self, folder: Path, cache: TokenCache, teacher_digest: str) -> None:
        self.path = annotation_path(folder, cache, teacher_digest)
        self._cache = cache
        self._lengths = cache.lengths
        self._pending: list[Float32s] = []
        self._num_rows = 0
        self._atomic = atomic_file(self.path)
        self._schema = SCHEMA.with_metadata({"key": annotation_name(cache, teacher_digest)})

    def __enter__(self) -> AnnotationWriter:
        self._writer = pa.ipc.new_file(self._atomic.__enter__(), self._schema)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._atomic.__exit__(kind, error, trace)

    def write(self, rows: Sequence[Float32s]) -> None:
        """Appends the log-probabilities of the next rows, one array per row, as long as the row."""
        for row in rows:
            if self._num_rows >= len(self._lengths) or len(row) != self._lengths[self._num_rows]:
                raise ValueError(f"row {self._num_rows} does not align with the token cache")
            self._pending.append(np.asarray(row, dtype=np.float32))
            self._num_rows += 1
            if len(self._pending) == ROWS_PER_CHUNK:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            column = list_array(self._pending, pa.float32())
            batch = pa.record_batch({"teacher_logprobs": column}, schema=SCHEMA)
            self._writer.write_batch(batch, custom_metadata={CHECKSUM: checksum(batch)})
            self._pending = []

    def _finish(self) -> None:
        if self._num_rows != len(self._lengths):
            raise ValueError(f"{self._num_rows} rows were annotated of {len(self._lengths)}")
        self._flush()
        self._writer.close()


class Annotations:
    """The annotations of one token cache; safe to share between threads."""

    def __init__(self, folder: Path, cache: TokenCache, teacher_digest: str) -> None:
        """Maps the file.

        Raises:
            DamagedCache: it is missing, cut off, or belongs to another cache or teacher.
        """
        try:
            path = annotation_path(folder, cache, teacher_digest)
            self._name = path.name
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except UNREADABLE as error:
            raise DamagedCache(type(error).__name__) from error
        metadata = self._reader.schema.metadata or {}
        if metadata.get(b"key") != annotation_name(cache, teacher_digest).encode():
            raise DamagedCache("another cache or teacher")
        self._chunks: dict[int, tuple[npt.NDArray[np.int32], Float32s]] = {}

    def gather(self, example_rows: Int64s) -> list[Float32s]:
        """Log-probabilities of the rows, as views, in the order asked for."""
        whole = np.full_like(example_rows, np.iinfo(np.int32).max)
        return self.gather_ranges(example_rows, np.zeros_like(whole), whole)

    def gather_ranges(self, example_rows: Int64s, firsts: Int64s, ends: Int64s) -> list[Float32s]:
        """The same of a range of the tokens of each row: from `firsts` to before `ends`.

        What a range begins with was scored by a teacher that had seen what comes before.
        """
        gathered = []
        columns = (example_rows.tolist(), firsts.tolist(), ends.tolist())
        for row, first, end in zip(*columns, strict=True):
            offsets, values = self._chunk(row // ROWS_PER_CHUNK)
            begin, stop = offsets[row % ROWS_PER_CHUNK :][:2].tolist()
            gathered.append(values[begin + first : min(begin + end, stop)])
        return gathered

    def rows(self, example_rows: Int64s) -> pa.RecordBatch:
        """The rows as column `teacher_logprobs`."""
        column = list_array(self.gather(example_rows), pa.float32())
        return pa.record_batch({"teacher_logprobs": column}, schema=SCHEMA)

    def _chunk(self, index: int) -> tuple[npt.NDArray[np.int32], Float32s]:
        # Two threads may both read a chunk; they find the same, and the last one stays.
        if index not in self._chunks:
            try:
                batch = verified_batch(self._reader, index)
            except (DamagedCache, *UNREADABLE) as error:
                # Not cured in passing: only the teacher can compute them again.
                raise RecollectError(
                    Reason.STORAGE_CORRUPT,
                    "The teacher's annotations do not match their checksum.",
                    where=self._name,
                    fix="Let the teacher annotate the plan again.",
                ) from error
            column = batch.column("teacher_logprobs")
            self._chunks[index] = (column.offsets.to_numpy(), column.values.to_numpy())
        return self._chunks[index]


class AnnotationShelf:
    """The annotations of plans, by the one teacher that serves."""

    def __init__(self, folder: Path, *, teacher_digest: str) -> None:
        self._folder = folder
        self._teacher_digest = teacher_digest
        self._open: dict[str, Annotations] = {}

    def of(self, caches: Sequence[TokenCache]) -> Sequence[Annotations]:
        """The annotations of every cache, in order.

        Raises:
            RecollectError: TEACHER_MISSING when the teacher has not annotated them all.
        """
        return [self._one(cache) for cache in caches]

    def forget(self, cache: TokenCache) -> None:
        """Drops what is open of a cache: the teacher is about to annotate it again."""
        self._open.pop(cache.key.name, None)

    def _one(self, cache: TokenCache) -> Annotations:
        name = cache.key.name
        try:
            if name not in self._open:
                self._open[name] = Annotations(self._folder, cache, self._teacher_digest)
            return self._open[name]
        except DamagedCache as error:
            raise RecollectError(
                Reason.TEACHER_MISSING,
                "The sources of this plan have no annotations by the teacher that serves.",
                fix="Let the teacher annotate the plan first, or ask for batches without them.",
            ) from error
