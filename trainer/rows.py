"""Rows by position, from the shards that they are in: each rank fetches what is dealt to it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from ..mixer.shards import shards
from .batch import TrainBatch
from .client import Client
from .frame import decode
from .order import Integers, RowOrder

SHARDS_KEPT = 4
"""Shards that are kept after use: rows of one are asked for in parts where gradients accumulate."""

Place: TypeAlias = tuple[int, int]
"""A step and a rank."""


class RowReader:
    """Fetches rows that are asked for by position; not safe to share between threads."""

    def __init__(self, client: Client, order: RowOrder) -> None:
        self._client = client
        self._order = order
        self._kept: OrderedDict[Place, tuple[Integers, TrainBatch]] = OrderedDict()

    def at(self, positions: Integers) -> list[tuple[TrainBatch, int]]:
        """For each position the batch that it is in, and its row there.

        Raises:
            RecollectError: what the service refuses, and BATCH_DIFFERS.
        """
        steps = positions // self._order.plan.mix.batch_size
        ranks = self._order.ranks(positions)
        places = list(zip(steps.tolist(), ranks.tolist(), strict=True))
        batches = self._batches(set(places))
        found = []
        for place, position in zip(places, positions.tolist(), strict=True):
            held, batch = batches[place]
            found.append((batch, int(np.searchsorted(held, position))))
        return found

    def _batches(self, places: set[Place]) -> dict[Place, tuple[Integers, TrainBatch]]:
        """The shards at these places, and their positions; runs of steps come in one stream."""
        found = {place: self._kept[place] for place in places if place in self._kept}
        for first, num_steps, rank in _runs(places - found.keys()):
            for held, batch in self._fetched(first, num_steps, rank):
                found[batch.step, rank] = held, batch
        for place in sorted(places):
            self._kept[place] = found[place]
            self._kept.move_to_end(place)
        while len(self._kept) > SHARDS_KEPT:
            self._kept.popitem(last=False)
        return found

    def _fetched(
        self, first_step: int, num_steps: int, rank: int
    ) -> Iterable[tuple[Integers, TrainBatch]]:
        plan, world_size = self._order.plan, self._order.world_size
        for frame in self._client.fetch(
            plan.plan_id, first_step, num_steps, rank=rank, world_size=world_size
        ):
            first = frame.steps[0].step
            held = shards(plan, first, len(frame.steps), rank=rank, world_size=world_size)
            for place, batch in enumerate(decode(frame, plan, held)):
                yield held[place].positions, batch


def _runs(places: Iterable[Place]) -> Iterable[tuple[int, int, int]]:
    """First step, number of steps and rank of each run of consecutive steps."""
    left = sorted((rank, step) for step, rank in places)
    while left:
        rank, first = left[0]
        num_steps = 1
        while num_steps < len(left) and left[num_steps] == (rank, first + num_steps):
            num_steps += 1
        yield first, num_steps, rank
        left = left[num_steps:]
