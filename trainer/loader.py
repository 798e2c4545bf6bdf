"""The loader: a plan as an iterable of checked tensors, fetched ahead by a thread.

The state is the number of the next step. What arrives is compared with what the plan prescribes,
computed here with the same pure functions as on the server: the trainer does not take the server's
word for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterator
from itertools import chain
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from ..mixer.errors import Reason, RecollectError
from ..mixer.shards import RankSteps
from .client import UNHEARD, LedgerHead, Patience, connect
from .frame import IGNORED, PAD_ID, TrainBatch, decode
from .state import STATE_VERSION, State, number_in, require_state, require_step

Item = TypeVar("Item")

POLL_S = 0.1
"""How often a thread that waits looks whether it should stop."""


class ReplayLoader:
    """Batches of a sealed plan, from a step on, for one rank.

    Iterating goes on from where the last iteration, or the loaded state, ended. Leaving the loop
    early, `close` or the end of a `with` block stops the thread.
    """

    def __init__(
        self,
        address: str,
        plan_id: str,
        *,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
        prefetch: int = 2,
        with_annotations: bool = False,
        pin_memory: bool = False,
        patience: Patience | None = None,
    ) -> None:
        """Connects and reads the plan.

        Args:
            address: `host:port` or `unix:path` of the service.
            plan_id: the sealed plan.
            rank: this process, from 0.
            world_size: processes that share each batch.
            first_step: the first step to serve.
            prefetch: messages of the service, of one or more batches each, that may wait in memory,
                at least 1.
            with_annotations: whether to ask for the teacher's log-probabilities.
            pin_memory: whether to put the tensors where an accelerator can copy them from while the
                trainer goes on, as `DataLoader` does: then `batch.to(device, non_blocking=True)`.
            patience: how long to wait for the service.

        Raises:
            RecollectError: CONFIG_INVALID when memory is to be pinned and there is no accelerator,
                and what reading the plan raises.
        """
        if pin_memory and not torch.accelerator.is_available():
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "Memory is pinned for an accelerator, and torch finds none.",
                where="pin_memory",
                fix="Leave it out, or install the build of torch for your accelerator.",
            )
        self.client = connect(address, patience=patience)
        self.plan = self.client.plan(plan_id)
        self.rank = rank
        self.world_size = world_size
        self.with_annotations = with_annotations
        self._prefetch = prefetch
        self._pins = pin_memory
        self._next_step = first_step
        self.ledger_head = UNHEARD
        """Of the last acknowledgement that this loader has sent or has loaded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Steps that are still to come."""
        return self.plan.num_steps - self._next_step

    def __iter__(self) -> Generator[TrainBatch]:
        with contextlib.closing(_Prefetched(self._fetch(), self._prefetch)) as messages:
            for batch in chain.from_iterable(messages):
                self._next_step = batch.step + 1
                yield batch

    def close(self) -> None:
        """Ends the connection and whatever is being fetched."""
        self.client.close()

    def state_dict(self) -> dict[str, int | str]:
        """Where to go on: the plan and the step after the last batch that was handed out.

        And the head of the ledger as of the last acknowledgement: give it to `start_run` when the
        run goes on, and a service whose ledger was put back is found out. Less than 512 bytes.
        """
        return {
            "version": STATE_VERSION,
            "plan_id": self.plan.plan_id,
            "next_step": self._next_step,
            "ledger_length": self.ledger_head.length,
            "ledger_head": self.ledger_head.digest.hex(),
        }

    def load_state_dict(self, state: State) -> None:
        """Goes on where a state was taken, on any number of ranks.

        Raises:
            RecollectError: VERSION_UNKNOWN; CONFIG_INVALID when the state belongs to another plan,
                or is none.
        """
        require_state(state, self.plan)
        next_step = number_in(state, "next_step")
        head = LedgerHead(number_in(state, "ledger_length", 0), _digest_in(state))
        self._next_step, self.ledger_head = next_step, head

    def ack(self, run_id: str, batch: TrainBatch) -> None:
        """Says that the optimizer has stepped on a batch; durable on return."""
        self.ledger_head = self.client.ack(
            run_id,
            step=batch.step,
            rank=self.rank,
            world_size=self.world_size,
            digest=batch.digest,
            counts=batch.tallies,
        )

    def _fetch(self) -> Iterator[list[TrainBatch]]:
        first_step = require_step(self._next_step, self.plan, where="first_step")
        if first_step == self.plan.num_steps:
            return
        frames = self.client.fetch(
            self.plan.plan_id,
            first_step,
            self.plan.num_steps - first_step,
            rank=self.rank,
            world_size=self.world_size,
            with_annotations=self.with_annotations,
        )
        of_rank = RankSteps(self.plan, rank=self.rank, world_size=self.world_size)
        for frame in frames:
            first, last = frame.steps[0].step, frame.steps[-1].step
            held = of_rank.between(first, last + 1)
            batches = decode(frame, self.plan, held, with_annotations=self.with_annotations)
            yield [batch.pinned() for batch in batches] if self._pins else batches


def _digest_in(state: State) -> bytes:
    digest = state.get("ledger_head", "")
    try:
        return bytes.fromhex(digest)  # type: ignore[arg-type]  # what it is not made for, it refuses
    except (TypeError, ValueError):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"The state has {digest!r:.40} where a digest in hex belongs.",
            where="ledger_head",
            fix="Load what state_dict() gave, unchanged.",
        ) from None


class _Prefetched(Generic[Item]):
    """An iterator that runs in a thread of its own, at most `depth` items ahead."""

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self._items = items
        self._queue: Queue[Item | BaseException | None] = Queue(maxsize=depth)
        self._stopping = Event()
        # A daemon: a trainer that ends while a server hangs must not hang as well.
        self._thread = Thread(target=self._run, name="recollect-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stops the thread and waits for it, unless it waits for the server itself."""
        self._stopping.set()
        if sys.is_finalizing():
            return
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join(timeout=10 * POLL_S)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for batch in self._items:
                if not self._put(batch):
                    return
        except BaseException as error:
            # Carried over to the thread of the trainer, which raises it.
            end = error
        self._put(end)

    def _put(self, item: Item | BaseException | None) -> bool:
        while not self._stopping.is_set():
            with contextlib.suppress(Full):
                self._queue.put(item, timeout=POLL_S)
                return True
        return False


__all__ = ["IGNORED", "PAD_ID", "ReplayLoader", "TrainBatch", "decode"]
