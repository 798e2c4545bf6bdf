from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import (
    CacheKey,
    ChatTemplate,
    TokenCache,
    TokenCaches,
    building,
    tokens,
)
from recollect.services.stream.tokens import DamagedCache, build

from .models import FAMILIES, make_model

if TYPE_CHECKING:
    from stream.replica import Replica

NUM_ROWS = 23
MAX_LENGTH = 30


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several record batches, the last one short, from a few rows."""
    monkeypatch.setattr(tokens, "ROWS_PER_CHUNK", 5)


@pytest.fixture(scope="module")
def template(replica: Replica) -> ChatTemplate:
    return ChatTemplate.load(replica.model)


@pytest.fixture(scope="module")
def examples(replicas: Any) -> list[Example]:
    return [replicas.example("support", row) for row in range(NUM_ROWS)]


@pytest.fixture
def key(template: ChatTemplate) -> CacheKey:
    return CacheKey(
        content_digest="c0" * 32,
        tokenizer_digest=template.digest,
        max_length=MAX_LENGTH,
        num_rows=NUM_ROWS,
    )


@pytest.fixture
def path(tmp_path: Path, key: CacheKey, template: ChatTemplate, examples: list[Example]) -> Path:
    path = tmp_path / "cache" / "one.tokens.arrow"
    build(path, key, template=template, examples=examples)
    return path


def test_rows_are_what_the_template_renders_in_any_order(
    path: Path, key: CacheKey, template: ChatTemplate, examples: list[Example]
) -> None:
    cache = TokenCache(path, key)
    rendered = [template.render(item.messages, max_length=MAX_LENGTH) for item in examples]

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(0, NUM_ROWS - 1), max_size=40))
    def law(rows: list[int]) -> None:
        batch = cache.rows(np.array(rows, dtype=np.int64))
        assert batch.column("input_ids").to_pylist() == [
            rendered[row].input_ids.tolist() for row in rows
        ]
        assert batch.column("loss_mask").to_pylist() == [
            rendered[row].loss_mask.tolist() for row in rows
        ]

    law()


def test_lengths_count_what_is_served(
    path: Path, key: CacheKey, template: ChatTemplate, examples: list[Example]
) -> None:
    cache = TokenCache(path, key)
    served = [template.render(item.messages, max_length=MAX_LENGTH) for item in examples]
    whole = [template.render(item.messages, max_length=10_000) for item in examples]
    assert len(cache) == NUM_ROWS
    assert cache.lengths.tolist() == [len(row.input_ids) for row in served]
    assert cache.supervised_lengths.tolist() == [int(row.loss_mask.sum()) for row in served]
    assert cache.num_truncated == sum(len(row.input_ids) > MAX_LENGTH for row in whole)
    assert 0 < cache.num_truncated < NUM_ROWS


def test_a_row_that_teaches_nothing_is_served_and_counted(
    tmp_path: Path, template: ChatTemplate, examples: list[Example]
) -> None:
    key = CacheKey(
        content_digest="c0", tokenizer_digest=template.digest, max_length=4, num_rows=NUM_ROWS
    )
    build(tmp_path / "cache", key, template=template, examples=examples)
    cache = TokenCache(tmp_path / "cache", key)
    assert cache.num_unsupervised == NUM_ROWS
    row = cache.rows(np.array([3]))
    assert row.column("loss_mask").to_pylist() == [[False] * 4]
    assert len(row.column("input_ids").to_pylist()[0]) == 4


def test_an_empty_source_has_an_empty_cache(tmp_path: Path, template: ChatTemplate) -> None:
    key = CacheKey(content_digest="", tokenizer_digest="", max_length=4, num_rows=0)
    build(tmp_path / "cache", key, template=template, examples=[])
    cache = TokenCache(tmp_path / "cache", key)
    assert len(cache) == cache.num_truncated == len(cache.lengths) == 0
    assert cache.rows(np.array([], dtype=np.int64)).num_rows == 0


@pytest.mark.parametrize("row", [-1, NUM_ROWS])
def test_a_row_that_is_not_there_is_no_other_row(path: Path, key: CacheKey, row: int) -> None:
    with pytest.raises(IndexError):
        TokenCache(path, key).rows(np.array([row]))


def test_the_same_examples_give_the_same_file(
    path: Path, tmp_path: Path, key: CacheKey, template: ChatTemplate, examples: list[Example]
) -> None:
    build(tmp_path / "again", key, template=template, examples=examples)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        {"content_digest": "c1"},
        {"tokenizer_digest": "t1"},
        {"max_length": MAX_LENGTH + 1},
        {"num_rows": NUM_ROWS + 1},
    ],
)
def test_a_cache_serves_nothing_but_its_own_key(
    path: Path, key: CacheKey, other: dict[str, Any]
) -> None:
    fields = {name: getattr(key, name) for name in CacheKey.__dataclass_fields__}
    with pytest.raises(DamagedCache):
        TokenCache(path, CacheKey(**(fields | other)))


def test_a_failed_build_leaves_nothing(
    tmp_path: Path, key: CacheKey, template: ChatTemplate, examples: list[Example]
) -> None:
    def broken() -> Iterator[Example]:
        yield from examples[:7]
        raise RuntimeError("the segment is gone")

    with pytest.raises(RuntimeError):
        build(tmp_path / "new" / "cache", key, template=template, examples=broken())
    assert list((tmp_path / "new").iterdir()) == []


def test_too_few_examples_are_an_error_and_no_cache(
    tmp_path: Path, key: CacheKey, template: ChatTemplate, examples: list[Example]
) -> None:
    with pytest.raises(RecollectError) as caught:
        build(tmp_path / "new" / "cache", key, template=template, examples=examples[:-1])
    assert caught.value.reason is Reason.STORAGE_CORRUPT
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.faults
def test_every_flipped_bit_of_a_row_is_found(path: Path, key: CacheKey) -> None:
    content = bytearray(path.read_bytes())
    good = TokenCache(path, key).rows(np.arange(NUM_ROWS)).to_pylist()
    served_wrong = []
    for place in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        other = path.with_name("damaged")
        other.write_bytes(damaged)
        try:
            if TokenCache(other, key).rows(np.arange(NUM_ROWS)).to_pylist() != good:
                served_wrong.append(place)
        except (DamagedCache, RecollectError):
            continue
    assert served_wrong == []


class Store:
    """The replay store of the replica, and how often it was read."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._store = ReplayStore.open(folder, ledger)
        self.num_reads = 0

    def snapshot_by_id(self, snapshot_id: str) -> Any:
        return self._store.snapshot_by_id(snapshot_id)

    def examples(self, snapshot: Any, source: str) -> Iterator[Example]:
        self.num_reads += 1
        return self._store.examples(snapshot, source)


@pytest.fixture
def store(replicas: Any, tmp_path: Path) -> Iterator[tuple[Store, Replica]]:
    made = replicas.make_replica(tmp_path / "data")
    ledger = Ledger.open(made.folder)
    yield Store(made.folder, ledger), made
    ledger.close()


def test_caches_are_built_once_and_found_again(
    store: tuple[Store, Replica], tmp_path: Path
) -> None:
    source, made = store
    template = ChatTemplate.load(made.model)
    first = TokenCaches(tmp_path / "caches", store=source, template=template)
    assert [len(cache) for cache in first.of_plan(made.plan)] == [40, 25, 7]
    assert first.of_plan(made.plan)[0] is first.of_plan(made.plan)[0]
    TokenCaches(tmp_path / "caches", store=source, template=template).of_plan(made.plan)
    assert source.num_reads == 3


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["cut", "empty", "deleted", "other"])
def test_a_damaged_cache_is_built_again(
    store: tuple[Store, Replica], tmp_path: Path, damage: str
) -> None:
    source, made = store
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(made.model))
    cache = caches.of_plan(made.plan)[1]
    good = cache.rows(np.arange(25)).to_pylist()
    path = caches.path(cache.key)
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-9])
        case "empty":
            path.write_bytes(b"")
        case "deleted":
            path.unlink()
        case "other":
            path.write_bytes(caches.path(caches.of_plan(made.plan)[0].key).read_bytes())
    again = TokenCaches(tmp_path / "caches", store=source, template=caches.template)
    assert again.of_plan(made.plan)[1].rows(np.arange(25)).to_pylist() == good
    assert path.read_bytes() == content


def test_a_plan_of_another_tokenizer_is_refused(
    store: tuple[Store, Replica], replicas: Any, tmp_path: Path
) -> None:
    source, made = store
    text = (made.model / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text + "\n")
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(tmp_path))
    with pytest.raises(RecollectError) as caught:
        caches.of_plan(made.plan)
    assert caught.value.reason is Reason.MODEL_UNUSABLE


def test_caches_hold_no_message_text(store: tuple[Store, Replica], tmp_path: Path) -> None:
    source, made = store
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(made.model))
    caches.of_plan(made.plan)
    for path in (tmp_path / "caches").iterdir():
        with pa.memory_map(str(path)) as file:
            assert set(pa.ipc.open_file(file).schema.names) == {
                "input_ids",
                "loss_mask",
                "num_tokens",
                "num_supervised",
            }


def test_an_example_that_the_template_refuses_is_named(
    tmp_path: Path, key: CacheKey, examples: list[Example]
) -> None:
    template = ChatTemplate.load(make_model(tmp_path / "model", FAMILIES["turns"]))
    refused = replace(examples[7], messages=examples[7].messages[1:])
    with pytest.raises(RecollectError) as caught:
        build(tmp_path / "new" / "cache", key, template=template, examples=[*examples, refused])
    assert caught.value.reason is Reason.TEMPLATE_REFUSED
    assert caught.value.where == f"source support, example {refused.example_id}"
    assert examples[7].messages[1].content not in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.faults
@pytest.mark.parametrize("use", ["lengths", "num_supervised", "gather", "masks"])
@pytest.mark.parametrize("size", [0, 1, 100, 4096])
def test_a_cache_that_is_cut_off_while_it_is_mapped_is_built_again(
    store: tuple[Store, Replica], tmp_path: Path, use: str, size: int
) -> None:
    source, made = store
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(made.model))

    def used(held: Sequence[TokenCache]) -> list[Any]:
        rows = np.arange(25)
        found: Any = {
            "lengths": lambda: held[1].lengths.tolist(),
            "num_supervised": lambda: held[1].num_supervised(rows).tolist(),
            "gather": lambda: held[1].rows(rows).to_pylist(),
            "masks": lambda: [lengths.tolist() for lengths, _ in held[1].masks()],
        }
        return [found[use](), held[1].lengths.tolist()]

    good = caches.cured(made.plan, used)
    first, cut, last = caches.of_plan(made.plan)
    assert caches.path(cut.key).stat().st_size > 4096
    os.truncate(caches.path(cut.key), size)
    assert caches.cured(made.plan, used) == good
    now = caches.of_plan(made.plan)
    assert now[0] is first
    assert now[1] is not cut
    assert now[2] is last
    assert source.num_reads == 4


@pytest.mark.faults
def test_what_was_located_in_a_cache_that_is_cut_off_is_not_copied(
    path: Path, key: CacheKey
) -> None:
    cache = TokenCache(path, key)
    rows = np.arange(NUM_ROWS)
    ranges = cache.located(rows, np.zeros_like(rows), np.full_like(rows, MAX_LENGTH))
    os.truncate(path, 0)
    places = np.cumsum(ranges.lengths) - ranges.lengths
    total = int(ranges.lengths.sum())
    with pytest.raises(DamagedCache):
        cache.copy(ranges, places, np.empty(total, np.int32), np.zeros(total, np.uint8))
    assert cache.is_damaged


@pytest.mark.faults
def test_a_disk_that_keeps_nothing_is_said_to_keep_nothing(
    store: tuple[Store, Replica], tmp_path: Path
) -> None:
    source, made = store
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(made.model))

    def used(held: Sequence[TokenCache]) -> None:
        os.truncate(caches.path(held[2].key), 0)
        held[2].gather(np.arange(3))

    with pytest.raises(RecollectError, match="damaged again") as caught:
        caches.cured(made.plan, used)
    assert caught.value.reason is Reason.STORAGE_CORRUPT
    assert source.num_reads == 4


def test_a_build_tells_how_far_it_is(
    tmp_path: Path,
    key: CacheKey,
    template: ChatTemplate,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []

    def progress(*, num_rows: int, num_rows_in_all: int, seconds: float) -> None:
        assert seconds >= 0
        told.append((num_rows, num_rows_in_all))

    options: Any = {"template": template, "examples": examples, "progress": progress}
    build(tmp_path / "quick", key, **options)
    assert told == [(NUM_ROWS, NUM_ROWS)]
    monkeypatch.setattr(building, "SECONDS_BETWEEN", 0)
    build(tmp_path / "slow", key, **options)
    assert [rows for rows, _ in told[1:]] == [5, 10, 15, 20, 23, 23]


def test_the_log_tells_of_builds_without_names(
    store: tuple[Store, Replica], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, made = store
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(made.model))
    with caplog.at_level("INFO"):
        held = caches.of_plan(made.plan)
    records: list[Any] = caplog.records
    assert [record.message for record in records] == ["token cache built"] * 3
    assert [record.fields["cache"] for record in records] == [cache.key.name for cache in held]
    assert [record.fields["rows"] for record in records] == [40, 25, 7]
    assert {record.fields["cause"] for record in records} == {"missing"}
    assert not any("support" in str(record.fields) for record in records)


def test_a_build_delays_those_who_need_it_and_nobody_else(
    store: tuple[Store, Replica], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, made = store
    caches = TokenCaches(tmp_path / "caches", store=source, template=ChatTemplate.load(made.model))
    begun, going_on = Event(), Event()
    examples = source.examples

    def slow(snapshot: Any, name: str) -> Iterator[Example]:
        if name == "support":
            begun.set()
            assert going_on.wait(20)
        return examples(snapshot, name)

    monkeypatch.setattr(source, "examples", slow)
    support, general, _ = made.plan.sources
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(caches.of_sources, made.plan.snapshot_id, [support], max_length=9)
            for _ in range(2)
        ]
        assert begun.wait(20)
        assert len(caches.of_sources(made.plan.snapshot_id, [general], max_length=9)[0]) == 25
        assert not any(job.done() for job in both)
        going_on.set()
        one, other = (job.result(20)[0] for job in both)
    assert one is other
    assert source.num_reads == 2
