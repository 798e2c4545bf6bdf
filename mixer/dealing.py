"""Dealing: which rank trains on which row of a batch, so that every rank sees the agreed mix.

Taking every W-th row aliases with the schedule: with 5 % refusals and 4 ranks, one rank can get
all of them. Here the rows of a step are edges of a graph, from hands (W consecutive rows of the
step, the last hand perhaps fewer) to rounds (W consecutive examples of one source). Colouring the
edges with the W ranks so that no colour repeats at a hand or a round gives

- shards of a step whose sizes differ by at most one row, and
- each rank exactly one of every W consecutive examples of every source.

Proven, where one period of the dealing has at most `LONGEST_TABLE` rows, at every step: each rank
has served less than 1 more or less than served/W of each source. Where W divides the batch, it
therefore is less than 1 + 1/W away from its share of its own rows, and every rank has the same
number of rows.

Only measured: where W does not divide the batch, the spare rows go round by preference, which
keeps the distance from a rank's share of its own rows below 2 in all trials.

Longer periods (shares with five decimals, say) are cut into segments of `SEGMENT_ROWS` rows which
are dealt one by one, so that any step is found at once. The bound above then holds within each
segment, and a rank may gain or lose up to one row of each source with every segment that passes.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .colouring import Colouring
from .errors import Reason, RecollectError
from .schedule import Schedule

Integers: TypeAlias = npt.NDArray[np.int64]

LONGEST_TABLE = 1 << 19
"""Rows up to which a whole period is dealt as one; it takes about 1.5 µs a row, once."""
SEGMENT_ROWS = 1 << 17
MOST_SEGMENTS = 4
"""Segments that are kept."""


class Dealing:
    """The pure function from (step, row) to rank.

    Args:
        schedule: which source serves which position.
        batch_size: rows of a step.
        world_size: ranks, at least 1 and at most `batch_size`.
    """

    def __init__(self, schedule: Schedule, batch_size: int, world_size: int) -> None:
        if not 1 <= world_size <= batch_size:
            raise RecollectError(
                Reason.RANK_INVALID,
                f"a batch of {batch_size} rows cannot be dealt to {world_size} ranks",
                where="world_size",
                fix="Use at least 1 rank, and at most as many as a batch has rows.",
            )
        self.schedule = schedule
        self.batch_size = batch_size
        self.world_size = world_size
        self.period = math.lcm(schedule.period * world_size, batch_size) // batch_size
        """Steps after which every rank has had its exact share, and the dealing repeats."""
        self.whole = self.period * batch_size <= LONGEST_TABLE
        """Whether a period is dealt as one, so that its bound holds for ever."""
        self._num_steps = self.period if self.whole else max(SEGMENT_ROWS // batch_size, 1)
        self._segments: OrderedDict[int, npt.NDArray[np.int32]] = OrderedDict()
        self._lock = threading.Lock()

    def ranks(self, step: int) -> Integers:
        """The rank of each row of a step, in the order of positions.

        A last, shorter batch takes the first of them; its shards, too, differ by at most one row.
        """
        if self.world_size == 1:
            return np.zeros(self.batch_size, dtype=np.int64)
        segment, within = divmod(step % self.period if self.whole else step, self._num_steps)
        ranks: Integers = self._segment(segment)[within].astype(np.int64)
        return ranks

    def _segment(self, index: int) -> npt.NDArray[np.int32]:
        """A segment, steps by rows, from the cache or dealt now."""
        with self._lock:
            if index not in self._segments:
                self._segments[index] = self._deal(index)
            self._segments.move_to_end(index)
            if len(self._segments) > MOST_SEGMENTS:
                self._segments.popitem(last=False)
            return self._segments[index]

    def _deal(self, index: int) -> npt.NDArray[np.int32]:
        """Colours the rows of a segment."""
        world_size, num_rows = self.world_size, self._num_steps * self.batch_size
        rows = np.arange(num_rows, dtype=np.int64)
        sources, ordinals = self.schedule.at(rows + index * num_rows)
        ordinals -= self.schedule.served(index * num_rows)[sources]
        steps, places = np.divmod(rows, self.batch_size)
        hands = steps * -(-self.batch_size // world_size) + places // world_size
        _, rounds = np.unique(
            ordinals // world_size * self.schedule.num_sources + sources, return_inverse=True
        )
        # The rank that a row would have if ranks just took turns: it makes the spare rows go round.
        turns = (rows + index) % world_size
        colours = Colouring(
            hands.tolist(), rounds.tolist(), num_colours=world_size, preferred=turns.tolist()
        ).colours
        return np.array(colours, dtype=np.int32).reshape(self._num_steps, self.batch_size)
