from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa
import pytest

from recollect.mixer.example import Example
from recollect.services.replay import ReplayStore
from recollect.services.replay.catalog import Catalog, _connect

Make = Callable[..., Example]


@pytest.fixture
def examples(store: ReplayStore, make: Make) -> Iterator[list[Example]]:
    examples = [make(number) for number in range(50)]
    with store.writer("support", max_rows=20) as writer:
        for example in examples:
            writer.add(example)
    yield examples


def answers(catalog: Catalog) -> object:
    return (
        catalog.count_examples(),
        catalog.count_findings(),
        catalog.origins_of_subject("subject-1"),
        catalog.origins_in_file("dialogues.jsonl"),
    )


def test_counts_are_those_of_the_examples(store: ReplayStore, examples: list[Example]) -> None:
    catalog = Catalog(store)
    (count,) = catalog.count_examples()
    assert count.num_examples == 50
    assert count.num_synthetic == sum(example.lineage is not None for example in examples)
    assert count.num_subjects == len({e.subject for e in examples if e.subject is not None})
    assert count.num_characters == sum(
        len(message.content) for example in examples for message in example.messages
    )
    totals: Counter[str] = Counter()
    for example in examples:
        totals.update(dict(example.findings))
    found = {total.entity_type: total.count for total in catalog.count_findings()}
    assert found == dict(totals)


def test_every_example_is_found_by_id_subject_and_file(
    store: ReplayStore, examples: list[Example]
) -> None:
    catalog = Catalog(store)
    for example in examples[:5]:
        (origin,) = catalog.origin_of(example.example_id)
        assert (origin.pointer_file, origin.pointer_row) == (
            example.pointer.file,
            example.pointer.row,
        )
    wanted = {example.example_id for example in examples if example.subject == "subject-1"}
    assert {origin.example_id for origin in catalog.origins_of_subject("subject-1")} == wanted
    assert len(catalog.origins_in_file("dialogues.jsonl")) == 50
    assert catalog.origin_of("'; DROP TABLE examples; --") == []


def test_answers_follow_the_store(store: ReplayStore, make: Make, examples: list[Example]) -> None:
    catalog = Catalog(store)
    assert catalog.count_examples()[0].num_examples == len(examples)
    with store.writer("support") as writer:
        writer.add(make(99))
    assert catalog.count_examples()[0].num_examples == len(examples) + 1


def test_deleting_the_cache_loses_nothing(store: ReplayStore, examples: list[Example]) -> None:
    before = answers(Catalog(store))
    shutil.rmtree(store.folder / "cache")
    assert answers(Catalog(store)) == before
    assert list(store.examples(store.snapshot(), "support")) == examples


@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 20_000])
def test_a_broken_catalog_is_made_again_in_silence(
    store: ReplayStore, examples: list[Example], content: bytes
) -> None:
    catalog = Catalog(store)
    before = answers(catalog)
    catalog.path.write_bytes(content)
    assert answers(catalog) == before
    sound = catalog.path.read_bytes()
    catalog.path.write_bytes(sound[: len(sound) // 2])
    assert answers(catalog) == before
    assert len(examples) == 50


def test_the_catalog_holds_no_text(store: ReplayStore, examples: list[Example]) -> None:
    catalog = Catalog(store)
    catalog.rebuild()
    content = catalog.path.read_bytes()
    assert examples[3].example_id.encode() in content
    assert b"parcel" not in content.lower()
    assert [path.name for path in catalog.path.parent.iterdir()] == [catalog.path.name]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY examples TO '/tmp/escaped.csv'",
        "ATTACH '/tmp/escaped.duckdb'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM examples_in_python",
    ],
)
def test_a_connection_reaches_nothing_but_its_file(
    store: ReplayStore, examples: list[Example], statement: str
) -> None:
    catalog = Catalog(store)
    catalog.rebuild()
    examples_in_python = pa.table({"column": [1]})
    assert examples_in_python.num_rows == 1
    with _connect(catalog.path, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM examples").fetchone() == (50,)
        with pytest.raises(duckdb.Error):
            connection.execute(statement)
