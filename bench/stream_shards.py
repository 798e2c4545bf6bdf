"""The peers that read shards of a format of their own; part of `stream_peers.py`."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

from stream_task import (
    BATCH_SIZE,
    SHARES,
    Batch,
    Stream,
    Task,
    collate,
    collate_bytes,
    collate_tensors,
    epochs,
)

SHUFFLE_BUFFER = 1_000
"""Rows of a shuffle buffer, where a peer shuffles by buffer; 1,000 is what their guides show."""
ENERGON_SEQUENCE = 100
"""Rows that Energon reads in a row before it jumps, as in its quickstart."""


class _Stub(types.ModuleType):
    """A module in which every name is a class of nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def without_torchvision() -> None:
    """Streaming imports torchvision for its image sets, which no CPU build of torch goes with."""
    import transformers  # noqa: F401  it looks whether torchvision is there

    for name in ("", ".datasets", ".transforms", ".transforms.functional"):
        sys.modules[f"torchvision{name}"] = _Stub(f"torchvision{name}")


def mosaicml_streaming(task: Task) -> Stream:
    """StreamingDataset over four streams with proportions, shuffled, in its own loader."""
    without_torchvision()
    from streaming import Stream as Source
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    parts = zip(task.sources("mds"), SHARES, strict=True)
    data = StreamingDataset(
        streams=[Source(local=path, proportion=share) for path, share in parts],
        batch_size=BATCH_SIZE,
        shuffle=True,
        shuffle_seed=0,
    )
    loader = StreamingDataLoader(
        data,
        batch_size=BATCH_SIZE,
        num_workers=task.workers,
        collate_fn=collate,
        drop_last=True,
    )
    if task.state is not None:
        loader.load_state_dict(task.state)
    return Stream(batches=epochs(lambda _: loader), save=lambda _: loader.state_dict())


def webdataset(task: Task) -> Stream:
    """RandomMix of resampled shards with shuffle buffers; it has no state to save."""
    import webdataset

    parts = []
    for path in task.sources("tar"):
        shards = [str(shard) for shard in sorted(Path(path).glob("*.tar"))]
        part = webdataset.WebDataset(shards, resampled=True, seed=0)
        parts.append(part.shuffle(SHUFFLE_BUFFER).map(lambda sample: sample["row"]))
    mixed = webdataset.DataPipeline(
        webdataset.RandomMix(parts, list(SHARES)),
        webdataset.batched(BATCH_SIZE, collation_fn=collate_bytes, partial=False),
    )
    return Stream(batches=webdataset.WebLoader(mixed, batch_size=None, num_workers=task.workers))


def litdata(task: Task) -> Stream:
    """CombinedStreamingDataset of four optimized folders, shuffled, in its own loader."""
    import litdata

    parts = [
        litdata.StreamingDataset(path, shuffle=True, drop_last=True)
        for path in task.sources("litdata")
    ]
    mixed = litdata.CombinedStreamingDataset(
        parts, seed=0, weights=list(SHARES), iterate_over_all=False
    )
    loader = litdata.StreamingDataLoader(
        mixed,
        batch_size=BATCH_SIZE,
        num_workers=task.workers,
        collate_fn=collate_tensors,
        drop_last=True,
    )
    if task.state is not None:
        loader.load_state_dict(task.state)
    full = (batch for batch in epochs(lambda _: loader) if len(batch["input_ids"]) == BATCH_SIZE)
    return Stream(batches=full, save=lambda _: loader.state_dict())


def megatron_energon(task: Task) -> Stream:
    """A blend of crude web data sets, cooked and batched by a task encoder, in a savable loader."""
    from megatron import energon

    @energon.edataclass
    class Row(energon.Sample):  # type: ignore[misc]
        body: bytes

    @energon.stateless  # type: ignore[untyped-decorator]
    def cook(sample: dict[str, Any]) -> Row:
        return Row(**energon.basic_sample_keys(sample), body=sample["row"])

    class Encoder(energon.DefaultTaskEncoder):  # type: ignore[misc]
        cookers = (energon.Cooker(cook),)
        decoder = None

        @energon.stateless  # type: ignore[untyped-decorator]
        def batch(self, samples: list[Row]) -> Batch:
            return collate_bytes([sample.body for sample in samples])

    data = energon.get_train_dataset(
        task.data / str(task.length) / "energon" / "blend.yaml",
        worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=task.workers),
        batch_size=BATCH_SIZE,
        shuffle_buffer_size=SHUFFLE_BUFFER,
        max_samples_per_sequence=ENERGON_SEQUENCE,
        task_encoder=Encoder(),
    )
    loader = energon.get_savable_loader(data)
    if task.state is not None:
        loader.restore_state_rank(task.state)
    return Stream(batches=loader, save=lambda _: loader.save_state_rank())
