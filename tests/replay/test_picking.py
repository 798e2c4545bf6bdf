"""Single rows of a source are those of the whole, wherever segments and row groups end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example
from recollect.services.replay import ReplayStore, Source, segment
from recollect.services.replay.picking import examples_at

Make = Callable[..., Example]
NUM_EXAMPLES = 40


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.integers(0, NUM_EXAMPLES - 1), max_size=20))
def test_picked_rows_are_those_of_the_source_in_order(
    store: ReplayStore, make: Make, monkeypatch: pytest.MonkeyPatch, rows: list[int]
) -> None:
    monkeypatch.setattr(segment, "ROW_GROUP_SIZE", 4)
    if not store.snapshot().segments:
        with store.writer("support", max_rows=9) as writer:
            for number in range(NUM_EXAMPLES):
                writer.add(make(number))
    snapshot = store.snapshot()
    assert len(snapshot.segments) > 4
    whole = list(store.examples(snapshot, "support"))
    picked = list(examples_at(store.folder, snapshot, "support", rows))
    assert picked == [(row, whole[row]) for row in sorted(set(rows))]


def test_a_row_that_is_not_there_and_a_source_that_is_not_are_refused(
    store: ReplayStore, make: Make
) -> None:
    with store.writer("support") as writer:
        writer.add(make(0))
    for source, rows, reason in (
        ("support", [0, 1], Reason.PLAN_OUT_OF_RANGE),
        ("nobody", [0], Reason.SOURCE_UNKNOWN),
    ):
        with pytest.raises(RecollectError) as caught:
            list(examples_at(store.folder, store.snapshot(), source, rows))
        assert caught.value.reason is reason


def test_places_of_stand_ins_come_back_and_a_segment_of_an_older_release_has_none(
    store: ReplayStore, source: Source, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [replace(make(0), stand_ins=b"\x00sealed\xff"), make(1)]
    with store.writer("support") as writer:
        for example in examples:
            writer.add(example)
    assert list(store.examples(store.snapshot(), "support")) == examples
    older = segment.SCHEMA.remove(segment.SCHEMA.get_field_index("stand_ins"))
    monkeypatch.setattr(segment, "SCHEMA", older)
    with store.writer("support") as writer:
        writer.add(replace(make(2), stand_ins=b"dropped"))
    *_, manifest = store.snapshot().segments
    assert "stand_ins" not in pq.read_schema(store.folder / manifest.path).names
    *_, last = store.examples(store.snapshot(), "support")
    assert last == make(2)
