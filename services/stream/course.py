"""Courses: a stream's way through the steps of a plan, a message at a time.

A message holds as many whole steps as fit a target size on average; one that turns out too large
is sent step by step. The first messages are small, so that the first batch comes soon and a stream
that nobody reads costs little. Which steps a message has depends on the request alone, so the same
request is answered with the same bytes by whoever answers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...mixer.errors import Reason, RecollectError
from ...mixer.packing import Packing
from ...mixer.plan import Plan
from ...mixer.shards import Shards, num_steps_at_once, shards
from .annotations import Annotations
from .caches import TokenCaches
from .frames import encode_frame
from .places import Places, places_of
from .tokens import TokenCache

TARGET_BYTES = 1024 * 1024
"""What a message should hold: large enough that its overhead is small beside copying it."""
FIRST_BYTES = 128 * 1024
"""What the first messages of a stream should hold."""
FIRST_MESSAGES = 64
"""How many are that small: 8 MiB, more than a connection takes over of a stream whose reader has
stopped at once. Of one that waits the server holds three: what Python and gRPC have of the message
that is being sent, and the next."""
MESSAGES_AHEAD = 8
"""Messages whose rows are worked out together, at most."""
NARROW_IDS = 1 << 16
"""Ids of a tokenizer up to which one takes two bytes."""
MASK_BYTES = 1 / 8
ANNOTATION_BYTES = 4
ROW_BYTES = 40
"""Bytes of a row beside its tokens, about."""


class Course:
    """One stream; `advance` is called by one thread at a time."""

    def __init__(
        self,
        plan: Plan,
        caches: TokenCaches,
        steps: range,
        *,
        rank: int,
        world_size: int,
        annotations: Sequence[Annotations] | None = None,
    ) -> None:
        """Begins at the first of the steps.

        Args:
            plan: the plan, with the measures that it needs.
            caches: where its tokens are.
            steps: the steps to send.
            rank: the rank that gets them.
            world_size: ranks that share each batch.
            annotations: what the teacher says of each source, if that is to be sent.

        Raises:
            RecollectError: RANK_INVALID, or what opening the caches raises.
        """
        self._plan = plan
        self._caches = caches
        self._steps = steps
        self._rank, self._world_size = rank, world_size
        self._block: _Block | None = None
        self._annotations = annotations
        self._narrow = caches.template.num_ids <= NARROW_IDS
        plan.dealing(world_size)  # Refuses a number of ranks that there cannot be.
        num_rows = plan.mix.batch_size / world_size
        row_bytes = ROW_BYTES + _mean_tokens(plan, caches) * (
            (2 if self._narrow else 4)
            + MASK_BYTES
            + (ANNOTATION_BYTES if annotations is not None else 0)
        )
        self._step_bytes = num_rows * row_bytes
        self._target = min(FIRST_BYTES, TARGET_BYTES)
        self._num_messages = 0
        self.num_steps = self.num_rows = self.num_tokens = 0
        """What the last message holds."""

    @property
    def message_steps(self) -> int:
        """Steps of the next message, unless fewer are left."""
        return max(1, int(self._target / self._step_bytes))

    def advance(self) -> bytes | None:
        """The next message, an encoded FetchResponse, or None after the last.

        Raises:
            RecollectError: FRAME_TOO_LARGE when a single step does not fit a message.
        """
        if not self._steps:
            return None
        message = self._caches.cured(self._plan, self._encoded)
        self._steps = self._steps[self.num_steps :]
        return message

    def _encoded(self, caches: Sequence[TokenCache]) -> bytes:
        """The message of the next steps."""
        while True:
            held, places = self._next(min(self.message_steps, len(self._steps)), caches)
            try:
                message = encode_frame(held, places, caches, self._annotations, narrow=self._narrow)
            except RecollectError as error:
                if error.reason is not Reason.FRAME_TOO_LARGE or held.num_steps == 1:
                    raise
                # Rows that are much longer than most: from here on, a step is a message.
                self._target = 0
            else:
                self._num_messages += 1
                if self._num_messages == FIRST_MESSAGES and self._target:
                    self._target = TARGET_BYTES
                self.num_steps = held.num_steps
                self.num_rows, self.num_tokens = len(held.rows), int(places.ends[-1])
                return message

    def _next(self, num_steps: int, caches: Sequence[TokenCache]) -> tuple[Shards, Places]:
        """The next steps, out of a block of them that was worked out together."""
        first = self._steps[0]
        if self._block is None or not self._covers(self._block.held, num_steps, caches):
            num_ahead = min(
                MESSAGES_AHEAD * num_steps, num_steps_at_once(self._plan, self._world_size)
            )
            num_ahead = max(num_steps, num_ahead)
            held = shards(
                self._plan,
                first,
                min(num_ahead // num_steps * num_steps, len(self._steps)),
                rank=self._rank,
                world_size=self._world_size,
            )
            self._block = _Block(held, places_of(held, caches), caches)
        held, places, _ = self._block
        begin = first - held.first_step
        end = begin + num_steps
        return held.between(begin, end), places.between(held, begin, end)

    def _covers(self, held: Shards, num_steps: int, caches: Sequence[TokenCache]) -> bool:
        """Whether the block has the next steps, as places in these very caches."""
        assert self._block is not None
        end = held.first_step + held.num_steps
        return self._steps[0] + num_steps <= end and all(
            one is other for one, other in zip(self._block.caches, caches, strict=True)
        )


class _Block(NamedTuple):
    """Steps that were worked out together."""

    held: Shards
    places: Places
    caches: Sequence[TokenCache]


def _mean_tokens(plan: Plan, caches: TokenCaches) -> float:
    """Tokens of a row on average."""
    if plan.mix.packing is not Packing.NONE:
        return plan.mix.max_length
    means = [
        min(cache.totals.num_tokens / len(cache), plan.mix.max_length)
        for cache in caches.of_plan(plan)
    ]
    return sum(float(share) * mean for share, mean in zip(plan.mix.shares, means, strict=True))
