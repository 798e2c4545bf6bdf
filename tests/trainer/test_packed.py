"""Packed rows and token units, from the service to the loss: nothing lost, and nothing leaks."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.mix import Unit
from recollect.mixer.packing import Packing
from recollect.mixer.plan import Plan
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.run_audit import audit_run
from recollect.services.stream import AnnotationWriter, ChatTemplate, TokenCaches
from recollect.trainer.dataset import PlanRows, plan_dataset
from recollect.trainer.frame import IGNORED
from recollect.trainer.guard import RatioGuard
from recollect.trainer.loader import ReplayLoader, TrainBatch
from recollect.trainer.loss import logits_of, row_losses
from recollect.trainer.model import load_model, require_apart, require_rows
from recollect.trainer.order import RowOrder

if TYPE_CHECKING:
    from stream.framing import steps_of
    from stream.replica import Replica, Server
    from transformers import PreTrainedModel
else:
    from ..stream.framing import steps_of

NAMES = ["packed", "split", "weighed"]
PACKED = ["packed", "split"]
SHIPPED = Path(__file__).parents[2] / "services" / "teacher" / "model"


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    shipped = load_model(SHIPPED)
    shipped.eval()  # type: ignore[no-untyped-call]
    return shipped


@pytest.fixture(scope="module", params=PACKED)
def batch(server: Server, replica: Replica, request: pytest.FixtureRequest) -> TrainBatch:
    plan_id = replica.weighed[request.param].plan_id
    with ReplayLoader(server.address, plan_id, first_step=5) as loader:
        return next(iter(loader))


def pieces_of(batch: TrainBatch) -> Iterator[tuple[int, int, int]]:
    """Row, begin and end of every piece."""
    bounds, used = batch.cu_seqlens.tolist(), 0
    lengths = batch.attention_mask.sum(1).tolist()
    row = 0
    for begin, end in pairwise(bounds):
        if begin - used == lengths[row]:
            used, row = begin, row + 1
        yield row, begin - used, end - used


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_service_streams_passes_the_guard_and_is_acknowledged(
    server: Server, replica: Replica, name: str, world_size: int
) -> None:
    plan = replica.weighed[name]
    run_id = f"{name}-{world_size}"
    realised: Counter[str] = Counter()
    for rank in range(world_size):
        guard = RatioGuard(plan, rank, world_size)
        address = server.address
        with ReplayLoader(address, plan.plan_id, rank=rank, world_size=world_size) as loader:
            loader.client.start_run(run_id, plan.plan_id, base_digest="ab" * 32)
            for batch in loader:
                guard.observe(batch)
                loader.ack(run_id, batch)
                for name_of_source, tally in batch.tallies.items():
                    realised[name_of_source] += tally.amount(plan.mix.unit)
            first_step = loader.client.start_run(run_id, plan.plan_id, base_digest="ab" * 32)
    assert first_step == plan.num_steps
    largest = max(
        int((r.tokens if plan.mix.unit is Unit.TOKENS else r.supervised_tokens).max())
        for r in plan.source_rows
    )
    whole = sum(realised.values())
    if name != "weighed":
        for source in plan.sources:
            assert abs(realised[source.name] - source.share * whole) <= largest
    if world_size == 1:
        assert guard.realised() == pytest.approx({s: n / whole for s, n in realised.items()})


def test_positions_begin_anew_with_every_piece_and_with_the_padding(batch: TrainBatch) -> None:
    assert batch.packed
    expected = torch.full_like(batch.position_ids, -1)
    for row, begin, end in pieces_of(batch):
        expected[row, begin:end] = torch.arange(end - begin)
    for row, length in enumerate(batch.attention_mask.sum(1).tolist()):
        expected[row, length:] = torch.arange(expected.shape[1] - length)
    assert torch.equal(batch.position_ids, expected)
    assert len(list(pieces_of(batch))) > batch.num_rows
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.cu_seqlens[-1] == batch.attention_mask.sum()


def test_the_first_token_of_a_piece_is_not_learnt(batch: TrainBatch) -> None:
    for row, begin, end in pieces_of(batch):
        assert batch.labels[row, begin] == IGNORED
        rest = batch.labels[row, begin + 1 : end]
        learnt = rest != IGNORED
        assert torch.equal(rest[learnt], batch.input_ids[row, begin + 1 : end][learnt])


def test_rows_of_one_example_are_what_they_were(server: Server, replica: Replica) -> None:
    with ReplayLoader(server.address, replica.plan.plan_id) as loader:
        batch = next(iter(loader))
    lengths = batch.attention_mask.sum(1)
    assert not batch.packed
    assert batch.cu_seqlens.tolist() == [0, *lengths.cumsum(0).tolist()]
    at = torch.arange(batch.input_ids.shape[1])
    assert torch.equal(
        batch.position_ids, torch.where(at < lengths[:, None], at, at - lengths[:, None])
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_logits_of_a_packed_row_are_those_of_each_piece_alone(
    model: PreTrainedModel, batch: TrainBatch, attention: str
) -> None:
    model.set_attn_implementation(attention)
    with torch.inference_mode():
        packed = logits_of(model, batch)
        for row, begin, end in pieces_of(batch):
            alone = model(input_ids=batch.input_ids[row : row + 1, begin:end]).logits[0]
            torch.testing.assert_close(packed[row, begin:end], alone, rtol=1e-4, atol=2e-4)


def test_the_loss_of_a_packed_batch_is_that_of_its_pieces_by_their_tokens(
    model: PreTrainedModel, batch: TrainBatch
) -> None:
    with torch.inference_mode():
        losses, counts = row_losses(model, batch)
        total, num_tokens = 0.0, 0
        for row, begin, end in pieces_of(batch):
            ids, labels = (x[row : row + 1, begin:end] for x in (batch.input_ids, batch.labels))
            learnt = int((labels[:, 1:] != IGNORED).sum())
            if learnt:
                total += float(model(input_ids=ids, labels=labels).loss) * learnt
                num_tokens += learnt
    assert int(counts.sum()) == num_tokens == int((batch.labels != IGNORED).sum())
    assert float(losses.sum()) == pytest.approx(total, rel=1e-5)


def test_a_mask_would_let_pieces_see_one_another(model: PreTrainedModel, batch: TrainBatch) -> None:
    """That the test of the logits can fail: this is what it guards against."""
    with torch.inference_mode():
        packed = logits_of(model, batch)
        leaking = logits_of(model, replace(batch, packed=False))
    row, begin, end = next(piece for piece in pieces_of(batch) if piece[1])
    assert not torch.allclose(packed[row, begin:end], leaking[row, begin:end], atol=1e-2)


def test_a_model_that_keeps_pieces_apart_may_train_on_packs(model: PreTrainedModel) -> None:
    require_apart(model)
    assert not model.training


def test_a_model_in_which_pieces_leak_is_refused(replica: Replica) -> None:
    class Leaking(LlamaForCausalLM):  # type: ignore[no-untyped-call]
        def forward(self, *arguments: Any, **context: Any) -> Any:
            mask = torch.ones_like(context["input_ids"])
            return super().forward(*arguments, **{**context, "attention_mask": mask})

    torch.manual_seed(4)
    leaking = Leaking(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
        )
    )
    leaking.config.max_position_embeddings = 4096
    require_rows(leaking, replica.plan)
    with pytest.raises(RecollectError, match="see one another") as caught:
        require_rows(leaking, replica.weighed["packed"])
    assert caught.value.reason is Reason.MODEL_UNUSABLE


@dataclass(frozen=True)
class Book:
    """One plan."""

    only: Plan

    def plan(self, plan_id: str) -> Plan:
        assert plan_id == self.only.plan_id
        return self.only


WORLDS = [(1, 0, 7), (3, 7, 13), (8, 13, 20), (5, 20, 30)]


@pytest.mark.parametrize("name", NAMES)
def test_other_numbers_of_ranks_within_an_epoch_lose_and_repeat_nothing(
    server: Server, replica: Replica, name: str
) -> None:
    plan = replica.weighed[name]
    run_id = f"worlds-{name}"
    with ReplayLoader(server.address, plan.plan_id) as undisturbed:
        frames = undisturbed.client.fetch(plan.plan_id, 0, plan.num_steps)
        whole = {step.step: rows for step, rows in steps_of(*frames)}
        undisturbed.client.start_run(run_id, plan.plan_id, base_digest="ab" * 32)
    received: dict[int, list[dict[str, Any]]] = {step: [] for step in range(plan.num_steps)}
    for world_size, first_step, end in WORLDS:
        for rank in range(world_size):
            with ReplayLoader(
                server.address, plan.plan_id, rank=rank, world_size=world_size
            ) as loader:
                assert loader.client.start_run(run_id, plan.plan_id, base_digest="ab" * 32) == (
                    first_step
                )
                loader.load_state_dict({**loader.state_dict(), "next_step": first_step})
                guard = RatioGuard(loader.plan, rank, world_size, first_step=first_step)
                frames = loader.client.fetch(
                    plan.plan_id, first_step, end - first_step, rank=rank, world_size=world_size
                )
                for (step, rows), batch in zip(steps_of(*frames), loader, strict=False):
                    guard.observe(batch)
                    assert (step.step, step.digest) == (batch.step, batch.digest)
                    assert [row["input_ids"] for row in rows] == [
                        ids[: int(mask.sum())].tolist()
                        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
                    ]
                    received[batch.step] += rows
                    loader.ack(run_id, batch)
    audit = audit_run(run_id, Ledger.read(replica.folder), Book(plan))
    assert (audit.differences, audit.num_steps) == ((), plan.num_steps)
    if name != "weighed":
        for source, share in zip(plan.sources, audit.realised, strict=True):
            assert abs(share - source.share) < Fraction(1, 50)
    for number, rows in received.items():
        assert sorted(rows, key=lambda row: row["position"]) == whole[number]
    # Each pass serves every row of its source once, but the last, which ends where the plan does.
    for index, source in enumerate(plan.sources):
        served = [
            row["example"]
            for number in sorted(whole)
            for row in whole[number]
            if row["source"] == index
        ]
        assert len(served) % source.num_rows, "no pass is cut off; the test would prove less"
        for first in range(0, len(served), source.num_rows):
            of_pass = served[first : first + source.num_rows]
            assert len(set(of_pass)) == len(of_pass)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_trainer_gets_the_same_bytes_again(
    replicas: Any, replica: Replica, tmp_path: Path, name: str
) -> None:
    twin = replicas.make_replica(tmp_path / "data")
    plan_id = replica.weighed[name].plan_id
    assert twin.weighed[name].plan_id == plan_id
    with replicas.Server(twin.folder, message_bytes=9_000) as server:
        with replicas.Process("rank", server.address, plan_id, 4, 1, 2) as trainer:
            before = [trainer.line() for _ in range(10)]
        server.kill()
    with replicas.Server(twin.folder, message_bytes=9_000) as server:
        again = replicas.Process("rank", server.address, plan_id, 4, 1, 2).lines()
    assert again[:10] == [line.strip() for line in before]
    assert [json.loads(line)["step"] for line in again] == list(range(4, 30))


@pytest.mark.parametrize("tensor", ["loss_mask", "lengths"])
def test_the_guard_counts_tokens_itself(server: Server, replica: Replica, tensor: str) -> None:
    plan = replica.weighed["packed"]
    with ReplayLoader(server.address, plan.plan_id) as loader:
        batch = next(iter(loader))
    changed = getattr(batch, tensor).clone()
    if tensor == "lengths":
        changed[-1] -= 1
    else:
        row, at = changed.nonzero()[-1].tolist()
        changed[row, at] = False
    with pytest.raises(RecollectError, match="tokens per source") as caught:
        RatioGuard(plan).observe(replace(batch, **{tensor: changed}))
    assert caught.value.reason is Reason.RATIO_VIOLATED
    RatioGuard(plan).observe(batch)


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_of_packs_has_positions_and_no_mask(
    server: Server, replica: Replica, name: str
) -> None:
    plan = replica.weighed[name]
    data = plan_dataset(server.address, plan.plan_id, any_order=True)
    with ReplayLoader(server.address, plan.plan_id) as loader:
        batch = next(iter(loader))
    rows = data[: plan.mix.batch_size]
    packed = plan.mix.packing is not Packing.NONE
    assert ("attention_mask" in rows) != packed
    for column in ("input_ids", "labels", "position_ids"):
        assert torch.equal(torch.stack(rows[column]), getattr(batch, column))
    # Rows of other steps are longer or shorter; padding that is added is a text of its own.
    mixed = data[[0, plan.mix.batch_size * 3 + 1, plan.num_positions - 1]]
    for positions, labels in zip(mixed["position_ids"], mixed["labels"], strict=True):
        follows = positions[1:] == positions[:-1] + 1
        assert (positions[1:][~follows] == 0).all()
        assert (labels[positions == 0] == IGNORED).all()


def test_annotations_of_packs_arrive_aligned(replicas: Any, tmp_path: Path) -> None:
    made = replicas.make_replica(tmp_path / "data")
    plan = made.weighed["split"]
    ledger = Ledger.open(made.folder)
    store, template = ReplayStore.open(made.folder, ledger), ChatTemplate.load(made.model)
    caches = TokenCaches(made.folder / "cache", store=store, template=template)
    for cache in caches.of_plan(plan):
        with AnnotationWriter(caches.folder, cache, replicas.TEACHER) as writer:
            tokens, _ = cache.gather(np.arange(len(cache)))
            # Invented, but a function of the token: alignment shows.
            writer.write([(ids / -8).astype(np.float32) for ids in tokens])
    ledger.close()
    with (
        replicas.Server(made.folder) as server,
        ReplayLoader(server.address, plan.plan_id, with_annotations=True) as loader,
    ):
        for batch in loader:
            first = (batch.position_ids == 0) | (batch.attention_mask == 0)
            expected = torch.where(first, 0.0, batch.input_ids / -8)
            assert batch.teacher_logprobs is not None
            assert torch.equal(batch.teacher_logprobs, expected)


def test_rows_of_packs_may_be_pickled_to_workers(server: Server, replica: Replica) -> None:
    with ReplayLoader(server.address, replica.weighed["packed"].plan_id) as loader:
        rows = PlanRows(loader.client, RowOrder(loader.plan), any_order=True)
        again = pickle.loads(pickle.dumps(rows))
        asked = {"row": [3, 40]}
        for one, other in zip(rows(asked)["input_ids"], again(asked)["input_ids"], strict=True):
            assert torch.equal(one, other)
        again.client.close()


def test_measures_that_are_not_those_of_the_plan_are_refused(replica: Replica) -> None:
    plan = replica.weighed["packed"]
    measures = {rows.name: rows.measures for rows in plan.source_rows if rows.measures is not None}
    longer = measures["general"].lengths + 1
    with pytest.raises(RecollectError, match="general") as caught:
        plan.with_measures({**measures, "general": replace(measures["general"], lengths=longer)})
    assert caught.value.reason is Reason.MEASURES_DIFFER
    assert np.array_equal(plan.with_measures(measures).batch(2).examples, plan.batch(2).examples)
