"""Forged frames: refused one lie at a time, wherever in a message the lie is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.plan import Plan
from recollect.mixer.shards import shards
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import ChatTemplate, TokenCache, TokenCaches
from recollect.trainer.frame import decode
from recollect.v1 import stream_pb2
from recollect.v1.envelope import Envelope

if TYPE_CHECKING:
    from stream.framing import encoded, rows_of
    from stream.replica import Replica
else:
    from ..stream.framing import encoded, rows_of

Frame = stream_pb2.FetchResponse
FIRST = 5
LENGTHS = [1, 3]
"""Steps of a message. The lie is in the last."""


@pytest.fixture(scope="module")
def made(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    replica: Replica = replicas.make_replica(tmp_path_factory.mktemp("forged") / "data")
    return replica


@pytest.fixture(scope="module")
def opened(made: Replica) -> Iterator[TokenCaches]:
    with Ledger.open(made.folder) as ledger:
        store, template = ReplayStore.open(made.folder, ledger), ChatTemplate.load(made.model)
        yield TokenCaches(made.folder / "cache", store=store, template=template)


@pytest.fixture(scope="module")
def caches(made: Replica, opened: TokenCaches) -> Sequence[TokenCache]:
    return opened.of_plan(made.plan)


def frame_of(
    plan: Plan, caches: Sequence[TokenCache], num_steps: int, *, narrow: bool = False
) -> Frame:
    return encoded(plan, caches, FIRST, num_steps, narrow=narrow)


def payload_of(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def rewritten(frame: Frame, **columns: Sequence[Any]) -> bytes:
    """The payload with other columns."""
    batch = pa.ipc.open_stream(frame.payload).read_next_batch()
    for name, values in columns.items():
        index = batch.schema.get_field_index(name)
        column = pa.array(values, type=batch.schema.field(index).type)
        batch = batch.set_column(index, batch.schema.field(index), column)
    return payload_of(batch)


def received(frame: Frame) -> Envelope:
    return Envelope(frame.steps, frame.payload)


def require_refused(forged: Frame, sound: Frame, plan: Plan, **named: Any) -> None:
    held = shards(plan, FIRST, len(sound.steps))
    assert len(decode(received(sound), plan, held, **named)) == len(sound.steps)
    with pytest.raises(RecollectError, match=r"at step [567]\.") as caught:
        decode(received(forged), plan, held, **named)
    assert caught.value.reason is Reason.BATCH_DIFFERS


def lied(change: Callable[[dict[str, list[Any]]], object]) -> Callable[[Frame], None]:
    """A lie in the columns."""

    def tell(frame: Frame) -> None:
        columns = pa.ipc.open_stream(frame.payload).read_next_batch().to_pydict()
        change(columns)
        frame.payload = rewritten(frame, **columns)

    return tell


def with_batch(change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Callable[[Frame], None]:
    """A lie in the record batch as a whole."""

    def tell(frame: Frame) -> None:
        frame.payload = payload_of(change(pa.ipc.open_stream(frame.payload).read_next_batch()))

    return tell


def with_payload(change: Callable[[bytes], bytes]) -> Callable[[Frame], None]:
    def tell(frame: Frame) -> None:
        frame.payload = change(frame.payload)

    return tell


def with_step(change: Callable[[stream_pb2.StepFrame], object]) -> Callable[[Frame], None]:
    """A lie about the last step."""

    def tell(frame: Frame) -> None:
        change(frame.steps[-1])

    return tell


def column_of_other_type(batch: pa.RecordBatch, name: str, other: pa.DataType) -> pa.RecordBatch:
    index = batch.schema.get_field_index(name)
    changed = pa.array(batch.column(name).to_pylist(), type=other)
    return batch.set_column(index, name, changed)


def reversed_rows(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        values[-20:] = values[-20:][::-1]


def flip_a_mask(columns: dict[str, list[Any]]) -> None:
    # Not the first of a row, which nothing predicts.
    columns["loss_mask"][-1][1] = not columns["loss_mask"][-1][1]


def renumbered(step: stream_pb2.StepFrame) -> None:
    step.step += 1


LIES: dict[str, Callable[[Frame], None]] = {
    "source": lied(lambda c: c["source"].append((c["source"].pop() + 1) % 3)),
    "example": lied(lambda c: c["example"].append(c["example"].pop() + 1)),
    "position": lied(lambda c: c["position"].append(c["position"].pop() + 20)),
    "order": lied(reversed_rows),
    "mask": lied(flip_a_mask),
    "first token learnt": lied(lambda c: c["loss_mask"][-1].__setitem__(0, True)),
    "mask shorter": lied(lambda c: c["loss_mask"][-1].pop()),
    "tokens fewer": lied(lambda c: (c["input_ids"][-1].pop(), c["loss_mask"][-1].pop())),
    "null": lied(lambda c: c["source"].__setitem__(-1, None)),
    "null row": lied(lambda c: c["input_ids"].__setitem__(-1, None)),
    "null token": lied(lambda c: c["input_ids"][-1].__setitem__(-1, None)),
    "null bit": lied(lambda c: c["loss_mask"][-1].__setitem__(-1, None)),
    "row": with_batch(lambda batch: batch.slice(1)),
    "last row": with_batch(lambda batch: batch.slice(0, len(batch) - 1)),
    "row twice": with_batch(lambda b: pa.concat_batches([b, b.slice(len(b) - 1)])),
    "type": with_batch(lambda b: column_of_other_type(b, "input_ids", pa.list_(pa.float32()))),
    "long ids": with_batch(lambda b: column_of_other_type(b, "input_ids", pa.list_(pa.int64()))),
    "wide lists": with_batch(
        lambda b: column_of_other_type(b, "input_ids", pa.large_list(pa.int32()))
    ),
    "missing": with_batch(lambda b: b.remove_column(b.schema.get_field_index("input_ids"))),
    "one more column": with_batch(lambda b: b.append_column("more", b.column("position"))),
    "garbage": with_payload(lambda payload: b"garbage"),
    "empty": with_payload(lambda payload: b""),
    "half": with_payload(lambda payload: payload[: len(payload) // 2]),
    "end missing": with_payload(lambda payload: payload[: len(payload) * 9 // 10]),
    "digest": with_step(lambda step: setattr(step, "digest", bytes(32))),
    "no digest": with_step(lambda step: step.ClearField("digest")),
    "rows": with_step(lambda step: step.source_rows.__setitem__(0, step.source_rows[0] + 1)),
    "tokens": with_step(lambda step: step.source_tokens.__setitem__(1, 3)),
    "supervised": with_step(lambda step: step.source_supervised_tokens.__setitem__(2, 0)),
    "another source": with_step(lambda step: step.source_rows.append(0)),
    "no counts": with_step(lambda step: step.ClearField("source_rows")),
    "sources in turn": with_step(lambda step: step.source_tokens.reverse()),
    "number of rows": with_step(lambda step: setattr(step, "num_rows", 19)),
    "number of the step": with_step(renumbered),
    "no steps": lambda frame: frame.ClearField("steps"),
    "step left out": lambda frame: frame.steps.pop(),  # type: ignore[dict-item]
    "step twice": lambda frame: frame.steps.append(frame.steps[-1]),
}


@pytest.mark.parametrize("num_steps", LENGTHS)
@pytest.mark.parametrize("lie", LIES)
def test_a_frame_that_differs_from_the_plan_is_refused(
    made: Replica, caches: Sequence[TokenCache], lie: str, num_steps: int
) -> None:
    sound = frame_of(made.plan, caches, num_steps)
    forged = Frame()
    forged.CopyFrom(sound)
    LIES[lie](forged)
    assert forged != sound
    require_refused(forged, sound, made.plan)


@pytest.mark.parametrize("lie", ["source", "mask", "tokens fewer", "type", "null token"])
def test_a_frame_of_short_ids_is_refused_as_well(
    made: Replica, caches: Sequence[TokenCache], lie: str
) -> None:
    sound = frame_of(made.plan, caches, 3, narrow=True)
    forged = Frame()
    forged.CopyFrom(sound)
    LIES[lie](forged)
    require_refused(forged, sound, made.plan)


def test_rows_that_moved_from_step_to_step_are_refused(
    made: Replica, caches: Sequence[TokenCache]
) -> None:
    sound = frame_of(made.plan, caches, 3)
    forged = Frame()
    forged.CopyFrom(sound)
    forged.steps[0].num_rows -= 1
    forged.steps[1].num_rows += 1
    require_refused(forged, sound, made.plan)
    forged.CopyFrom(sound)
    forged.steps[0].CopyFrom(sound.steps[1])
    forged.steps[1].CopyFrom(sound.steps[0])
    require_refused(forged, sound, made.plan)


@pytest.mark.parametrize(("first", "rank", "world_size"), [(6, 0, 1), (5, 1, 2), (4, 0, 1)])
def test_what_is_right_elsewhere_is_refused_here(
    made: Replica, caches: Sequence[TokenCache], first: int, rank: int, world_size: int
) -> None:
    sound = frame_of(made.plan, caches, 2)
    other = encoded(made.plan, caches, first, 2, rank=rank, world_size=world_size)
    require_refused(other, sound, made.plan)


@pytest.mark.parametrize("lie", ["not asked for", "asked for", "longer", "shorter", "null"])
def test_annotations_that_differ_are_refused(
    made: Replica, caches: Sequence[TokenCache], lie: str, tmp_path: Path
) -> None:
    sound = frame_of(made.plan, caches, 2)
    batch = pa.ipc.open_stream(sound.payload).read_next_batch()
    values = [[0.5] * len(ids) for ids in batch.column("input_ids").to_pylist()]
    field = pa.field("teacher_logprobs", pa.list_(pa.float32()))
    forged = Frame()
    forged.CopyFrom(sound)
    annotated = Frame()
    annotated.CopyFrom(sound)
    annotated.payload = payload_of(batch.append_column(field, pa.array(values, type=field.type)))
    if lie == "not asked for":
        require_refused(annotated, sound, made.plan)
        return
    match lie:
        case "longer":
            values[3].append(0.5)
        case "shorter":
            values[-1].pop()
        case "null":
            values[-1][0] = None  # type: ignore[call-overload]
    if lie != "asked for":
        column = pa.array(values, type=field.type)
        forged.payload = payload_of(batch.append_column(field, column))
    require_refused(forged, annotated, made.plan, with_annotations=True)


PIECES = ("piece_examples", "piece_starts", "piece_stops")


@pytest.mark.parametrize("num_steps", LENGTHS)
@pytest.mark.parametrize(
    "lie",
    [
        *("examples", "starts", "stops", "moved", "tokens", "mask", "flip", "counts"),
        *("digest", "no pieces", "one piece less"),
    ],
)
def test_pieces_that_differ_from_the_plan_are_refused(
    made: Replica, opened: TokenCaches, lie: str, num_steps: int
) -> None:
    plan = opened.ready(made.weighed["split"])
    sound = frame_of(plan, opened.of_plan(plan), num_steps)
    forged = Frame()
    forged.CopyFrom(sound)
    rows = rows_of(sound.payload)
    row = next(row for row in reversed(rows) if len(row["piece_examples"]) > 1)
    schema = pa.ipc.open_stream(sound.payload).schema
    match lie:
        case "examples" | "starts" | "stops":
            row[f"piece_{lie}"][0] += 1
        case "moved":
            other = next(r for r in rows if r is not row)
            for column in PIECES:
                other[column] = [row[column].pop(), *other[column]]
        case "tokens":
            row["input_ids"].pop()
            row["loss_mask"].pop()
        case "mask":
            row["loss_mask"] = [not supervised for supervised in row["loss_mask"]]
        case "flip":
            row["loss_mask"][1] = not row["loss_mask"][1]
        case "counts":
            forged.steps[-1].source_tokens[1] += 1
        case "digest":
            forged.steps[-1].digest = plan.batch(FIRST + num_steps - 1).digest
        case "one piece less":
            for column in PIECES:
                row[column].pop()
        case "no pieces":
            for each in rows:
                for column in PIECES:
                    del each[column]
            schema = pa.schema([field for field in schema if field.name not in PIECES])
    forged.payload = payload_of(pa.RecordBatch.from_pylist(rows, schema=schema))
    require_refused(forged, sound, plan)
