from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.client import connect
from recollect.trainer.dataset import PlanRows, plan_dataset
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.order import RowOrder

if TYPE_CHECKING:
    from stream.replica import Replica, Server


@pytest.fixture
def rows(server: Server, replica: Replica) -> Iterator[PlanRows]:
    order = RowOrder(replica.plan)
    made = PlanRows(connect(server.address), order, watched=True, any_order=True)
    yield made
    made.client.close()


def test_a_data_loader_in_order_gives_the_batches_of_the_plan(
    server: Server, replica: Replica
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id, watched=True)
    assert len(dataset) == replica.plan.num_positions
    batches = DataLoader(dataset, batch_size=20, collate_fn=default_data_collator)
    with ReplayLoader(server.address, replica.plan.plan_id) as loader:
        for batch, streamed in zip(batches, loader, strict=True):
            assert torch.equal(batch["input_ids"], streamed.input_ids)
            assert torch.equal(batch["labels"], streamed.labels)
            assert torch.equal(batch["attention_mask"], streamed.attention_mask)
            assert torch.equal(batch["source"], streamed.sources)


@pytest.mark.parametrize("batch_size", [1, 7, 33])
def test_rows_do_not_depend_on_how_they_are_grouped(
    rows: PlanRows, replica: Replica, batch_size: int
) -> None:
    whole = rows({"row": range(120)})
    for first in range(0, 120, batch_size):
        positions = range(first, min(120, first + batch_size))
        part = rows({"row": positions})
        for row, position in enumerate(positions):
            length = int(whole["attention_mask"][position].sum())
            for name in ("input_ids", "labels"):
                assert torch.equal(part[name][row][:length], whole[name][position][:length])
            assert part["attention_mask"][row].sum() == length
            assert part["source"][row] == whole["source"][position]


def test_rows_in_any_order_are_the_same_rows(rows: PlanRows) -> None:
    positions = [599, 3, 3, 210, 41, 0]
    together = rows({"row": positions})
    assert len({len(row) for row in together["input_ids"]}) == 1
    for row, position in enumerate(positions):
        alone = rows({"row": [position]})["input_ids"][0]
        assert torch.equal(together["input_ids"][row][: len(alone)], alone)


def test_no_positions_are_no_rows(rows: PlanRows) -> None:
    assert rows({"row": []})["input_ids"] == []


def test_a_pickled_data_set_fetches_through_its_own_channel(
    server: Server, replica: Replica
) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id)
    first = dataset[:3]["input_ids"]
    copy = pickle.loads(pickle.dumps(dataset))
    assert all(map(torch.equal, copy[:3]["input_ids"], first))


def test_a_position_outside_the_plan_is_refused(rows: PlanRows) -> None:
    with pytest.raises(RecollectError) as caught:
        rows({"row": [600]})
    assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE


def small_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=5,
            eos_token_id=1,
        )
    )


def test_a_model_learns_from_the_data_set(server: Server, replica: Replica) -> None:
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    dataset = plan_dataset(server.address, replica.plan.plan_id)
    losses = []
    for batch in DataLoader(dataset, batch_size=20, collate_fn=default_data_collator):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_the_trainer_of_transformers_follows_and_resumes_the_plan(
    server: Server, replica: Replica, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate")
    seen: list[torch.Tensor] = []

    class Following(Trainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            seen.append(inputs["input_ids"].clone())
            return super().training_step(model, inputs, *rest, **named)

    def train(max_steps: int, checkpoint: str | None) -> None:
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=20,
            max_steps=max_steps,
            save_steps=5,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        dataset = plan_dataset(server.address, replica.plan.plan_id)
        trainer = Following(model=small_model(), args=arguments, train_dataset=dataset)
        trainer.train(resume_from_checkpoint=checkpoint)

    train(5, None)
    train(8, str(tmp_path / "checkpoint-5"))
    with ReplayLoader(server.address, replica.plan.plan_id) as loader:
        for ids, batch in zip(seen, loader, strict=False):
            assert torch.equal(ids, batch.input_ids)
    assert len(seen) == 8
