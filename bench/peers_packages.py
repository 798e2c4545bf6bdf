"""What the peers' own loaders yield: run in the environment of one package, with nothing of ours.

    python bench/peers_packages.py CASE OUT.npz

`bench/peers.py` makes the environments and calls this. Sources are told apart by the tag that their
rows carry; what is written is the tag of every row in the order of steps, and the rank it went to.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHARES = (0.7, 0.15, 0.1, 0.05)
BATCH_SIZE, WORLD_SIZE, NUM_BATCHES = 32, 4, 10_000
NUM_ROWS = BATCH_SIZE * NUM_BATCHES
SHARD_ROWS = BATCH_SIZE // WORLD_SIZE
RAY_BLOCK_ROWS = 128

Rows = tuple[np.ndarray, np.ndarray]


def _one_reader(tags: Iterable[int]) -> Rows:
    """One loader for all: its rows go round the ranks."""
    sources = np.fromiter(itertools.islice(tags, NUM_ROWS), dtype=np.int8, count=NUM_ROWS)
    return sources, (np.arange(NUM_ROWS) % WORLD_SIZE).astype(np.int8)


def _a_reader_each(readers: Iterable[Iterable[int]]) -> Rows:
    """A loader for each rank: a step takes the next rows of every rank, one after another."""
    own = [
        np.fromiter(itertools.islice(tags, NUM_ROWS // WORLD_SIZE), dtype=np.int8)
        for tags in readers
    ]
    steps = np.stack(own).reshape(WORLD_SIZE, -1, SHARD_ROWS).transpose(1, 0, 2)
    ranks = np.broadcast_to(np.arange(WORLD_SIZE)[None, :, None], steps.shape)
    return steps.ravel(), ranks.ravel().astype(np.int8)


def _grain_sources() -> list[Any]:
    import grain

    return [
        grain.MapDataset.range(NUM_ROWS).map(lambda _, tag=tag: tag) for tag in range(len(SHARES))
    ]


def grain_mix() -> Rows:
    """MapDataset.mix, divided by Grain's own ElasticIterator."""
    import grain
    from grain import experimental

    mixed = grain.MapDataset.mix(_grain_sources(), list(SHARES))
    reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    sources = np.empty((NUM_BATCHES, SHARD_ROWS, WORLD_SIZE), dtype=np.int8)
    for rank in range(WORLD_SIZE):
        options = grain.sharding.ShardOptions(shard_index=rank, shard_count=WORLD_SIZE)
        batches = experimental.ElasticIterator(mixed, BATCH_SIZE, options, read_options=reading)
        for step, batch in enumerate(itertools.islice(batches, NUM_BATCHES)):
            sources[step, :, rank] = batch
    return sources.ravel(), (np.arange(NUM_ROWS) % WORLD_SIZE).astype(np.int8)


def grain_each() -> Rows:
    """Every rank mixes its own shards of the sources."""
    import grain

    mixed = [
        grain.MapDataset.mix([s[rank::WORLD_SIZE] for s in _grain_sources()], list(SHARES))
        for rank in range(WORLD_SIZE)
    ]
    return _a_reader_each((tags[i] for i in itertools.count()) for tags in mixed)


def datasets_interleave() -> Rows:
    """interleave_datasets with probabilities."""
    import datasets

    sources = [
        datasets.Dataset.from_dict({"tag": np.full(int(NUM_ROWS * share * 1.2), tag)})
        for tag, share in enumerate(SHARES)
    ]
    mixed = datasets.interleave_datasets(sources, probabilities=list(SHARES), seed=0)
    return _one_reader(mixed.with_format("numpy")["tag"][:NUM_ROWS])


def torchdata_weighted() -> Rows:
    """MultiNodeWeightedSampler, one for each rank."""
    from torchdata.nodes import IterableWrapper, MultiNodeWeightedSampler

    def reader(rank: int) -> Iterator[int]:
        nodes = {str(tag): IterableWrapper([tag] * NUM_ROWS) for tag in range(len(SHARES))}
        weights = {str(tag): share for tag, share in enumerate(SHARES)}
        node = MultiNodeWeightedSampler(nodes, weights, rank=rank, world_size=WORLD_SIZE, seed=0)
        node.reset()
        while True:
            yield node.next()

    return _a_reader_each(reader(rank) for rank in range(WORLD_SIZE))


def webdataset_mix() -> Rows:
    """RandomMix, which draws from Python's global random numbers."""
    import webdataset

    random.seed(0)
    return _one_reader(
        iter(webdataset.RandomMix([itertools.repeat(tag) for tag in range(4)], list(SHARES)))
    )


def lhotse_mux() -> Rows:
    """The multiplexer behind CutSet.mux."""
    from lhotse.lazy import LazyIteratorMultiplexer

    sources = [itertools.repeat(tag) for tag in range(len(SHARES))]
    return _one_reader(iter(LazyIteratorMultiplexer(*sources, weights=list(SHARES), seed=0)))


def litdata_combined() -> Rows:
    """CombinedStreamingDataset over four optimized folders."""
    import litdata
    from litdata.streaming.writer import BinaryWriter

    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for tag, share in enumerate(SHARES):
            place = str(Path(folder) / str(tag))
            writer = BinaryWriter(place, chunk_size=4096)
            for index in range(int(NUM_ROWS * share * 1.2)):
                writer.add_item(index, tag)
            writer.done()
            writer.merge(1)
            sources.append(litdata.StreamingDataset(place))
        mixed = litdata.CombinedStreamingDataset(
            sources, seed=0, weights=list(SHARES), iterate_over_all=False
        )
        return _one_reader(int(tag) for tag in mixed)


def _streaming(method: str, epoch_rows: int) -> Rows:
    """The package's own arrangement of an epoch for four ranks, and its rows for one."""
    from streaming import MDSWriter, Stream, StreamingDataset
    from streaming.base.batching import generate_work
    from streaming.base.world import World

    with tempfile.TemporaryDirectory() as folder:
        streams, lengths = [], []
        for tag, share in enumerate(SHARES):
            place = str(Path(folder) / str(tag))
            lengths.append(int(NUM_ROWS * share) // 100)
            with MDSWriter(out=place, columns={"tag": "int"}) as writer:
                for _ in range(lengths[-1]):
                    writer.write({"tag": tag})
            streams.append(Stream(local=place, proportion=share))
        data = StreamingDataset(
            streams=streams,
            batch_size=SHARD_ROWS,
            epoch_size=epoch_rows,
            batching_method=method,
            shuffle=True,
            shuffle_seed=0,
            num_canonical_nodes=1,
            shuffle_block_size=4_000_000,  # the default, which is set when iteration starts
        )
        work = generate_work(method, data, World(1, WORLD_SIZE, 1, 0), 0, 0)
        tags = np.array([data[int(i)]["tag"] for i in range(sum(lengths))], dtype=np.int8)
    # (nodes, ranks, workers, batches, rows) to (batches, ranks, rows)
    steps = tags[work[0, :, 0, :NUM_BATCHES].transpose(1, 0, 2)]
    ranks = np.broadcast_to(np.arange(WORLD_SIZE)[None, :, None], steps.shape)
    return steps.ravel(), ranks.ravel().astype(np.int8)


def streaming_random() -> Rows:
    """batching_method="random", the default."""
    return _streaming("random", NUM_ROWS)


def streaming_stratified() -> Rows:
    """batching_method="stratified"."""
    # Such an epoch ends with the stream that runs out first.
    return _streaming("stratified", NUM_ROWS * 3 // 2)


def ray_mix() -> Rows:
    """Dataset.mix, split over four consumers."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    sources = []
    for tag, share in enumerate(SHARES):
        num_blocks = int(NUM_ROWS * share * 1.1) // RAY_BLOCK_ROWS
        rows = ray.data.range(num_blocks * RAY_BLOCK_ROWS, override_num_blocks=num_blocks)
        sources.append(rows.map_batches(lambda batch, tag=tag: {"tag": batch["id"] * 0 + tag}))
    mixed = sources[0].mix(*sources[1:], weights=list(SHARES))
    shards = mixed.streaming_split(WORLD_SIZE, equal=True)
    own: list[np.ndarray] = [np.empty(0)] * WORLD_SIZE

    def consume(rank: int) -> None:
        batches = shards[rank].iter_batches(batch_size=SHARD_ROWS)
        own[rank] = np.concatenate([b["tag"] for b in itertools.islice(batches, NUM_BATCHES)])

    threads = [threading.Thread(target=consume, args=(rank,)) for rank in range(WORLD_SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _a_reader_each(own)


def megatron_blend() -> Rows:
    """The compiled helper behind BlendedDataset; micro-batches of one row."""
    from megatron.core.datasets import helpers_cpp

    sources, samples = np.zeros(NUM_ROWS, np.int16), np.zeros(NUM_ROWS, np.int64)
    helpers_cpp.build_blending_indices(
        sources, samples, np.array(SHARES), len(SHARES), NUM_ROWS, False
    )
    return _one_reader(sources)


CASES: dict[str, tuple[str, Callable[[], Rows]]] = {
    "datasets": ("datasets", datasets_interleave),
    "webdataset": ("webdataset", webdataset_mix),
    "lhotse": ("lhotse", lhotse_mux),
    "torchdata": ("torchdata", torchdata_weighted),
    "litdata": ("litdata", litdata_combined),
    "streaming_random": ("mosaicml-streaming", streaming_random),
    "streaming_stratified": ("mosaicml-streaming", streaming_stratified),
    "ray": ("ray", ray_mix),
    "grain": ("grain", grain_mix),
    "grain_each": ("grain", grain_each),
    "megatron": ("megatron-core", megatron_blend),
}
"""The package, and what it does."""


def main() -> None:
    """Runs one case."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    package, case = CASES[sys.argv[1]]
    sources, ranks = case()
    version = importlib.metadata.version(package)
    np.savez_compressed(sys.argv[2], sources=sources, ranks=ranks)
    print(json.dumps({"package": package, "version": version, "rows": int(sources.size)}))


if __name__ == "__main__":
    main()
