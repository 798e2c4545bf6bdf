"""What one peer's own loader delivers: run in the environment of that peer, with nothing of ours.

    python stream_peers.py PEER --data FOLDER --rows 512 --seconds 3 [--variant NAME] [--resume]

Prints one line of JSON. `bench/stream.py` makes the environments and the rows, and calls this.
Every pipeline ends where a model begins: `input_ids` int32, `loss_mask` bool and `position_ids`
int64, torch tensors of (32, length), mixed 70/15/10/5 and shuffled as the peer's guide says.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stream_measure import measure, resume, tree
from stream_shards import (
    SHUFFLE_BUFFER,
    litdata,
    megatron_energon,
    mosaicml_streaming,
    webdataset,
)
from stream_task import (
    BATCH_SIZE,
    SHARES,
    Batch,
    Rows,
    Stream,
    Task,
    all_rows,
    collate,
    epochs,
    tensors,
)

REVERB_ROWS = 4_000
"""Rows put into Reverb's tables, one call each; sampling is as fast from few as from many."""


def grain(task: Task) -> Stream:
    """MapDataset.mix of shuffled random-access sources, batched before it becomes an iterator."""
    import grain

    parts = [
        grain.MapDataset.source(rows).seed(source).shuffle().repeat()
        for source, rows in enumerate(all_rows(task))
    ]
    mixed = grain.MapDataset.mix(parts, list(SHARES)).batch(BATCH_SIZE)
    # No reading threads is what Grain recommends for data in memory.
    reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    data = mixed.to_iter_dataset(reading if task.option == "memory" else None)
    if task.workers:
        data = data.mp_prefetch(grain.MultiprocessingOptions(num_workers=task.workers))
    batches = iter(data)
    if task.state is not None:
        batches.set_state(task.state)
    return Stream(
        batches=(tensors(batch["input_ids"], batch["loss_mask"]) for batch in batches),
        save=lambda _: batches.get_state(),
    )


def _arrow_tensors(table: Any) -> Batch:
    def flat(name: str) -> np.ndarray:
        column = table.column(name).combine_chunks()
        while hasattr(column, "flatten") and column.type.num_fields:
            column = column.flatten()
        values: np.ndarray = column.to_numpy(zero_copy_only=False)
        return values.reshape(BATCH_SIZE, -1)

    # Arrow's memory is read-only.
    return tensors(flat("input_ids").copy(), flat("loss_mask"))


def _with_positions(batch: Batch) -> Batch:
    ids = batch["input_ids"]
    return {**batch, "position_ids": torch.arange(ids.shape[1]).expand(ids.shape)}


def datasets_map(task: Task) -> Stream:
    """Map-style interleave_datasets, read batch by batch through a batch sampler."""
    import datasets
    from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

    def mixed(epoch: int) -> Any:
        parts = [datasets.load_from_disk(p).shuffle(seed=epoch) for p in task.sources("arrow")]
        return datasets.interleave_datasets(
            parts, probabilities=list(SHARES), seed=epoch, stopping_strategy="all_exhausted"
        )

    def batches(epoch: int) -> Iterator[Batch]:
        data = mixed(epoch)
        if epoch == 0 and task.state is not None:
            data = data.skip(task.state)
        arrow = task.option == "arrow"
        to_batch: Callable[[Any], Batch] = _arrow_tensors if arrow else _with_positions
        data = data.with_format("arrow") if arrow else data.with_format("torch", dtype=torch.int32)
        loader = DataLoader(
            data,
            sampler=BatchSampler(SequentialSampler(data), BATCH_SIZE, drop_last=True),
            batch_size=None,
            num_workers=task.workers,
            collate_fn=to_batch,
        )
        for batch in loader:
            yield batch if arrow else {**batch, "loss_mask": batch["loss_mask"].bool()}

    return Stream(batches=epochs(batches), save=lambda num_batches: num_batches * BATCH_SIZE)


def datasets_iterable(task: Task) -> Stream:
    """interleave_datasets of iterable data sets with shuffle buffers."""
    import datasets
    from torch.utils.data import DataLoader

    parts = [
        datasets.load_from_disk(path)
        .to_iterable_dataset(num_shards=max(1, task.workers))
        .shuffle(seed=0, buffer_size=SHUFFLE_BUFFER)
        .repeat(None)
        for path in task.sources("arrow")
    ]
    mixed = datasets.interleave_datasets(parts, probabilities=list(SHARES), seed=0)
    size: int | None = BATCH_SIZE
    to_batch: Callable[[Any], Batch] = _as_int32
    data = mixed.with_format("numpy")
    if task.option == "batch":
        data, size, to_batch = mixed.with_format("arrow").batch(BATCH_SIZE), None, _arrow_tensors
    if task.state is not None:
        data.load_state_dict(task.state)
    loader = DataLoader(data, batch_size=size, num_workers=task.workers, collate_fn=to_batch)
    # State is of the data set in this process: with workers it is torchdata's to keep.
    return Stream(batches=loader, save=None if task.workers else lambda _: data.state_dict())


def _as_int32(rows: Sequence[dict[str, Any]]) -> Batch:
    # The format makes every integer int64.
    batch = collate(rows)
    return {**batch, "input_ids": batch["input_ids"].int()}


def _weights(rows: Sequence[Rows]) -> np.ndarray:
    return np.concatenate(
        [np.full(len(part), share / len(part)) for part, share in zip(rows, SHARES, strict=True)]
    )


def torchdata_loader(task: Task) -> Stream:
    """StatefulDataLoader over the four map-style data sets, drawn by WeightedRandomSampler."""
    from torch.utils.data import ConcatDataset, WeightedRandomSampler
    from torchdata.stateful_dataloader import StatefulDataLoader

    rows: Any = all_rows(task)
    data: Any = ConcatDataset(rows)
    weights: Any = torch.from_numpy(_weights(rows))
    generator = torch.Generator().manual_seed(0)
    loader = StatefulDataLoader(
        data,
        batch_size=BATCH_SIZE,
        sampler=WeightedRandomSampler(weights, len(data), generator=generator),
        num_workers=task.workers,
        collate_fn=collate,
        drop_last=True,
    )
    if task.state is not None:
        loader.load_state_dict(task.state)
    return Stream(batches=epochs(lambda _: loader), save=lambda _: loader.state_dict())


def torchdata_nodes(task: Task) -> Stream:
    """MultiNodeWeightedSampler over four map-style data sets, with the mapper's workers."""
    from torchdata import nodes
    from torchdata.stateful_dataloader.sampler import RandomSampler

    parts = {}
    for source, rows in enumerate(all_rows(task)):
        sampler = RandomSampler(rows, generator=torch.Generator().manual_seed(source))
        parts[str(source)] = nodes.MapStyleWrapper(map_dataset=rows, sampler=sampler)
    weights = dict(zip(parts, SHARES, strict=True))
    node: Any = nodes.MultiNodeWeightedSampler(
        parts, weights, stop_criteria=nodes.StopCriteria.CYCLE_FOREVER, seed=0
    )
    node = nodes.Batcher(node, batch_size=BATCH_SIZE, drop_last=True)
    method = {"processes": "process", "threads": "thread"}.get(task.option, "thread")
    if task.workers:
        node = nodes.ParallelMapper(node, collate, num_workers=task.workers, method=method)
        node = nodes.Prefetcher(node, prefetch_factor=4)
    else:
        node = nodes.Mapper(node, collate)
    loader = nodes.Loader(node)
    if task.state is not None:
        loader.load_state_dict(task.state)
    return Stream(batches=loader, save=lambda _: loader.state_dict())


class Gather:
    """A data set whose batches are gathered by the user's own code, a source at a time."""

    def __init__(self, rows: list[Rows]) -> None:
        self.rows = rows
        self.firsts = np.concatenate([[0], np.cumsum([len(part) for part in rows])])

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __getitems__(self, numbers: list[int]) -> Batch:
        wanted = np.asarray(numbers)
        of = np.searchsorted(self.firsts, wanted, side="right") - 1
        length = self.rows[0].tokens.shape[1]
        ids = np.empty((wanted.size, length), np.int32)
        mask = np.empty((wanted.size, length), np.bool_)
        for source, part in enumerate(self.rows):
            places = np.flatnonzero(of == source)
            own = wanted[places] - self.firsts[source]
            ids[places], mask[places] = part.tokens[own], part.mask[own]
        return tensors(ids, mask)


def own_gather(task: Task) -> Stream:
    """No package: torch's DataLoader over a gather that a user wrote by hand (`__getitems__`)."""
    from torch.utils.data import DataLoader, WeightedRandomSampler

    rows = all_rows(task)
    data: Any = Gather(rows)
    weights: Any = torch.from_numpy(_weights(rows))
    sampler = WeightedRandomSampler(weights, len(data))
    loader = DataLoader(
        data,
        batch_size=BATCH_SIZE,
        sampler=sampler,
        num_workers=task.workers,
        collate_fn=lambda batch: batch,
        drop_last=True,
    )
    return Stream(batches=epochs(lambda _: loader))


def dm_reverb(task: Task) -> Stream:
    """A server with four tables, sampled over its own gRPC through TrajectoryDataset."""
    import reverb
    import tensorflow as tf

    names = [str(source) for source in range(len(SHARES))]
    signature = {
        "input_ids": tf.TensorSpec([1, task.length], tf.int32),
        "loss_mask": tf.TensorSpec([1, task.length], tf.bool),
    }
    tables = [
        reverb.Table(
            name=name,
            sampler=reverb.selectors.Uniform(),
            remover=reverb.selectors.Fifo(),
            max_size=REVERB_ROWS,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature=signature,
        )
        for name in names
    ]
    server = reverb.Server(tables)
    address = f"localhost:{server.port}"
    with reverb.Client(address).trajectory_writer(num_keep_alive_refs=1) as writer:
        for name, share, rows in zip(names, SHARES, all_rows(task), strict=True):
            for row in range(round(REVERB_ROWS * share)):
                writer.append({key: np.array(value) for key, value in rows[row].items()})
                history = writer.history
                writer.create_item(name, 1.0, {key: history[key][-1:] for key in signature})
        writer.flush()
    parts = [
        reverb.TrajectoryDataset.from_table_signature(
            address, name, max_in_flight_samples_per_worker=3 * BATCH_SIZE
        )
        for name in names
    ]
    mixed = tf.data.Dataset.sample_from_datasets(parts, list(SHARES), seed=0)
    mixed = mixed.map(lambda sample: sample.data).batch(BATCH_SIZE, drop_remainder=True)

    def batches() -> Iterator[Batch]:
        for batch in mixed.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
            ids, mask = (batch[key].reshape(BATCH_SIZE, -1) for key in signature)
            yield tensors(ids, mask)
        server.stop()

    return Stream(batches=batches())


# Workers and the option of every way that a peer's guide shows; the fastest one counts.
PEERS: dict[str, tuple[str, Callable[[Task], Stream], tuple[tuple[int, str], ...]]] = {
    "grain": ("grain", grain, ((0, "memory"), (0, "threads"), (2, "memory"))),
    "datasets_map": (
        "datasets",
        datasets_map,
        ((0, "torch"), (0, "arrow"), (2, "torch"), (2, "arrow")),
    ),
    "datasets_iterable": (
        "datasets",
        datasets_iterable,
        ((0, "rows"), (0, "batch"), (2, "rows"), (2, "batch")),
    ),
    "mosaicml_streaming": ("mosaicml-streaming", mosaicml_streaming, ((0, ""), (2, ""))),
    "webdataset": ("webdataset", webdataset, ((0, ""), (2, ""))),
    "litdata": ("litdata", litdata, ((0, ""), (2, ""))),
    "megatron_energon": ("megatron-energon", megatron_energon, ((0, ""), (2, ""))),
    "torchdata_loader": ("torchdata", torchdata_loader, ((0, ""), (2, ""))),
    "torchdata_nodes": (
        "torchdata",
        torchdata_nodes,
        ((0, ""), (2, "threads"), (2, "processes")),
    ),
    "dm_reverb": ("dm-reverb", dm_reverb, ((0, ""),)),
    "own_gather": ("torch", own_gather, ((0, ""), (2, ""))),
}
"""The package, its pipeline, and (workers, option) of its variants."""


def variant_name(workers: int, option: str) -> str:
    """How a variant is called in the results."""
    return f"{workers} workers" + (f", {option}" if option else "")


def main() -> None:
    """Measures one variant of one peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True, help="tokens of a row")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--variant", type=int, default=0, help="number of the variant")
    parser.add_argument("--resume", action="store_true", help="measure resuming instead")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    package, pipeline, variants = PEERS[options.peer]
    workers, option = variants[options.variant]

    def make(state: Any) -> Stream:
        asked = Task(
            data=options.data.resolve(),
            length=options.rows,
            workers=workers,
            option=option,
            state=state,
        )
        return pipeline(asked)

    figures = resume(make) if options.resume else measure(make, options.rows, options.seconds)
    versions = {name: importlib.metadata.version(name) for name in (package, "torch", "numpy")}
    print(json.dumps({"variant": variant_name(workers, option), "versions": versions, **figures}))
    sys.stdout.flush()
    # Some loaders leave threads or workers behind that would keep the process from ending.
    for process in tree():
        if process != os.getpid():
            os.kill(process, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
