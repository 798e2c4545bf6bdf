from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer import checkpoint
from recollect.trainer.checkpoint import Progress
from recollect.trainer.loop import FineTuning, StepRecord, run
from recollect.trainer.settings import Settings
from recollect.trainer.tally import SourceTally

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = ("task", "general")


@dataclass(frozen=True)
class Rows:
    step: int
    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    sources: torch.Tensor
    tallies: Mapping[str, SourceTally]
    packed: bool = False

    @property
    def position_ids(self) -> torch.Tensor:
        return torch.arange(self.input_ids.shape[1]).expand(self.input_ids.shape)


def new_model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
    )


def new_batch(step: int, num_rows: int = 6) -> Rows:
    dice = torch.Generator().manual_seed(step)
    lengths = torch.randint(4, 12, (num_rows,), generator=dice)
    ids = torch.randint(6, 50, (num_rows, 12), generator=dice)
    places = torch.arange(12)[None, :]
    mask = (places < lengths[:, None]).long()
    labels = torch.where((places >= 2) & (mask == 1), ids, -100)
    sources = torch.arange(num_rows) % 2
    tallies = {
        name: SourceTally(
            num_rows=int((sources == place).sum()),
            num_tokens=int(mask[sources == place].sum()),
            num_supervised_tokens=int((labels[sources == place] != -100).sum()),
        )
        for place, name in enumerate(SOURCES)
    }
    return Rows(step, ids * mask, labels, mask, sources, MappingProxyType(tallies))


def new_tuning(num_steps: int = 8, **changes: object) -> FineTuning:
    chosen = Settings.model_validate({"learning_rate": 0.01, "warm_up_steps": 2, **changes})
    return FineTuning(new_model(), chosen, num_steps=num_steps, sources=SOURCES)


def weights(tuning: FineTuning) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in tuning.model.parameters()])


def ignore(_: object) -> None:
    pass


def test_the_loss_is_the_mean_over_the_supervised_tokens_of_the_batch() -> None:
    batch = new_batch(0)
    tuning = new_tuning()
    expected = tuning.model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels
    ).loss.detach()
    record = tuning.step(batch)
    assert record.loss == pytest.approx(float(expected), rel=1e-5)
    assert record.num_tokens == int(batch.attention_mask.sum())
    assert record.counts == {"task": 3, "general": 3}


def test_the_losses_of_the_sources_average_to_the_loss_of_the_batch() -> None:
    batch = new_batch(0)
    record = new_tuning().step(batch)
    supervised = (batch.labels[:, 1:] != -100).sum(1)
    tokens = {name: int(supervised[batch.sources == i].sum()) for i, name in enumerate(SOURCES)}
    mean = sum(record.losses[name] * tokens[name] for name in SOURCES) / sum(tokens.values())
    assert mean == pytest.approx(record.loss, rel=1e-5)


@pytest.mark.parametrize("micro_rows", [1, 2, 4, 5])
def test_micro_batches_take_the_step_of_the_whole_batch(micro_rows: int) -> None:
    whole, parts = new_tuning(), new_tuning(micro_rows=micro_rows)
    for step in range(3):
        one, other = whole.step(new_batch(step)), parts.step(new_batch(step))
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-4, rtol=1e-3)


def test_equal_batches_and_seeds_give_equal_weights() -> None:
    one, other = new_tuning(), new_tuning()
    for step in range(3):
        one.step(new_batch(step))
        other.step(new_batch(step))
    assert torch.equal(weights(one), weights(other))


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    straight = new_tuning()
    for step in range(8):
        straight.step(new_batch(step))

    first = new_tuning()
    for step in range(5):
        first.step(new_batch(step))
    done = Progress(plan_id="p", base_digest="b", next_step=5, steps=({"step": 4},))
    checkpoint.save(tmp_path, first, done)

    second = new_tuning()
    path = checkpoint.newest(tmp_path)
    assert path is not None
    assert checkpoint.restore(path, second, plan_id="p", base_digest="b") == done
    for step in range(5, 8):
        second.step(new_batch(step))
    assert torch.equal(weights(second), weights(straight))


def test_only_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    tuning = new_tuning()
    for next_step in (1, 2):
        tuning.step(new_batch(next_step))
        done = Progress(plan_id="p", base_digest="b", next_step=next_step, steps=())
        checkpoint.save(tmp_path, tuning, done)
    (tmp_path / "step-00000003.part").mkdir()  # What a kill while writing leaves.
    path = checkpoint.newest(tmp_path)
    assert path is not None and path.name == "step-00000002"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003.part"]


@pytest.mark.parametrize(("plan_id", "base_digest"), [("q", "b"), ("p", "c")])
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, plan_id: str, base_digest: str
) -> None:
    tuning = new_tuning()
    done = Progress(plan_id="p", base_digest="b", next_step=1, steps=())
    checkpoint.save(tmp_path, tuning, done)
    path = checkpoint.newest(tmp_path)
    assert path is not None
    with pytest.raises(RecollectError) as refusal:
        checkpoint.restore(path, tuning, plan_id=plan_id, base_digest=base_digest)
    assert refusal.value.reason is Reason.CONFIG_INVALID


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    tuning = new_tuning()
    tuning.step(new_batch(0))
    done = Progress(plan_id="p", base_digest="b", next_step=1, steps=())
    checkpoint.save(tmp_path, tuning, done)
    path = checkpoint.newest(tmp_path)
    assert path is not None
    (path / "optimizer.safetensors").write_bytes(b"broken")
    with pytest.raises(RecollectError) as refusal:
        checkpoint.restore(path, tuning, plan_id="p", base_digest="b")
    assert refusal.value.reason is Reason.STORAGE_CORRUPT


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_weights() -> None:
    tuning = new_tuning()
    with torch.no_grad():
        tuning.model.model.norm.weight.fill_(math.inf)
    before = weights(tuning)
    with pytest.raises(RecollectError, match="learning rate") as refusal:
        tuning.step(new_batch(0))
    assert refusal.value.where == "step 0"
    assert torch.equal(weights(tuning), before)


def test_a_batch_that_fails_its_check_is_neither_stepped_on_nor_acknowledged() -> None:
    tuning = new_tuning()
    before = weights(tuning)
    acknowledged: list[int] = []

    def refuse(batch: Rows) -> None:
        raise RecollectError(Reason.RATIO_VIOLATED, "no")

    with pytest.raises(RecollectError):
        run(
            tuning,
            [new_batch(0)],
            check=refuse,
            acknowledge=lambda batch: acknowledged.append(batch.step),
            report=ignore,
        )
    assert torch.equal(weights(tuning), before)
    assert acknowledged == []


def test_every_step_is_checked_then_taken_then_acknowledged_then_reported() -> None:
    tuning = new_tuning()
    seen: list[tuple[str, int, bool]] = []
    start = weights(tuning)

    def moved() -> bool:
        return not torch.equal(weights(tuning), start)

    def reported(record: StepRecord) -> None:
        seen.append(("report", record.step, moved()))

    run(
        tuning,
        [new_batch(0)],
        check=lambda batch: seen.append(("check", batch.step, moved())),
        acknowledge=lambda batch: seen.append(("acknowledge", batch.step, moved())),
        report=reported,
    )
    assert seen == [("check", 0, False), ("acknowledge", 0, True), ("report", 0, True)]


@settings(max_examples=60)
@given(
    st.integers(0, 30),
    st.integers(1, 300),
    st.sampled_from(["cosine", "constant"]),
)
def test_the_rate_rises_to_its_peak_and_never_rises_again(
    warm_up: int, more: int, schedule: str
) -> None:
    chosen = Settings.model_validate({"warm_up_steps": warm_up, "schedule": schedule})
    rates = [chosen.rate(step, warm_up + more) for step in range(warm_up + more)]
    assert all(0 < rate <= chosen.learning_rate * (1 + 1e-12) for rate in rates)
    assert rates[:warm_up] == sorted(rates[:warm_up])
    assert rates[warm_up:] == sorted(rates[warm_up:], reverse=True)
    assert rates[warm_up] == pytest.approx(chosen.learning_rate)
