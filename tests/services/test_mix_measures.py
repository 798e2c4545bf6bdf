"""Measures on the wire, and the book of plans that need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Purpose, Role
from recollect.mixer.measures import Measures
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal
from recollect.services import measure_frames
from recollect.services.ledger import Ledger
from recollect.services.measure_frames import decode_measures, encode_measures
from recollect.services.planbook import PlanBook


def measured(lengths: list[int], every: int) -> Measures:
    mask = np.arange(sum(lengths)) % every > 0
    return Measures.of_masks(np.array(lengths, dtype=np.int64), mask)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=30),
    every=st.integers(1, 5),
    most_examples=st.integers(1, 8),
    most_runs=st.integers(1, 50),
)
def test_measures_come_back_whatever_the_payloads(
    lengths: list[int], every: int, most_examples: int, most_runs: int
) -> None:
    measures = measured(lengths, every)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_frames, "MOST_EXAMPLES", most_examples)
        patch.setattr(measure_frames, "MOST_RUNS", most_runs)
        payloads = list(encode_measures(measures))
    assert decode_measures(payloads).digest == measures.digest
    num_examples, num_runs = [], []
    for payload in payloads:
        with pa.ipc.open_stream(payload) as reader:
            table = reader.read_all()
        num_examples.append(table.num_rows)
        num_runs.append(len(table.column("run_starts").combine_chunks().flatten()))
    assert max(num_examples) <= most_examples
    assert all(r <= most_runs or n == 1 for n, r in zip(num_examples, num_runs, strict=True))
    assert sum(num_examples) == len(lengths)


def test_a_payload_of_many_examples_is_of_bounded_size() -> None:
    measures = measured([50] * 200_000, 10)
    payloads = list(encode_measures(measures))
    assert max(map(len, payloads)) < 4 << 20
    assert decode_measures(payloads).digest == measures.digest


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_payloads_that_are_none_are_refused(damage: bytes | None) -> None:
    payload = next(encode_measures(measured([3, 4], 2)))
    damaged = payload[: len(payload) // 2] if damage is None else damage
    with pytest.raises(RecollectError) as caught:
        decode_measures([payload, damaged])
    assert caught.value.reason is Reason.MEASURES_DIFFER


def packed_plan(measures: Measures) -> Plan:
    item = {"source": "chats", "role": "task", "share": 1}
    mix = {"name": "m", "packing": "split", "batch_size": 2, "num_steps": 3, "max_length": 8}
    held = SourceSnapshot(
        name="chats",
        role=Role.TASK,
        purpose=Purpose.TRAIN,
        num_examples=len(measures),
        content_digest="0" * 64,
    )
    return seal(
        Mix.from_mapping(mix | {"sources": [item]}),
        snapshot_id="first",
        sources={"chats": held},
        tokenizer_digest="0" * 64,
        measures={"chats": measures},
    )


def test_a_plan_of_the_ledger_gets_its_measures_when_it_is_used(tmp_path: Path) -> None:
    measures = measured([5, 9, 2], 2)
    plan = packed_plan(measures)
    asked: list[str] = []

    def ready(sealed: Plan) -> Plan:
        asked.append(sealed.plan_id)
        return sealed.with_measures({"chats": measures})

    ledger = Ledger.open(tmp_path / "ledger")
    book = PlanBook(ledger, ready=ready)
    book.seal(plan, actor="test")
    book.seal(plan, actor="test")
    for again in (book, PlanBook(ledger, ready=ready)):
        asked.clear()
        assert again.sealed(plan.plan_id).to_json() == plan.to_json()
        # It holds no packs itself, which may be large.
        assert (again.sealed(plan.plan_id).rows, asked) == (None, [])
        assert again.plan(plan.plan_id).batch(2).digest == plan.batch(2).digest
        assert asked == [plan.plan_id]
    assert len([entry for entry in ledger.entries() if entry.kind == "plan_sealed"]) == 1
    ledger.close()
