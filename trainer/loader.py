"""The loader: a plan as an iterable of checked tensors, fetched ahead by a thread.

The state is the number of the next step. What arrives is compared with what the plan prescribes,
computed here with the same pure functions as on the server: the trainer does not take the server's
word for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Batch, Plan
from ..v1 import stream_pb2
from .client import Patience, connect

PAD_ID = 0
IGNORED = -100
"""Label of a token that is not learnt: what `torch.nn.functional.cross_entropy` ignores."""

STATE_VERSION = 1
UNREADABLE = (OSError, KeyError, StopIteration, TypeError, ValueError, pa.lib.ArrowException)
"""What reading a payload raises that is no frame."""

ROWS = pa.schema(
    [
        ("position", pa.int64()),
        ("source", pa.int16()),
        ("example", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("loss_mask", pa.list_(pa.bool_())),
    ]
)
ANNOTATED_ROWS = ROWS.append(pa.field("teacher_logprobs", pa.list_(pa.float32())))

POLL_S = 0.1
"""How often a thread that waits looks whether it should stop."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainBatch:
    """The rows of one rank in one step."""

    step: int
    input_ids: torch.Tensor
    """int64[rows, length], padded on the right with PAD_ID."""
    labels: torch.Tensor
    """int64[rows, length], IGNORED where nothing is learnt; not shifted, since models do that."""
    attention_mask: torch.Tensor
    """int64[rows, length], 1 on tokens, 0 on padding."""
    sources: torch.Tensor
    """int64[rows], places of the sources in the plan."""
    digest: bytes
    """SHA-256 of the restore keys, as checked against the plan."""
    counts: Mapping[str, int]
    """Rows per source, as counted in what arrived, in the order of the plan."""
    teacher_logprobs: torch.Tensor | None = None
    """float32[rows, length], 0 on padding, if asked for."""

    @property
    def num_rows(self) -> int:
        """Rows of this rank."""
        return self.input_ids.shape[0]


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
        prefetch: int = 4,
        with_annotations: bool = False,
        patience: Patience | None = None,
    ) -> None:
        """Connects and reads the plan.

        Args:
            address: `host:port` or `unix:path` of the service.
            plan_id: the sealed plan.
            rank: this process, from 0.
            world_size: processes that share each batch.
            first_step: the first step to serve.
            prefetch: batches that may wait in memory, at least 1.
            with_annotations: whether to ask for the teacher's log-probabilities.
            patience: how long to wait for the service.
        """
        self.client = connect(address, patience=patience)
        self.plan = self.client.plan(plan_id)
        self.rank = rank
        self.world_size = world_size
        self.with_annotations = with_annotations
        self._prefetch = prefetch
        self._next_step = first_step

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
        with contextlib.closing(_Prefetched(self._fetch(), self._prefetch)) as batches:
            for batch in batches:
                self._next_step = batch.step + 1
                yield batch

    def close(self) -> None:
        """Ends the connection and whatever is being fetched."""
        self.client.close()

    def state_dict(self) -> dict[str, int | str]:
        """Where to go on: the plan and the step after the last batch that was handed out."""
        return {
            "version": STATE_VERSION,
            "plan_id": self.plan.plan_id,
            "next_step": self._next_step,
        }

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Goes on where a state was taken, on any number of ranks.

        Raises:
            RecollectError: VERSION_UNKNOWN; CONFIG_INVALID when the state belongs to another plan.
        """
        if state.get("version") != STATE_VERSION:
            raise RecollectError(
                Reason.VERSION_UNKNOWN,
                f"The loader state has version {state.get('version')!r:.20}.",
                fix=f"This installation knows version {STATE_VERSION}.",
            )
        if state["plan_id"] != self.plan.plan_id:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"The checkpoint was trained on the plan {state['plan_id']!r:.80}.",
                where="plan_id",
                fix=f"Resume with that plan, or start anew with {self.plan.plan_id}.",
            )
        self._next_step = int(state["next_step"])

    def ack(self, run_id: str, batch: TrainBatch) -> None:
        """Says that the optimizer has stepped on a batch; durable on return."""
        self.client.ack(
            run_id,
            step=batch.step,
            rank=self.rank,
            world_size=self.world_size,
            digest=batch.digest,
            counts=batch.counts,
        )

    def _fetch(self) -> Iterator[TrainBatch]:
        first_step = self._next_step
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
        for frame in frames:
            shard = self.plan.shard(frame.step, self.rank, self.world_size)
            yield decode(frame, self.plan, shard, with_annotations=self.with_annotations)


class _Prefetched:
    """An iterator that runs in a thread of its own, at most `depth` items ahead."""

    def __init__(self, items: Iterator[TrainBatch], depth: int) -> None:
        self._items = items
        self._queue: Queue[TrainBatch | BaseException | None] = Queue(maxsize=depth)
        self._stopping = Event()
        # A daemon: a trainer that ends while a server hangs must not hang as well.
        self._thread = Thread(target=self._run, name="recollect-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[TrainBatch]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stops the thread and waits for it, unless it waits for the server itself."""
        self._stopping.set()
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

    def _put(self, item: TrainBatch | BaseException | None) -> bool:
        while not self._stopping.is_set():
            with contextlib.suppress(Full):
                self._queue.put(item, timeout=POLL_S)
                return True
        return False


def decode(
    frame: stream_pb2.FetchResponse, plan: Plan, shard: Batch, *, with_annotations: bool = False
) -> TrainBatch:
    """The tensors of a frame, after comparing it with the shard that the plan prescribes.

    Raises:
        RecollectError: BATCH_DIFFERS.
    """
    try:
        rows = pa.ipc.open_stream(frame.payload).read_next_batch()
        rows.validate(full=True)
        if rows.schema != (ANNOTATED_ROWS if with_annotations else ROWS):
            raise TypeError("another schema")
        received = {name: rows.column(name) for name in rows.schema.names}
        sources = received["source"].to_numpy().astype(np.int64)
        _compare("positions", received["position"].to_numpy(), shard.positions, shard.step)
        _compare("sources", sources, shard.sources, shard.step)
        _compare("examples", received["example"].to_numpy(), shard.examples, shard.step)
        offsets, ids = _flat(received["input_ids"])
        mask_offsets, mask = _flat(received["loss_mask"])
        _compare("mask", mask_offsets, offsets, shard.step)
    except UNREADABLE as error:
        raise _differs("The payload is not a frame", shard.step) from error
    counts = np.bincount(sources, minlength=len(plan.sources)).tolist()
    names = [source.name for source in plan.sources]
    if frame.digest != shard.digest:
        raise _differs("The digest is not that of the plan", shard.step)
    counted = dict(zip(names, counts, strict=True))
    if [(item.source, item.num_rows) for item in frame.counts] != list(counted.items()):
        raise _differs("The counts are not those of the rows", shard.step)
    return TrainBatch(
        step=shard.step,
        input_ids=_pad(offsets, ids.astype(np.int64), PAD_ID),
        labels=_pad(offsets, _labels(ids, mask), IGNORED),
        attention_mask=_pad(offsets, np.ones(len(ids), dtype=np.int64), 0),
        sources=torch.from_numpy(sources),
        digest=frame.digest,
        counts=counted,
        teacher_logprobs=_annotations(received.get("teacher_logprobs"), offsets, shard.step),
    )


def _annotations(
    column: pa.ListArray | None, offsets: npt.NDArray[np.int32], step: int
) -> torch.Tensor | None:
    if column is None:
        return None
    annotated, values = _flat(column)
    _compare("annotations", annotated, offsets, step)
    return _pad(offsets, values, 0)


def _flat(column: pa.ListArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.generic]]:
    # What is read from a stream has no offset, so its values are those that its offsets mean.
    return column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)


def _labels(ids: npt.NDArray[Any], mask: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    # Arithmetic, because it is several times as fast here as choosing by `np.where`.
    labels: npt.NDArray[np.int64] = (ids.astype(np.int64) - IGNORED) * mask + IGNORED
    return labels


def _pad(
    offsets: npt.NDArray[np.int32], values: npt.NDArray[np.generic], padding: float
) -> torch.Tensor:
    """The rows of a flat column as one tensor, padded on the right."""
    lengths = np.diff(offsets)
    length = int(lengths.max(initial=0))
    if len(values) == length * len(lengths):
        return torch.from_numpy(np.array(values).reshape(len(lengths), length))
    padded = np.full((len(lengths), length), padding, dtype=values.dtype)
    for row, (start, stop) in enumerate(pairwise(offsets.tolist())):
        padded[row, : stop - start] = values[start:stop]
    return torch.from_numpy(padded)


def _compare(
    what: str, received: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], step: int
) -> None:
    if not np.array_equal(received, expected):
        raise _differs(f"The {what} differ from the plan", step)


def _differs(what: str, step: int) -> RecollectError:
    return RecollectError(
        Reason.BATCH_DIFFERS,
        f"{what}, at step {step}.",
        fix="Do not train on it: check that the service has the data folder that sealed the plan.",
    )
