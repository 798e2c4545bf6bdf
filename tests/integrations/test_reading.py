from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from torch.utils.data import DataLoader

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer import reading
from recollect.trainer.client import Client
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.reading import source_dataset

if TYPE_CHECKING:
    from stream.replica import Replica, Server


@pytest.fixture
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 4)
    yield 4


def test_the_only_source_of_a_plan_is_read_row_by_row(server: Server, replica: Replica) -> None:
    with ReplayLoader(server.address, replica.held_out.plan_id) as loader:
        expected = [
            row[:length].tolist()
            for batch in loader
            for row, length in zip(batch.input_ids, batch.lengths.tolist(), strict=True)
        ]
    rows = list(source_dataset(server.address, replica.held_out.plan_id))
    assert [row["input_ids"] for row in rows] == expected
    assert [row["position"] for row in rows] == list(range(10))
    assert all(row["num_tokens"] == len(row["input_ids"]) == len(row["labels"]) for row in rows)


def test_a_source_of_a_mix_is_read_once_in_the_order_of_the_plan(
    server: Server, replica: Replica
) -> None:
    plan = replica.plan
    rows = list(source_dataset(server.address, plan.plan_id, "general"))
    assert len(rows) == 25
    positions = [row["position"] for row in rows]
    assert positions == [plan.schedule.position_of(1, ordinal) for ordinal in range(25)]
    assert len({tuple(row["input_ids"]) for row in rows}) == 25


@pytest.mark.parametrize("cut", [0, 1, 4, 7, 25])
def test_reading_goes_on_where_its_state_was_taken(
    server: Server,
    replica: Replica,
    small_stretches: int,
    monkeypatch: pytest.MonkeyPatch,
    cut: int,
) -> None:
    whole = list(source_dataset(server.address, replica.plan.plan_id, "general"))
    dataset = source_dataset(server.address, replica.plan.plan_id, "general")
    rows = iter(dataset)
    before = [next(rows) for _ in range(cut)]
    state = dataset.state_dict()
    again = source_dataset(server.address, replica.plan.plan_id, "general")
    again.load_state_dict(state)
    steps: list[int] = []
    fetch = Client.fetch

    def recorded(self: Client, plan_id: str, first: int, num_steps: int, **named: Any) -> Any:
        steps.append(first)
        return fetch(self, plan_id, first, num_steps, **named)

    monkeypatch.setattr(Client, "fetch", recorded)
    assert before + list(again) == whole
    # Nothing before the stretch that was being read is fetched again.
    begun = cut // small_stretches * small_stretches
    assert all(step >= whole[begun]["position"] // 20 for step in steps)


def test_workers_share_what_is_read(server: Server, replica: Replica, small_stretches: int) -> None:
    whole = source_dataset(server.address, replica.plan.plan_id, "general")
    loader = DataLoader(whole, batch_size=None, num_workers=2, multiprocessing_context="fork")
    positions = sorted(int(row["position"]) for row in loader)
    assert positions == [row["position"] for row in whole]


@pytest.mark.parametrize("source", [None, "nobody"])
def test_a_source_that_the_plan_has_not_is_refused(
    server: Server, replica: Replica, source: str | None
) -> None:
    with pytest.raises(RecollectError, match="support, general, refusals") as caught:
        source_dataset(server.address, replica.plan.plan_id, source)
    assert caught.value.reason is Reason.SOURCE_UNKNOWN
