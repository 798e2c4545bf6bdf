"""The task of the speed table, in words that every pipeline shares: rows, batches, streams.

Imported in the environments of the peers, so it needs numpy and torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

SHARES = (0.7, 0.15, 0.1, 0.05)
BATCH_SIZE = 32
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is asked of a peer."""

    data: Path
    length: int
    workers: int
    option: str
    state: Any = None
    """Where to continue, as `Stream.save` gave it."""

    def sources(self, name: str) -> list[str]:
        """The folders of the four sources in a format."""
        return [str(self.data / str(self.length) / name / str(i)) for i in range(len(SHARES))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Batches without end, and how to save the place after so many of them."""

    batches: Iterable[Batch]
    save: Callable[[int], Any] | None = None


class Rows:
    """The rows of one source in memory maps, opened where they are read."""

    def __init__(self, data: Path, length: int, source: int) -> None:
        self.where = (data, length, source)
        start = str(data / str(length) / "raw" / str(source))
        # Copy on write, because torch warns of arrays that cannot be written.
        self.tokens = np.load(f"{start}.tokens.npy", mmap_mode="c")
        self.mask = np.load(f"{start}.mask.npy", mmap_mode="c")

    def __reduce__(self) -> tuple[type[Rows], tuple[Path, int, int]]:
        return Rows, self.where

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: Any) -> dict[str, np.ndarray]:
        return {"input_ids": self.tokens[row], "loss_mask": self.mask[row]}


def all_rows(task: Task) -> list[Rows]:
    """The four sources."""
    return [Rows(task.data, task.length, source) for source in range(len(SHARES))]


def tensors(input_ids: np.ndarray, loss_mask: np.ndarray) -> Batch:
    """What the model takes."""
    ids = torch.from_numpy(input_ids)
    return {
        "input_ids": ids,
        "loss_mask": torch.from_numpy(loss_mask.view(np.bool_)),
        "position_ids": torch.arange(ids.shape[1]).expand(ids.shape),
    }


def collate(rows: Sequence[dict[str, Any]]) -> Batch:
    """Rows of numpy arrays to a batch."""
    ids, mask = (np.stack([row[name] for row in rows]) for name in ("input_ids", "loss_mask"))
    return tensors(ids, mask)


def collate_tensors(rows: Sequence[Batch]) -> Batch:
    """Rows of tensors to a batch."""
    ids, mask = (torch.stack([row[name] for row in rows]) for name in ("input_ids", "loss_mask"))
    positions = torch.arange(ids.shape[1]).expand(ids.shape)
    return {"input_ids": ids, "loss_mask": mask, "position_ids": positions}


def collate_bytes(rows: Sequence[bytes]) -> Batch:
    """Rows of bytes, tokens and then mask, to a batch."""
    both = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    cut = both.shape[1] * 4 // 5
    ids, mask = (np.ascontiguousarray(part) for part in (both[:, :cut], both[:, cut:]))
    return tensors(ids.view(np.int32), mask)


def epochs(make: Callable[[int], Iterable[Batch]]) -> Iterator[Batch]:
    """The batches of one epoch after another."""
    epoch = 0
    while True:
        yield from make(epoch)
        epoch += 1
