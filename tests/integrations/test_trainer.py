"""Trainer of transformers on a plan: what it refuses, and that its loss is exact by token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from transformers import Trainer, TrainingArguments, default_data_collator
from transformers.trainer_pt_utils import LengthGroupedSampler

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer import TrainerGuard
from recollect.trainer.callback import require_in_order
from recollect.trainer.client import connect
from recollect.trainer.dataset import plan_dataset
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.loss import row_losses
from recollect.trainer.model import load_model
from recollect.trainer.rowguard import RowGuard

if TYPE_CHECKING:
    from stream.replica import Replica, Server

pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate")

SHIPPED = Path(__file__).parents[2] / "services" / "teacher" / "model"


def trained(
    address: str,
    plan_id: str,
    folder: Path,
    *,
    rows: int,
    guard: dict[str, Any],
    checkpoint: str = "",
    **changed: Any,
) -> tuple[Trainer, TrainerGuard]:
    """A Trainer after a few steps, and its guard."""
    dataset = plan_dataset(address, plan_id, watched=True)
    watcher = TrainerGuard(dataset, **guard)
    chosen: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": rows,
        "max_steps": 4,
        "save_strategy": "no",
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        **changed,
    }
    trainer = Trainer(
        model=load_model(SHIPPED),
        args=TrainingArguments(**chosen),
        train_dataset=dataset,
        data_collator=default_data_collator,
        callbacks=[watcher],
    )
    trainer.train(resume_from_checkpoint=str(folder / checkpoint) if checkpoint else None)
    return trainer, watcher


def losses_of(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights_of(trainer: Trainer) -> torch.Tensor:
    assert isinstance(trainer.model, torch.nn.Module)
    return torch.cat([weights.detach().flatten() for weights in trainer.model.parameters()])


def guard_of(watcher: TrainerGuard) -> RowGuard:
    assert watcher.guard is not None
    return watcher.guard


@pytest.mark.parametrize("name", ["plan", "packed", "weighed"])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    server: Server, replica: Replica, tmp_path: Path, name: str
) -> None:
    plan = replica.plan if name == "plan" else replica.weighed[name]
    whole, parts = (
        trained(
            server.address,
            plan.plan_id,
            tmp_path,
            rows=plan.mix.batch_size // accumulation,
            guard={},
            gradient_accumulation_steps=accumulation,
        )
        for accumulation in (1, 4)
    )
    assert parts[0].state.global_step == 4
    torch.testing.assert_close(losses_of(parts[0]), losses_of(whole[0]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights_of(parts[0]), weights_of(whole[0]), rtol=1e-3, atol=1e-4)
    guards = [guard_of(watcher) for _, watcher in (whole, parts)]
    assert guards[0].next_step == guards[1].next_step == 4
    assert guards[0].realised() == guards[1].realised()
    # And the loss is the mean over the supervised tokens of the step, pieces kept apart.
    with ReplayLoader(server.address, plan.plan_id) as loader:
        batch = next(iter(loader))
    with torch.no_grad():
        sums, counts = row_losses(load_model(SHIPPED), batch)
    assert losses_of(whole[0])[0] == pytest.approx(float(sums.sum() / counts.sum()), rel=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "shuffled": ({"train_sampling_strategy": "random"}, "RandomSampler does not keep the order"),
    "grouped": ({"train_sampling_strategy": "group_by_length"}, "does not keep the order"),
    "rows": ({"per_device_train_batch_size": 10}, "not the 20 rows of a step"),
    "accumulated": ({"gradient_accumulation_steps": 2}, "not the 20 rows of a step"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_would_train_on_something_else_are_refused_before_the_first_step(
    server: Server, replica: Replica, tmp_path: Path, case: str
) -> None:
    changed, words = REFUSED[case]
    chosen: dict[str, Any] = {"rows": 20, "guard": {}, **changed}
    with pytest.raises(RecollectError, match=words) as caught:
        trained(server.address, replica.plan.plan_id, tmp_path, **chosen)
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_a_trainer_that_drops_the_column_is_refused_by_itself(
    server: Server, replica: Replica, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="remove_unused_columns"):
        trained(
            server.address,
            replica.plan.plan_id,
            tmp_path,
            rows=20,
            guard={},
            remove_unused_columns=True,
        )


def test_a_resume_that_begins_at_the_first_row_again_is_refused(
    server: Server, replica: Replica, tmp_path: Path
) -> None:
    plan_id = replica.plan.plan_id
    trained(
        server.address, plan_id, tmp_path, rows=20, guard={}, save_strategy="steps", save_steps=2
    )
    again: dict[str, Any] = {"rows": 20, "guard": {}, "max_steps": 6, "checkpoint": "checkpoint-4"}
    _, watcher = trained(server.address, plan_id, tmp_path, **again)
    assert guard_of(watcher).next_step == 6
    with pytest.raises(RecollectError, match="positions 0 … 19 came where 80 … 99 are next"):
        trained(server.address, plan_id, tmp_path, **again, ignore_data_skip=True)


def test_only_samplers_that_keep_the_order_pass(server: Server, replica: Replica) -> None:
    dataset = plan_dataset(server.address, replica.plan.plan_id)
    require_in_order(DataLoader(dataset, batch_size=5))
    require_in_order(DataLoader(dataset, batch_size=5, sampler=SequentialSampler(dataset)))
    for sampler in (
        RandomSampler(dataset),
        LengthGroupedSampler(5, lengths=[1] * len(dataset)),
    ):
        with pytest.raises(RecollectError, match="does not keep the order"):
            require_in_order(DataLoader(dataset, batch_size=5, sampler=sampler))
    with pytest.raises(RecollectError, match="does not keep the order"):
        require_in_order(iter([]))


def test_steps_of_a_run_are_acknowledged(replicas: Any, tmp_path: Path) -> None:
    made: Replica = replicas.make_replica(tmp_path / "data")
    with replicas.Server(made.folder) as own:
        client = connect(own.address)
        client.start_run("hf", made.plan.plan_id, base_digest="ab" * 32)
        trained(
            own.address,
            made.plan.plan_id,
            tmp_path,
            rows=5,
            guard={"run_id": "hf"},
            gradient_accumulation_steps=4,
        )
        assert client.start_run("hf", made.plan.plan_id, base_digest="ab" * 32) == 4
        client.close()


def test_what_is_only_observed_goes_on(
    server: Server, replica: Replica, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Half a step at a time and no accumulation: the optimizer steps twice as often as the plan.
    trainer, watcher = trained(
        server.address, replica.plan.plan_id, tmp_path, rows=10, guard={"mode": "observe"}
    )
    assert trainer.state.global_step == 4
    assert guard_of(watcher).next_step == 2
    assert guard_of(watcher).tallies["support"].num_rows == 28
    assert "not the 20 rows of a step" in caplog.text
    assert "about to take step 0 on other rows" in caplog.text
    # The settings, and every step of the optimizer: the first one is half a step of the plan.
    assert guard_of(watcher).num_violations == 5


def test_a_data_set_that_is_not_watched_is_refused(server: Server, replica: Replica) -> None:
    with pytest.raises(RecollectError, match="not watched"):
        TrainerGuard(plan_dataset(server.address, replica.plan.plan_id))
