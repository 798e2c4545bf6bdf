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
    encode_frame,
    frames,
)
from recollect.services.stream.annotations import Annotations, annotation_path
from recollect.services.stream.tokens import DamagedCache

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
def caches(made: Replica) -> Iterator[Sequence[TokenCache]]:
    ledger = Ledger.open(made.folder)
    store = ReplayStore.open(made.folder, ledger)
    template = ChatTemplate.load(made.model)
    yield TokenCaches(made.folder / "cache", store=store, template=template).of_plan(made.plan)
    ledger.close()


def logprobs(cache: TokenCache, row: int) -> np.ndarray:
    """Invented annotations that name the row they belong to."""
    values = -np.arange(int(cache.lengths[row]), dtype=np.float32) - row / 64
    values[:1] = 0.0
    return values.astype(np.float32)


def annotate(folder: Path, cache: TokenCache) -> None:
    with AnnotationWriter(folder, cache, TEACHER) as writer:
        writer.write([logprobs(cache, row) for row in range(len(cache))])


def test_a_frame_holds_the_rows_of_its_shard_in_order(
    made: Replica, caches: Sequence[TokenCache]
) -> None:
    for step in (0, 1, 29):
        shard = made.plan.shard(step, 1, 3)
        rows = pa.ipc.open_stream(encode_frame(shard, caches)).read_all().to_pylist()
        assert [row["position"] for row in rows] == shard.positions.tolist()
        assert [row["source"] for row in rows] == shard.sources.tolist()
        assert [row["example"] for row in rows] == shard.examples.tolist()
        for row in rows:
            alone = caches[row["source"]].rows(np.array([row["example"]]))
            assert row["input_ids"] == alone.column("input_ids").to_pylist()[0]
            assert row["loss_mask"] == alone.column("loss_mask").to_pylist()[0]


def test_a_frame_has_the_schema_of_the_wire_contract(
    made: Replica, caches: Sequence[TokenCache]
) -> None:
    reader = pa.ipc.open_stream(encode_frame(made.plan.batch(0), caches))
    assert reader.schema == pa.schema(
        [
            ("position", pa.int64()),
            ("source", pa.int16()),
            ("example", pa.int64()),
            ("input_ids", pa.list_(pa.int32())),
            ("loss_mask", pa.list_(pa.bool_())),
        ]
    )
    assert len(list(reader)) == 1


def test_a_frame_is_the_same_bytes_every_time(made: Replica, caches: Sequence[TokenCache]) -> None:
    first = [encode_frame(made.plan.shard(step, 0, 2), caches) for step in range(10)]
    again = [encode_frame(made.plan.shard(step, 0, 2), caches) for step in reversed(range(10))]
    assert first == again[::-1]
    assert len(set(first)) == 10


def test_an_empty_shard_is_a_frame_without_rows(
    made: Replica, caches: Sequence[TokenCache]
) -> None:
    nothing = made.plan.batch(0).take(np.zeros(20, dtype=np.bool_))
    batch = pa.ipc.open_stream(encode_frame(nothing, caches)).read_next_batch()
    assert batch.num_rows == 0
    assert batch.schema.field("loss_mask").type == pa.list_(pa.bool_())


def test_a_frame_that_is_too_large_is_an_error_with_advice(
    made: Replica, caches: Sequence[TokenCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(RecollectError, match="smaller batch_size") as caught:
        encode_frame(made.plan.batch(0), caches)
    assert caught.value.reason is Reason.FRAME_TOO_LARGE


def test_annotations_travel_beside_their_tokens(
    made: Replica, caches: Sequence[TokenCache], tmp_path: Path
) -> None:
    for cache in caches:
        annotate(tmp_path, cache)
    shelf = AnnotationShelf(tmp_path, teacher_digest=TEACHER)
    frame = encode_frame(made.plan.shard(3, 0, 2), caches, shelf.of(caches))
    rows = pa.ipc.open_stream(frame).read_all().to_pylist()
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
