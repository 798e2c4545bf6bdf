"""The vector index: nearest and nearly equal examples, through FAISS on a CPU or a GPU.

Search is exact (flat inner product over vectors of length 1, so a product is a cosine). An index is
a cache of what `embed` gives for a source: it is written beside a digest of its own and is believed
only where the digest matches, for FAISS does not defend itself against a damaged file.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...mixer.errors import Reason, RecollectError
from ..durable import atomic_file
from . import embedding
from .snapshot import Snapshot
from .store import ReplayStore

Vectors = npt.NDArray[np.float32]

THRESHOLD = 0.9
"""Least cosine similarity of two near-duplicates."""
_BATCH = 1024
_MAX_THREADS = 2
_MAX_GPU_NEIGHBOURS = 2048
"""What FAISS returns per query on a GPU at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicates:
    """A group of rows that nearly equal one another."""

    rows: tuple[int, ...]
    """Rows of the source, ascending, two or more."""
    similarity: float
    """Least similarity of an edge that holds the group together."""


class VectorIndex:
    """Rows of a source by their vectors; row numbers are those of the snapshot."""

    def __init__(self, num_dimensions: int = embedding.NUM_DIMENSIONS) -> None:
        self._index = _faiss().IndexFlatIP(num_dimensions)
        self._on_gpu: Any = None

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def device(self) -> str:
        """Where searches run: `cpu` or `gpu`."""
        return "gpu" if _num_gpus() > 0 else "cpu"

    def add(self, vectors: Vectors) -> None:
        """Appends rows, float32[n, num_dimensions], each of length 1 or 0."""
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self._on_gpu = None

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """The k nearest rows of each query, best first: similarities and rows, [n, k] or less."""
        k = min(k, len(self))
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        similarities, rows = self._engine().search(np.ascontiguousarray(queries, np.float32), k)
        return similarities, rows

    def near_duplicates(self, threshold: float = THRESHOLD) -> list[NearDuplicates]:
        """Groups of rows that are linked by similarities of at least `threshold`, largest first.

        A chain of near-duplicates is one group, even where its ends are further apart.
        """
        if not 0 < threshold <= 1:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"{threshold} is not a cosine similarity in (0, 1]",
                where="threshold",
            )
        groups = _Groups(len(self))
        for left, right, similarities in self._edges(threshold):
            groups.link(left, right, similarities)
        return groups.collect()

    def to_bytes(self) -> bytes:
        """The index as FAISS writes it."""
        content: bytes = _faiss().serialize_index(self._index).tobytes()
        return content

    @classmethod
    def from_bytes(cls, content: bytes) -> VectorIndex:
        """The index that `to_bytes` wrote. Only for bytes whose digest was checked."""
        loaded = cls.__new__(cls)
        loaded._index = _faiss().deserialize_index(np.frombuffer(content, dtype=np.uint8))
        loaded._on_gpu = None
        return loaded

    def _engine(self) -> Any:
        if _num_gpus() == 0:
            return self._index
        if self._on_gpu is None:
            faiss = _faiss()
            self._on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self._index)
        return self._on_gpu

    def _edges(
        self, threshold: float
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors]]:
        """Pairs (row, later row, similarity) that reach the threshold."""
        # FAISS returns what is strictly above; rounding in its sums asks for a little more room.
        radius = threshold - 1e-6
        for first in range(0, len(self), _BATCH):
            queries = self._index.reconstruct_n(first, min(_BATCH, len(self) - first))
            find = self._edges_on_cpu if _num_gpus() == 0 else self._edges_on_gpu
            left, right, similarities = find(queries, first, radius)
            later = right > left
            yield left[later], right[later], similarities[later]

    def _edges_on_cpu(
        self, queries: Vectors, first: int, radius: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors]:
        limits, similarities, right = self._index.range_search(queries, radius)
        counts = np.diff(limits.astype(np.int64))
        return np.repeat(np.arange(first, first + len(queries)), counts), right, similarities

    def _edges_on_gpu(
        self, queries: Vectors, first: int, radius: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors]:
        """A GPU has no range search: ask for neighbours until the last one is out of range."""
        k = 32
        while True:
            similarities, rows = self.search(queries, k)
            if k >= len(self) or (similarities[:, -1] <= radius).all():
                break
            if k >= _MAX_GPU_NEIGHBOURS:
                return self._edges_on_cpu(queries, first, radius)
            k *= 4
        query, place = np.nonzero(similarities > radius)
        return query + first, rows[query, place], similarities[query, place]


class _Groups:
    """Union-find over rows, which remembers the weakest edge of every group."""

    def __init__(self, num_rows: int) -> None:
        self._parents = list(range(num_rows))
        self._weakest: dict[int, float] = {}

    def link(
        self,
        left: npt.NDArray[np.int64],
        right: npt.NDArray[np.int64],
        similarities: Vectors,
    ) -> None:
        for one, other, similarity in zip(
            left.tolist(), right.tolist(), similarities.tolist(), strict=True
        ):
            first, second = sorted((self._root(one), self._root(other)))
            self._parents[second] = first
            known = (self._weakest.pop(root, 1.0) for root in {first, second})
            self._weakest[first] = min(similarity, *known)

    def collect(self) -> list[NearDuplicates]:
        members: dict[int, list[int]] = {root: [] for root in self._weakest}
        for row in range(len(self._parents)):
            root = self._root(row)
            if root in members:
                members[root].append(row)
        groups = [
            NearDuplicates(rows=tuple(rows), similarity=min(self._weakest[root], 1.0))
            for root, rows in members.items()
        ]
        return sorted(groups, key=lambda group: (-len(group.rows), group.rows))

    def _root(self, row: int) -> int:
        while self._parents[row] != row:
            self._parents[row] = self._parents[self._parents[row]]
            row = self._parents[row]
        return row


def open_index(store: ReplayStore, snapshot: Snapshot, source: str) -> VectorIndex:
    """The index of a source, from the cache where that is sound, else made anew.

    Raises:
        RecollectError: SOURCE_UNKNOWN; STORAGE_CORRUPT where a segment is damaged; STORAGE_FULL.
    """

    def build() -> VectorIndex:
        index = VectorIndex()
        texts: list[str] = []
        for example in store.examples(snapshot, source):
            texts.append("\n".join(message.content for message in example.messages))
            if len(texts) == _BATCH:
                index.add(embedding.embed(texts))
                texts.clear()
        index.add(embedding.embed(texts))
        return index

    if source not in snapshot.sources:
        return build()
    digest = snapshot.sources[source].content_digest
    path = store.folder / "cache" / "index" / f"{source}-{digest}.faiss"
    index = load_index(path, build)
    # One index per source is kept: what an older snapshot held must not live on in a cache.
    # The hidden ones are what a process left that was killed while it wrote.
    for pattern in (f"{source}-*", f".{source}-*.tmp"):
        for stale in path.parent.glob(pattern):
            if stale.stem != path.stem:
                stale.unlink(missing_ok=True)
    return index


def load_index(path: Path, build: Callable[[], VectorIndex]) -> VectorIndex:
    """The index in a file, or the one that `build` makes, which is then written there."""
    note = path.with_suffix(".json")
    try:
        content = path.read_bytes()
        if json.loads(note.read_bytes()) == _note(content):
            return VectorIndex.from_bytes(content)
    except (OSError, ValueError):
        pass
    index = build()
    content = index.to_bytes()
    for place, written in ((note, json.dumps(_note(content)).encode()), (path, content)):
        with atomic_file(place) as file:
            file.write(written)
    return index


def _note(content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {"version": 1, "embedding": embedding.VERSION, "sha256": digest}


@cache
def _faiss() -> ModuleType:
    with warnings.catch_warnings():
        # Older SWIG bindings warn about their own types on Python 3.12 and later.
        warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
        import faiss
    # As shipped, some builds use matrix products from 128,000 queries on only, which makes a batch
    # of a thousand about ten times slower than need be.
    faiss.cvar.distance_compute_blas_threshold = 20
    faiss.omp_set_num_threads(min(_MAX_THREADS, os.cpu_count() or 1))
    module: ModuleType = faiss
    return module


def _num_gpus() -> int:
    faiss = _faiss()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0
