from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Pointer, Purpose, Role, Speaker
from recollect.services.ledger import Kind, Ledger
from recollect.services.replay import ReplayStore, Source

Make = Callable[..., Example]


def fill(store: ReplayStore, examples: list[Example], **limits: int) -> None:
    with store.writer("support", **limits) as writer:  # type: ignore[arg-type]
        for example in examples:
            writer.add(example)


def held(store: ReplayStore, source: str = "support") -> list[Example]:
    return list(store.examples(store.snapshot(), source))


def files_of(store: ReplayStore) -> set[str]:
    return {path.name for path in store.folder.glob("segments/*/*")}


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_examples_come_back_as_they_went_in_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, source: Source, data: st.DataObject
) -> None:
    texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=3)
    dialogues = data.draw(st.lists(texts, max_size=12))
    max_rows = data.draw(st.integers(1, 5))
    folder = tmp_path_factory.mktemp("store")
    with Ledger.open(folder) as ledger:
        store = ReplayStore.open(folder, ledger)
        store.register(source)
        wanted: dict[str, Example] = {}
        with store.writer("support", max_rows=max_rows) as writer:
            for row, contents in enumerate(dialogues):
                messages = tuple(Message(speaker=Speaker.USER, content=text) for text in contents)
                example = Example(
                    example_id=store.example_id_for("support", messages),
                    source="support",
                    messages=messages,
                    pointer=Pointer(file="a.jsonl", row=row + 1),
                    subject=None,
                    policy="1",
                    findings=(),
                )
                assert writer.add(example) is (example.example_id not in wanted)
                wanted.setdefault(example.example_id, example)
        expected = list(wanted.values())
        assert held(store) == expected
        snapshot = store.snapshot()
        assert store.example_ids(snapshot, "support") == list(wanted)
        assert snapshot.sources["support"].num_examples == len(expected)
        for row, example in enumerate(expected):
            assert store.example(snapshot, "support", row) == example
    with Ledger.open(folder) as ledger:
        again = ReplayStore.open(folder, ledger)
        assert again.snapshot() == snapshot
        assert held(again) == expected


def test_a_row_in_a_later_row_group_is_found(store: ReplayStore, make: Make) -> None:
    examples = [make(number) for number in range(2500)]
    fill(store, examples, max_rows=2400)
    snapshot = store.snapshot()
    for row in (0, 1023, 1024, 2399, 2400, 2499):
        assert store.example(snapshot, "support", row) == examples[row]
    for row in (-1, 2500):
        with pytest.raises(RecollectError) as error:
            store.example(snapshot, "support", row)
        assert error.value.reason is Reason.PLAN_OUT_OF_RANGE


def test_a_source_without_examples_may_change_its_properties(
    store: ReplayStore, ledger: Ledger, source: Source
) -> None:
    changed = replace(source, role=Role.GENERAL)
    assert store.register(changed) is True
    assert store.source(source.name) == changed
    assert ReplayStore(store.folder, ledger).source(source.name) == changed


def test_registering_again_changes_nothing_and_other_properties_conflict(
    store: ReplayStore, ledger: Ledger, source: Source, make: Make
) -> None:
    fill(store, [make(0)])
    count = ledger.num_entries
    assert store.register(source) is False
    assert ledger.num_entries == count
    with pytest.raises(RecollectError, match="role and licence") as error:
        store.register(replace(source, role=Role.GENERAL, licence="MIT"))
    assert error.value.reason is Reason.SOURCE_CONFLICT
    assert ledger.num_entries == count


@pytest.mark.parametrize("name", ["", "Support", "1st", "a-b", "../a", "a/b", "a" * 65, "ü", "a\n"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(RecollectError) as error:
        Source(
            name=name, role=Role.TASK, purpose=Purpose.TRAIN, licence="MIT", legal_basis="consent"
        )
    assert error.value.reason is Reason.CONFIG_INVALID


def test_an_unknown_source_is_refused_everywhere(store: ReplayStore) -> None:
    for ask in (
        lambda: store.writer("nobody"),
        lambda: held(store, "nobody"),
        lambda: store.example(store.snapshot(), "nobody", 0),
    ):
        with pytest.raises(RecollectError) as error:
            ask()
        assert error.value.reason is Reason.SOURCE_UNKNOWN


def test_ingesting_again_adds_nothing(store: ReplayStore, ledger: Ledger, make: Make) -> None:
    examples = [make(number) for number in range(20)]
    fill(store, examples)
    snapshot, count = store.snapshot(), ledger.num_entries
    with store.writer("support") as writer:
        assert not any(writer.add(example) for example in examples)
        assert (writer.num_added, writer.num_duplicates) == (0, 20)
    assert store.snapshot() == snapshot
    assert ledger.num_entries == count


def test_idempotence_survives_a_restart(tmp_path: Path, source: Source) -> None:
    message = Message(speaker=Speaker.TEXT, content="Once.")
    ids = set()
    for _ in range(3):
        with Ledger.open(tmp_path) as ledger:
            store = ReplayStore.open(tmp_path, ledger)
            store.register(source)
            example = Example(
                example_id=store.example_id_for("support", [message]),
                source="support",
                messages=(message,),
                pointer=Pointer(file="a", row=1),
                subject=None,
                policy="1",
                findings=(),
            )
            ids.add(example.example_id)
            fill(store, [example])
            assert len(held(store)) == len(ids) == 1


def test_nothing_is_visible_before_the_commit_and_all_of_it_after(
    store: ReplayStore, make: Make
) -> None:
    before = store.snapshot()
    with store.writer("support", max_rows=3) as writer:
        for number in range(10):
            writer.add(make(number))
        assert store.snapshot() == before
        assert len(writer.commit()) == 4
        assert len(held(store)) == 10
        writer.add(make(10))
        assert len(held(store)) == 10
    assert len(held(store)) == 11


def test_one_ledger_entry_commits_the_whole_ingest(
    store: ReplayStore, ledger: Ledger, make: Make
) -> None:
    count = ledger.num_entries
    fill(store, [make(number) for number in range(10)], max_rows=3)
    (entry,) = ledger.entries(count)
    assert entry.kind == "segments_committed"
    assert len(store.snapshot().segments) == 4


def test_an_exception_leaves_no_half_state(store: ReplayStore, ledger: Ledger, make: Make) -> None:
    fill(store, [make(0)])
    before, files, count = store.snapshot(), files_of(store), ledger.num_entries
    with pytest.raises(RuntimeError), store.writer("support", max_rows=2) as writer:
        for number in range(1, 6):
            writer.add(make(number))
        raise RuntimeError("broken off")
    assert (store.snapshot(), files_of(store), ledger.num_entries) == (before, files, count)
    fill(store, [make(number) for number in range(6)])
    assert held(store) == [make(number) for number in range(6)]


def test_a_source_has_one_writer_at_a_time(store: ReplayStore) -> None:
    with store.writer("support"):
        with pytest.raises(RecollectError) as error:
            store.writer("support")
        assert error.value.reason is Reason.STORAGE_LOCKED
    store.writer("support").close()


def test_half_a_surrogate_pair_is_refused_before_it_can_break_a_segment(
    store: ReplayStore, make: Make
) -> None:
    broken = replace(make(0), messages=(Message(speaker=Speaker.USER, content="\ud83d secret"),))
    with store.writer("support") as writer:
        with pytest.raises(RecollectError) as error:
            writer.add(broken)
        assert error.value.reason is Reason.INPUT_ENCODING
        assert "secret" not in str(error.value)
        assert writer.add(make(1))
    with pytest.raises(RecollectError):
        store.example_id_for("support", broken.messages)
    assert held(store) == [make(1)]


def test_an_example_of_another_source_is_refused(store: ReplayStore, make: Make) -> None:
    with store.writer("support") as writer, pytest.raises(RecollectError) as error:
        writer.add(make(0, source="other"))
    assert error.value.reason is Reason.SOURCE_CONFLICT


def test_former_snapshots_stay_readable_under_their_id(
    tmp_path: Path, store: ReplayStore, ledger: Ledger, make: Make, source: Source
) -> None:
    former = [store.snapshot()]
    for number in range(4):
        fill(store, [make(number)])
        store.register(replace(source, name=f"more_{number}"))
        former.append(store.snapshot())
    assert len({snapshot.snapshot_id for snapshot in former}) == 5
    ledger.close()
    with Ledger.open(tmp_path / "data") as reopened:
        again = ReplayStore.open(tmp_path / "data", reopened)
        for count, snapshot in enumerate(former):
            assert again.snapshot_by_id(snapshot.snapshot_id) == snapshot
            rows = list(again.examples(snapshot, "support"))
            assert rows == [make(number) for number in range(count)]
        with pytest.raises(RecollectError):
            again.snapshot_by_id("0" * 64)


def test_a_content_digest_changes_with_content_and_only_then(
    store: ReplayStore, make: Make, source: Source
) -> None:
    store.register(replace(source, name="other"))
    digests = [store.snapshot().sources["support"].content_digest]
    fill(store, [make(0)])
    digests.append(store.snapshot().sources["support"].content_digest)
    with store.writer("other") as writer:
        writer.add(make(0, source="other"))
    assert store.snapshot().sources["support"].content_digest == digests[1]
    fill(store, [make(1)])
    digests.append(store.snapshot().sources["support"].content_digest)
    assert len(set(digests)) == 3


def test_the_summary_counts_what_was_committed(
    store: ReplayStore, ledger: Ledger, make: Make, source: Source
) -> None:
    examples = [make(number) for number in range(10)]
    fill(store, examples, max_rows=4)
    (summary,) = store.sources()
    assert (summary.source, summary.num_examples, summary.num_segments) == (source, 10, 3)
    assert summary.findings == (("EMAIL_ADDRESS", 10), ("PERSON", 10))
    assert summary.num_characters == sum(
        len(message.content) for example in examples for message in example.messages
    )
    assert summary.num_bytes == sum(
        path.stat().st_size for path in store.folder.glob("segments/*/*")
    )


def test_the_key_is_private_lasting_and_not_replaced_when_lost(
    tmp_path: Path, store: ReplayStore, ledger: Ledger, make: Make
) -> None:
    path = store.folder / "keys" / "store.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    fill(store, [make(0)])
    path.unlink()
    with pytest.raises(RecollectError) as error:
        ReplayStore.open(store.folder, ledger)
    assert error.value.reason is Reason.STORAGE_CORRUPT
    assert not path.exists()


def test_ids_depend_on_key_source_and_content(tmp_path: Path, store: ReplayStore) -> None:
    message = Message(speaker=Speaker.USER, content="Hello")
    with Ledger.open(tmp_path / "elsewhere") as ledger:
        elsewhere = ReplayStore.open(tmp_path / "elsewhere", ledger)
        ids = {
            store.example_id_for("support", [message]),
            store.example_id_for("other", [message]),
            store.example_id_for("support", [message, message]),
            store.example_id_for("support", [replace(message, speaker=Speaker.SYSTEM)]),
            elsewhere.example_id_for("support", [message]),
        }
    assert len(ids) == 5
    assert all(len(bytes.fromhex(example_id)) == 16 for example_id in ids)


def test_a_segment_without_its_ledger_entry_is_never_removed(
    tmp_path: Path, store: ReplayStore, make: Make
) -> None:
    fill(store, [make(0)])
    with Ledger.open(tmp_path / "empty") as other:
        with pytest.raises(RecollectError) as error:
            ReplayStore.open(store.folder, other)
        assert error.value.reason is Reason.LEDGER_CORRUPT
    assert held(store) == [make(0)]


def test_a_commit_whose_renaming_was_cut_short_is_caught_up_on(
    store: ReplayStore, ledger: Ledger, make: Make
) -> None:
    fill(store, [make(0)])
    (path,) = store.folder.glob("segments/*/*")
    os.rename(path, f"{path}.pending")
    again = ReplayStore.open(store.folder, ledger)
    assert again.num_files_removed == 0
    assert held(again) == [make(0)]
    assert path.exists()


def test_two_sources_are_written_at_the_same_time(
    store: ReplayStore, make: Make, source: Source
) -> None:
    names = [f"source_{number}" for number in range(4)]
    for name in names:
        store.register(replace(source, name=name))

    def ingest(name: str) -> None:
        for part in range(5):
            with store.writer(name, max_rows=2) as writer:
                for number in range(part * 5, part * 5 + 5):
                    writer.add(make(number, source=name))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ingest, names))
    for name in names:
        assert held(store, name) == [make(number, source=name) for number in range(25)]


def test_what_an_ingest_records_counts_at_once_and_after_a_restart(
    store: ReplayStore, ledger: Ledger
) -> None:
    for count in (2, 3):
        store.record(Kind.INGEST_FINISHED, {"source": "support", "num_quarantined": count})
    assert store.sources()[0].num_quarantined == 5
    assert ReplayStore.open(store.folder, ledger).sources()[0].num_quarantined == 5


def test_a_source_is_known_by_its_name(store: ReplayStore, source: Source) -> None:
    assert store.source("support") == source
    with pytest.raises(RecollectError) as error:
        store.source("nobody")
    assert error.value.reason is Reason.SOURCE_UNKNOWN
