"""The rules by which other loaders mix sources, each as a function from position to source.

Every rule is written from what its package documents or publishes, and is as short as the rule is.
Where a package can be installed, `bench/peers.py` runs the package itself beside the rule here and
compares the two. What a rule does to a mix is measured in `peers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .kernel import Kernel
from .plan import schedule_of

Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Shares: TypeAlias = tuple[Fraction, ...]
Order: TypeAlias = Callable[[Shares, int, int, int], Integers]
"""Shares, number of positions, batch size and seed to the source of each position."""

GRAIN_SMALLEST_WEIGHT = 100
MIXTERA_CHUNK = 1024
MIXTERA_DEFAULT_WINDOW = 128
LEVANTER_BLOCK = 2048
RAY_BLOCK_ROWS = 128
"""Rows of a block; by default Ray fills blocks of up to 128 MiB, which is more."""


class MixRefusedError(Exception):
    """A package would not serve this mix; the message says what it does instead."""


class Division(StrEnum):
    """How the ranks of a step share its rows."""

    STRIDED = "row i to rank i mod W"
    CONTIGUOUS = "equal runs of rows, one after another"
    OWN_STREAM = "each rank mixes a stream of its own"
    BLOCKS = "whole blocks go round the ranks"
    DEALT = "dealt so that each rank has the mix"


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRule:
    """One way to choose the source of each position."""

    name: str
    packages: tuple[str, ...]
    """Packages that follow the rule."""
    summary: str
    """The rule, in a sentence."""
    published: str
    """Where it can be read."""
    division: Division
    order: Order

    @property
    def ours(self) -> bool:
        """Whether it is Recollect's own."""
        return self.division is Division.DEALT


def generator(seed: int) -> np.random.Generator:
    """Random numbers that depend on the seed alone."""
    return np.random.Generator(np.random.Philox(seed))


def _independent(shares: Shares, num_positions: int, _: int, seed: int) -> Integers:
    """Each position asks a random number which source it gets."""
    bounds = np.cumsum([float(share) for share in shares])[:-1]
    return np.searchsorted(bounds, generator(seed).random(num_positions), side="right")


def _permuted(shares: Shares, num_positions: int, _: int, seed: int) -> Integers:
    """Exact counts for the epoch, in random order."""
    counts = _largest_remainders(shares, num_positions)
    return generator(seed).permutation(np.repeat(np.arange(len(shares)), counts))


def _stratified(shares: Shares, num_positions: int, batch_size: int, _: int) -> Integers:
    """The same rounded counts in every batch, source after source; what is lost is never repaid."""
    counts = np.array([int(share * batch_size) for share in shares])
    lost = [float(share * batch_size - int(share * batch_size)) for share in shares]
    missing = batch_size - int(counts.sum())
    counts[np.flip(np.argsort(lost))[:missing]] += 1
    if not counts.all():
        raise MixRefusedError("raises: a source would get no row of a batch")
    return np.resize(np.repeat(np.arange(len(shares)), counts), num_positions)


def _mixtera(shares: Shares, window: int | None, seed: int) -> list[int]:
    """One chunk: sources take turns within a window, until each has given its part of the window.

    The part that rounding leaves over goes to the first source, so its rows run out before the
    chunk ends, and the last windows do without.
    """
    left = dict(enumerate(_largest_remainders(shares, MIXTERA_CHUNK).tolist()))
    left = {source: count for source, count in left.items() if count}
    quotas = dict(left)
    if window is not None:
        quotas = {source: window * count // MIXTERA_CHUNK for source, count in left.items()}
        quotas[next(iter(quotas))] += window - sum(quotas.values())
        if not all(quotas.values()):
            raise MixRefusedError("hangs at the end of the first chunk: a source has no slot")
    turns = [int(turn) for turn in generator(seed).permutation(list(left))]
    chunk: list[int] = []
    while any(left.values()):
        served, end = dict.fromkeys(turns, 0), len(chunk) + (window or MIXTERA_CHUNK)
        while len(chunk) < end:
            ready = [turn for turn in turns if left[turn] and served[turn] < quotas[turn]]
            if not ready:
                break
            for source in ready[: end - len(chunk)]:
                chunk.append(source)
                served[source] += 1
                left[source] -= 1
    return chunk


def _mixtera_window(window: int | None) -> Order:
    """Mixtera's order with this window; None is one turn of each source until each runs out."""

    def order(shares: Shares, num_positions: int, _: int, seed: int) -> Integers:
        return np.resize(np.array(_mixtera(shares, window, seed), dtype=np.int64), num_positions)

    return order


def _ray(shares: Shares, num_positions: int, _: int, __: int) -> Integers:
    """Whole blocks, always of the source that has fallen furthest behind."""
    weights = np.array([float(share) for share in shares])
    seen = np.zeros(len(shares))
    blocks: list[int] = []
    for _ in range(-(-num_positions // RAY_BLOCK_ROWS)):
        deficits = weights * seen.sum() - seen
        furthest = np.flatnonzero(deficits == deficits.max())
        blocks.append(int(furthest[np.argmax(weights[furthest])]))
        seen[blocks[-1]] += RAY_BLOCK_ROWS
    return np.repeat(blocks, RAY_BLOCK_ROWS)[:num_positions]


def _grain(shares: Shares, num_positions: int, _: int, __: int) -> Integers:
    """A chain of floor divisions by whole weights, of which the smallest is set to 100.

    A position belongs to the first source whose count among the remaining sources rises there.
    """
    factor = GRAIN_SMALLEST_WEIGHT / min(float(share) for share in shares)
    weights = [int(float(share) * factor) for share in shares]
    sources = np.full(num_positions, len(shares) - 1, dtype=np.int64)
    open_positions = np.arange(num_positions, dtype=np.int64)
    low, high, remaining = open_positions, open_positions + 1, sum(weights)
    for source, weight in enumerate(weights[:-1]):
        rest = remaining - weight
        next_low, next_high = low * rest // remaining, high * rest // remaining
        others = next_low != next_high
        sources[open_positions[~others]] = source
        open_positions, low, high = open_positions[others], next_low[others], next_high[others]
        remaining = rest
    return sources


def _furthest_behind(weights: Floats, num_positions: int) -> Integers:
    """Each position goes to the source with the largest weight · max(position, 1) - served."""
    served = np.zeros(weights.size, dtype=np.int64)
    sources = np.empty(num_positions, dtype=np.int64)
    for position in range(num_positions):
        rows = float(max(position, 1))
        chosen = 0
        largest = weights[0] * rows - float(served[0])
        for source in range(1, weights.size):
            behind = weights[source] * rows - float(served[source])
            if behind > largest:
                chosen, largest = source, behind
        sources[position] = chosen
        served[chosen] += 1
    return sources


blending = Kernel(_furthest_behind)
"""Megatron's blending of data sets; in floating point, as it is published."""


def _megatron(shares: Shares, num_positions: int, _: int, __: int) -> Integers:
    """Greedy: the source that is furthest behind comes next."""
    weights = np.array([float(share) for share in shares])
    return blending.of_size(num_positions * weights.size)(weights, num_positions)


def _levanter(shares: Shares, num_positions: int, _: int, seed: int) -> Integers:
    """Fixed counts in every block of 2,048 rows, shuffled inside the block."""
    counts = np.array([int(float(share) * LEVANTER_BLOCK) for share in shares])
    counts[np.argmax(counts)] += LEVANTER_BLOCK - counts.sum()
    num_blocks = -(-num_positions // LEVANTER_BLOCK)
    block = np.repeat(np.arange(len(shares)), counts)
    blocks = generator(seed).permuted(np.tile(block, (num_blocks, 1)), axis=1)
    return blocks.ravel()[:num_positions]


def _recollect(shares: Shares, num_positions: int, _: int, __: int) -> Integers:
    """Tijdeman's chairman assignment (see `schedule`)."""
    return schedule_of(shares).at(np.arange(num_positions, dtype=np.int64))[0]


def _largest_remainders(shares: Sequence[Fraction], num_rows: int) -> Integers:
    """Rows of each source: whole parts, then one more where most was cut off."""
    exact = [share * num_rows for share in shares]
    counts = np.array([int(rows) for rows in exact], dtype=np.int64)
    by_loss = sorted(range(len(shares)), key=lambda i: int(exact[i]) - exact[i])
    counts[by_loss[: num_rows - int(counts.sum())]] += 1
    return counts


MIXTERA = "mixtera, result_chunk.py; Böther et al., arXiv 2502.19790 (2025)"

RULES: tuple[PeerRule, ...] = (
    PeerRule(
        name="Independent draws",
        packages=(
            "datasets",
            "webdataset",
            "lhotse",
            "torchdata",
            "litdata",
            "megatron-energon",
            "LLaMA-Factory",
            "fms-acceleration ODM",
        ),
        summary="each row draws its source at random",
        published="datasets, interleave_datasets(probabilities=…); webdataset, RandomMix",
        division=Division.STRIDED,
        order=_independent,
    ),
    PeerRule(
        name="Global shuffle",
        packages=("mosaicml-streaming", "OLMo-core"),
        summary="exact counts for the epoch, in random order",
        published="streaming, batching/random.py; OLMo-core, SourceMixture",
        division=Division.CONTIGUOUS,
        order=_permuted,
    ),
    PeerRule(
        name="Stratified batches",
        packages=("mosaicml-streaming (stratified)",),
        summary="the same rounded counts in every batch, source after source",
        published="streaming, batching/stratified.py",
        division=Division.CONTIGUOUS,
        order=_stratified,
    ),
    PeerRule(
        name="Mixtera, simple",
        packages=("mixtera (default)",),
        summary="one row of each source in turn until each runs out, in chunks of 1,024",
        published=MIXTERA,
        division=Division.OWN_STREAM,
        order=_mixtera_window(None),
    ),
    PeerRule(
        name="Mixtera, window of 128",
        packages=("mixtera (window)",),
        summary="rounded counts per window, the remainder to the first source",
        published=MIXTERA,
        division=Division.OWN_STREAM,
        order=_mixtera_window(MIXTERA_DEFAULT_WINDOW),
    ),
    PeerRule(
        name="Mixtera, window of 32",
        packages=("mixtera (window = batch)",),
        summary="rounded counts per window, the remainder to the first source",
        published=MIXTERA,
        division=Division.OWN_STREAM,
        order=_mixtera_window(32),
    ),
    PeerRule(
        name="Blocks",
        packages=("ray[data], Dataset.mix",),
        summary="whole blocks of 128 rows of the source furthest behind",
        published="ray, data/_internal/execution/operators/mix_operator.py",
        division=Division.BLOCKS,
        order=_ray,
    ),
    PeerRule(
        name="Shuffled blocks",
        packages=("levanter",),
        summary="fixed counts in every 2,048 rows, shuffled inside",
        published="levanter, data/mixture.py",
        division=Division.CONTIGUOUS,
        order=_levanter,
    ),
    PeerRule(
        name="Grain",
        packages=("grain, MapDataset.mix",),
        summary="closed form over whole weights; ranks take every W-th row",
        published="grain, transformations/mix.py and elastic_iterator.py",
        division=Division.STRIDED,
        order=_grain,
    ),
    PeerRule(
        name="Grain, mixed on each rank",
        packages=("grain, sources sharded before mix",),
        summary="the same closed form on every rank, over its own shards",
        published="grain, transformations/mix.py",
        division=Division.OWN_STREAM,
        order=_grain,
    ),
    PeerRule(
        name="Megatron",
        packages=("megatron-core, BlendedDataset",),
        summary="greedy by largest deficit; micro-batches of one row go round the ranks",
        published="megatron-core, datasets/helpers.cpp and data_samplers.py",
        division=Division.STRIDED,
        order=_megatron,
    ),
    PeerRule(
        name="Recollect",
        packages=("recollect",),
        summary="chairman assignment; rows are dealt so that every rank has the mix",
        published="Tijdeman, The chairman assignment problem (1980)",
        division=Division.DEALT,
        order=_recollect,
    ),
)
