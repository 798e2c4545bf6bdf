from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import (
    AnnotationShelf,
    AnnotationWriter,
    ChatTemplate,
    TokenCache,
    TokenCaches,
    frames,
)
from recollect.services.stream.annotations import Annotations, annotation_path
from recollect.services.stream.tokens import DamagedCache
from recollect.v1.envelope import checksum_of

from .framing import encoded, rows_of, steps_of

if TYPE_CHECKING:
    from stream.replica import Replica

TEACHER = "aa" * 32


@pytest.fixture(scope="module")
def made(replica: Replica, replicas: object, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    folder = tmp_path_factory.mktemp("frames") / "data"
    remade: Replica = replicas.make_replica(folder)  # type: ignore[attr-defined]
    assert remade.plan.mix == replica.plan.mix
    return remade


@pytest.fixture(scope="module")
def opened(made: Replica) -> Iterator[TokenCaches]:
    ledger = Ledger.open(made.folder)
    store = ReplayStore.open(made.folder, ledger)
    template = ChatTemplate.load(made.model)
    yield TokenCaches(made.folder / "cache", store=store, template=template)
    ledger.close()


@pytest.fixture(scope="module")
def caches(made: Replica, opened: TokenCaches) -> Sequence[TokenCache]:
    return opened.of_plan(made.plan)


@pytest.fixture(scope="module")
def held_out(made: Replica, opened: TokenCaches) -> Sequence[TokenCache]:
    return opened.of_plan(made.held_out)


def logprobs(cache: TokenCache, row: int) -> np.ndarray:
    """Invented annotations that name the row they belong to."""
    values = -np.arange(int(cache.lengths[row]), dtype=np.float32) - row / 64
    values[:1] = 0.0
    return values.astype(np.float32)


def annotate(folder: Path, cache: TokenCache) -> None:
    with AnnotationWriter(folder, cache, TEACHER) as writer:
        writer.write([logprobs(cache, row) for row in range(len(cache))])


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("first", "num_steps"), [(0, 1), (1, 1), (29, 1), (0, 30), (7, 4)])
def test_a_frame_holds_the_rows_of_its_shards_in_order(
    made: Replica, caches: Sequence[TokenCache], first: int, num_steps: int, narrow: bool
) -> None:
    frame = encoded(made.plan, caches, first, num_steps, rank=1, world_size=3, narrow=narrow)
    assert [step.step for step in frame.steps] == list(range(first, first + num_steps))
    for step, rows in steps_of(frame):
        shard = made.plan.shard(step.step, 1, 3)
        assert step.digest == shard.digest
        assert [row["position"] for row in rows] == shard.positions.tolist()
        assert [row["source"] for row in rows] == shard.sources.tolist()
        assert [row["example"] for row in rows] == shard.examples.tolist()
        for row in rows:
            alone = caches[row["source"]].rows(np.array([row["example"]]))
            assert row["input_ids"] == alone.column("input_ids").to_pylist()[0]
            assert row["loss_mask"] == alone.column("loss_mask").to_pylist()[0]


def test_a_frame_says_of_each_step_what_there_is_of_each_source(
    made: Replica, caches: Sequence[TokenCache]
) -> None:
    for step, rows in steps_of(encoded(made.plan, caches, 3, 9, rank=0, world_size=2)):
        counted = np.zeros((3, 3), dtype=np.int64)
        for row in rows:
            counted[:, row["source"]] += (1, len(row["input_ids"]), sum(row["loss_mask"]))
        stated = (step.source_rows, step.source_tokens, step.source_supervised_tokens)
        assert [list(column) for column in stated] == counted.tolist()


@pytest.mark.parametrize(("narrow", "ids"), [(False, pa.int32()), (True, pa.uint16())])
def test_a_frame_has_the_schema_of_the_wire_contract(
    made: Replica, caches: Sequence[TokenCache], narrow: bool, ids: pa.DataType
) -> None:
    reader = pa.ipc.open_stream(encoded(made.plan, caches, 0, 2, narrow=narrow).payload)
    assert reader.schema == pa.schema(
        [
            ("position", pa.int64()),
            ("source", pa.int16()),
            ("example", pa.int64()),
            ("input_ids", pa.list_(ids)),
            ("loss_mask", pa.list_(pa.bool_())),
        ]
    )
    assert len(list(reader)) == 1


def test_a_frame_is_the_same_bytes_every_time(made: Replica, caches: Sequence[TokenCache]) -> None:
    def frame(first: int, num_steps: int) -> bytes:
        made_now = encoded(made.plan, caches, first, num_steps, rank=0, world_size=2)
        assert made_now.checksum == checksum_of(made_now.steps, made_now.payload)
        return made_now.SerializeToString(deterministic=True)

    asked = [(step, 1 + step % 4) for step in range(10)]
    first = [frame(*steps) for steps in asked]
    # Other frames between them leave nothing behind in the memory that frames are made in.
    again = [frame(*steps) for steps in reversed(asked)]
    assert first == again[::-1]
    assert len(set(first)) == 10


def test_what_else_is_in_a_frame_changes_nothing_of_a_step(
    made: Replica, caches: Sequence[TokenCache]
) -> None:
    alone = [
        (step.SerializeToString(deterministic=True), rows)
        for number in range(30)
        for step, rows in steps_of(encoded(made.plan, caches, number, rank=2, world_size=3))
    ]
    for sizes in ([30], [1, 29], [13, 1, 9, 7]):
        first, found = 0, []
        for size in sizes:
            frame = encoded(made.plan, caches, first, size, rank=2, world_size=3)
            found += [
                (s.SerializeToString(deterministic=True), rows) for s, rows in steps_of(frame)
            ]
            first += size
        assert found == alone


def test_an_empty_shard_is_a_step_without_rows(
    made: Replica, held_out: Sequence[TokenCache]
) -> None:
    # Ten rows, eight to a step: of the last two, three ranks of five get nothing.
    empty = [rank for rank in range(5) if not len(made.held_out.shard(1, rank, 5))]
    assert len(empty) == 3
    frame = encoded(made.held_out, held_out, 1, rank=empty[0], world_size=5)
    [step] = frame.steps
    assert (step.num_rows, list(step.source_rows)) == (0, [0])
    assert rows_of(frame.payload) == []
    schema = pa.ipc.open_stream(frame.payload).schema
    assert schema.field("loss_mask").type == pa.list_(pa.bool_())
    both = encoded(made.held_out, held_out, 0, 2, rank=empty[0], world_size=5)
    assert both.steps[1] == step
    assert len(rows_of(both.payload)) == both.steps[0].num_rows > 0


def test_a_frame_that_is_too_large_is_an_error_with_advice(
    made: Replica, caches: Sequence[TokenCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(RecollectError, match="smaller batch_size") as caught:
        encoded(made.plan, caches, 0)
    assert caught.value.reason is Reason.FRAME_TOO_LARGE


def test_a_frame_of_more_tokens_than_a_thread_keeps_room_for_is_the_same(
    made: Replica, caches: Sequence[TokenCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = encoded(made.plan, caches, 0, 5)
    monkeypatch.setattr(frames, "MOST_SCRATCH_TOKENS", 100)
    assert encoded(made.plan, caches, 0, 5) == kept


def test_annotations_travel_beside_their_tokens(
    made: Replica, caches: Sequence[TokenCache], tmp_path: Path
) -> None:
    for cache in caches:
        annotate(tmp_path, cache)
    shelf = AnnotationShelf(tmp_path, teacher_digest=TEACHER)
    frame = encoded(made.plan, caches, 3, 4, rank=0, world_size=2, annotations=shelf.of(caches))
    rows = rows_of(frame.payload)
    assert len(rows) == 40
    for row in rows:
        expected = logprobs(caches[row["source"]], row["example"]).tolist()
        assert row["teacher_logprobs"] == expected
        assert len(expected) == len(row["input_ids"])


def test_missing_annotations_are_an_error(caches: Sequence[TokenCache], tmp_path: Path) -> None:
    annotate(tmp_path, caches[0])
    with pytest.raises(RecollectError, match="annotate the plan first") as caught:
        AnnotationShelf(tmp_path, teacher_digest=TEACHER).of(caches)
    assert caught.value.reason is Reason.TEACHER_MISSING
    with pytest.raises(DamagedCache):
        Annotations(tmp_path, caches[0], "bb" * 32)


@pytest.mark.parametrize("fault", ["too short", "too few", "too many"])
def test_annotations_that_do_not_align_are_never_written(
    caches: Sequence[TokenCache], tmp_path: Path, fault: str
) -> None:
    rows = [logprobs(caches[2], row) for row in range(len(caches[2]))]
    match fault:
        case "too short":
            rows[3] = rows[3][:-1]
        case "too few":
            rows.pop()
        case "too many":
            rows.append(rows[0])
    with (
        pytest.raises(ValueError, match=r"align|annotated"),
        AnnotationWriter(tmp_path, caches[2], TEACHER) as writer,
    ):
        writer.write(rows)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_fails_leaves_nothing(caches: Sequence[TokenCache], tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        AnnotationWriter(tmp_path, caches[2], TEACHER) as writer,
    ):
        writer.write([logprobs(caches[2], 0)])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_damaged_annotations_are_named(caches: Sequence[TokenCache], tmp_path: Path) -> None:
    annotate(tmp_path, caches[0])
    path = annotation_path(tmp_path, caches[0], TEACHER)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecollectError, match="annotate the plan again") as caught:
        Annotations(tmp_path, caches[0], TEACHER).rows(np.arange(40))
    assert caught.value.reason is Reason.STORAGE_CORRUPT
