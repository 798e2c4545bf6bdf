"""The quarantine as a fold over the ledger: what entered and has not left is in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Pointer
from recollect.services.ledger import Entry, Kind, Ledger
from recollect.services.ledger.entry import GENESIS, make_entry
from recollect.services.replay import ReplayStore
from recollect.services.replay.quarantine import Quarantine

FILES = st.sampled_from(["a.jsonl", "b.csv"])
ROWS = st.integers(1, 6)
POINTERS = st.lists(st.tuples(FILES, ROWS), max_size=5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ingest"), POINTERS, st.integers(0, 9)),
        st.tuples(st.just("page"), POINTERS),
        st.tuples(st.just("release"), POINTERS),
        st.tuples(st.just("drop"), st.none() | FILES, st.none() | ROWS),
    ),
    max_size=12,
)


def entry(sequence: int, kind: Kind, **body: Any) -> Entry:
    time = datetime(2026, 1, 1, 0, 0, sequence, tzinfo=UTC)
    body = {"source": "support", **body}
    return make_entry(
        sequence=sequence, time=time, kind=kind, actor="test", body=body, previous=GENESIS
    )


def listed(pointers: list[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"file": file, "row": row, "reason": f"reason {row}"} for file, row in pointers]


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_what_entered_and_has_not_left_is_in_quarantine(steps: list[tuple[Any, ...]]) -> None:
    quarantine = Quarantine()
    inside: dict[tuple[str, int], int] = {}
    num_unlisted = 0
    for n, (step, *rest) in enumerate(steps):
        if step == "ingest":
            pointers, more = rest
            inside |= dict.fromkeys(pointers, n)
            num_unlisted += more
            count = len(pointers) + more
            quarantine.apply(
                entry(n, Kind.INGEST_FINISHED, quarantined=listed(pointers), num_quarantined=count)
            )
        elif step == "page":
            (pointers,) = rest
            pointers = pointers[:num_unlisted]
            num_unlisted -= len(pointers)
            inside |= dict.fromkeys(pointers, 77)
            quarantine.apply(entry(n, Kind.ROWS_QUARANTINED, ingest=77, rows=listed(pointers)))
        elif step == "release":
            (pointers,) = rest
            inside = {p: i for p, i in inside.items() if p not in pointers}
            groups = [{"file": file, "rows": [row]} for file, row in pointers]
            quarantine.apply(entry(n, Kind.QUARANTINE_RELEASED, rows=groups))
        else:
            file, row = rest
            row = row if file else None
            inside = {
                p: i
                for p, i in inside.items()
                if file not in (None, p[0]) or row not in (None, p[1])
            }
            num_unlisted = num_unlisted if file else 0
            quarantine.apply(entry(n, Kind.QUARANTINE_DROPPED, file=file, row=row))
    rows = list(quarantine.rows("support"))
    assert {(r.pointer.file, r.pointer.row): r.why.ingest for r in rows} == inside
    assert [(r.pointer.file, r.pointer.row) for r in rows] == sorted(inside)
    assert all(r.why.reason == f"reason {r.pointer.row}" for r in rows)
    assert quarantine.count("support") == len(inside) + num_unlisted
    assert all(quarantine.holds("support", Pointer(file=f, row=r)) for f, r in inside)
    assert list(quarantine.rows("another")) == [] and quarantine.count("another") == 0


def test_a_store_that_is_opened_again_has_the_same_in_quarantine(
    store: ReplayStore, ledger: Ledger
) -> None:
    pointers = [("a.jsonl", 3), ("a.jsonl", 5), ("b.csv", 1)]
    body: dict[str, Any] = {"source": "support", "num_quarantined": 4}
    body["quarantined"] = listed(pointers)
    ingest = store.record(Kind.INGEST_FINISHED, body)
    released: dict[str, Any] = {"file": "a.jsonl", "rows": [5]}
    store.record(Kind.QUARANTINE_RELEASED, {"source": "support", "rows": [released]})
    assert store.drop_quarantined("support", "b.csv", 1, why="gone") == (1, 0)
    assert store.drop_quarantined("support", "b.csv", 1, why="gone") == (0, 0)
    for opened in (store, ReplayStore.open(store.folder, ledger)):
        rows, num_unlisted = opened.quarantined("support")
        assert [(r.pointer, r.why.ingest) for r in rows] == [
            (Pointer(file="a.jsonl", row=3), ingest.sequence)
        ]
        assert num_unlisted == 1
        assert opened.sources()[0].num_quarantined == 2
    # What changes nothing is not recorded.
    kinds = [e.kind for e in ledger.entries()]
    assert kinds.count(Kind.QUARANTINE_DROPPED) == 1
    assert store.drop_quarantined("support", None, None, why="all of it") == (1, 1)
    assert ReplayStore.open(store.folder, ledger).sources()[0].num_quarantined == 0


def test_the_quarantine_of_an_unknown_source_is_refused(store: ReplayStore) -> None:
    with pytest.raises(RecollectError) as error:
        store.quarantined("nobody")
    assert error.value.reason is Reason.SOURCE_UNKNOWN
