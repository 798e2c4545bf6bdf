"""Batches: what is made when it is first asked for, and whose memory it lies in."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.plan import Plan
from recollect.mixer.sealing import seal
from recollect.mixer.shards import Shards, shards
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import ChatTemplate, TokenCache, TokenCaches
from recollect.services.yaml_text import mix_from_yaml
from recollect.trainer.batch import IGNORED, PAD_ID, TrainBatch
from recollect.trainer.frame import decode
from recollect.trainer.tally import SourceTally

if TYPE_CHECKING:
    from stream.framing import encoded
    from stream.replica import Replica
else:
    from ..stream.framing import encoded

KINDS = ["rows", "split", "full"]
Pieces = list[list[int]]
"""Tokens of every piece, row by row."""


@st.composite
def pieces_of_rows(draw: st.DrawFn, *, packed: bool, full: bool) -> Pieces:
    num_rows = draw(st.integers(0, 5))
    most = 4 if packed else 1
    rows = [draw(st.lists(st.integers(1, 6), min_size=1, max_size=most)) for _ in range(num_rows)]
    if full:
        length = max(map(sum, rows), default=0)
        rows = [[*row[:-1], row[-1] + length - sum(row)] for row in rows]
    return rows


def batch_of(rows: Pieces, *, packed: bool, seed: int) -> TrainBatch:
    random = np.random.default_rng(seed)
    lengths = np.array([sum(row) for row in rows], dtype=np.int64)
    width = int(lengths.max(initial=0))
    ids = np.full((len(rows), width), PAD_ID, dtype=np.int32)
    mask = np.zeros((len(rows), width), dtype=np.bool_)
    for row, pieces in enumerate(rows):
        ids[row, : lengths[row]] = random.integers(1, 1 << 17, lengths[row])
        mask[row, : lengths[row]] = random.random(lengths[row]) < 0.6
        mask[row, np.cumsum([0, *pieces[:-1]])] = False
    sources = random.integers(0, 3, len(rows))
    counts = np.zeros((3, 3), dtype=np.int64)
    for row, source in enumerate(sources):
        counts[:, source] += (1, lengths[row], mask[row].sum())
    return TrainBatch(
        step=4,
        input_ids=torch.from_numpy(ids),
        loss_mask=torch.from_numpy(mask),
        lengths=torch.from_numpy(lengths),
        pieces=np.array([piece for row in rows for piece in row], dtype=np.int64),
        packed=packed,
        sources=torch.from_numpy(sources),
        names=("a", "b", "c"),
        counts_by_source=counts,
        digest=b"",
    )


def counted_up(pieces: Sequence[int]) -> list[int]:
    return [place for piece in pieces for place in range(piece)]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), packed=st.booleans(), full=st.booleans(), seed=st.integers(0, 1 << 30))
def test_what_is_made_when_asked_for_is_what_each_row_says_by_itself(
    data: st.DataObject, packed: bool, full: bool, seed: int
) -> None:
    rows = data.draw(pieces_of_rows(packed=packed, full=full))
    batch = batch_of(rows, packed=packed, seed=seed)
    width = batch.input_ids.shape[1]
    assert batch.num_rows == len(rows)
    assert batch.is_full == all(sum(row) == width for row in rows)
    for row, pieces in enumerate(rows):
        num_tokens = sum(pieces)
        ids, mask = batch.input_ids[row].tolist(), batch.loss_mask[row].tolist()
        assert batch.labels[row].tolist() == [
            token if learnt else IGNORED for token, learnt in zip(ids, mask, strict=True)
        ]
        assert batch.labels[row, num_tokens:].eq(IGNORED).all()
        assert batch.attention_mask[row].tolist() == [
            int(place < num_tokens) for place in range(width)
        ]
        assert batch.position_ids[row].tolist() == counted_up([*pieces, width - num_tokens])
    ends = np.cumsum([0, *(piece for row in rows for piece in row)])
    assert batch.cu_seqlens.tolist() == ends.tolist()
    for name in ("labels", "attention_mask", "position_ids"):
        made = getattr(batch, name)
        assert made.shape == batch.input_ids.shape and made.dtype == torch.int64
        assert getattr(batch, name) is made
    assert batch.cu_seqlens.dtype == torch.int32
    assert list(batch.tallies) == ["a", "b", "c"]
    for source, tally in enumerate(batch.tallies.values()):
        mine = [row for row, of in enumerate(batch.sources.tolist()) if of == source]
        learnt = sum(int(batch.loss_mask[row].sum()) for row in mine)
        num_tokens = sum(sum(rows[row]) for row in mine)
        assert tally == SourceTally(
            num_rows=len(mine), num_tokens=num_tokens, num_supervised_tokens=learnt
        )
    assert batch.counts == {name: tally.num_rows for name, tally in batch.tallies.items()}


def test_a_batch_that_is_changed_makes_everything_anew() -> None:
    batch = batch_of([[3, 2], [4]], packed=True, seed=1)
    before = batch.labels, batch.position_ids, batch.attention_mask
    changed = replace(batch, packed=False, loss_mask=torch.zeros_like(batch.loss_mask))
    assert changed.labels.eq(IGNORED).all() and not before[0].eq(IGNORED).all()
    assert changed.position_ids.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 0]]
    assert before[1].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]


@dataclass(frozen=True)
class Served:
    plan: Plan
    caches: Sequence[TokenCache]

    def frame(self, held: Shards, *, narrow: bool) -> Any:
        """A frame whose payload is one object, so that it shows where tensors lie."""
        made = encoded(self.plan, self.caches, held.first_step, held.num_steps, narrow=narrow)
        return SimpleNamespace(steps=made.steps, payload=made.payload)


@pytest.fixture(scope="module")
def served(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    made: Replica = replicas.make_replica(tmp_path_factory.mktemp("batch") / "data")
    with Ledger.open(made.folder) as ledger:
        store, template = ReplayStore.open(made.folder, ledger), ChatTemplate.load(made.model)
        opened = TokenCaches(made.folder / "cache", store=store, template=template)
        snapshot = store.snapshot_by_id(made.plan.snapshot_id)
        # Every example is longer than that, so every row is full.
        full = seal(
            mix_from_yaml(replicas.MIX.replace("max_length: 48", "max_length: 8")),
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=template.digest,
        )
        plans = {"rows": made.plan, "split": made.weighed["split"], "full": full}
        yield {
            name: Served(opened.ready(plan), opened.of_plan(plan)) for name, plan in plans.items()
        }


def within(tensor: torch.Tensor, payload: bytes) -> bool:
    begin = np.frombuffer(payload, dtype=np.uint8).ctypes.data
    size = tensor.numel() * tensor.element_size()
    return begin <= tensor.data_ptr() and tensor.data_ptr() + size <= begin + len(payload)


def test_tensors_of_full_rows_lie_in_the_memory_of_the_frame(served: dict[str, Served]) -> None:
    full = served["full"]
    held = shards(full.plan, 3, 4)
    frame = full.frame(held, narrow=False)
    batches = decode(frame, full.plan, held)
    assert len(batches) == 4
    for batch in batches:
        assert batch.is_full and batch.input_ids.shape == (20, 8)
        assert within(batch.input_ids, frame.payload)
        assert batch.input_ids.dtype == torch.int32
        assert batch.input_ids.is_contiguous()
    assert not within(batches[0].labels, frame.payload)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_stay_as_they_are_when_the_frame_is_gone(
    served: dict[str, Served], kind: str, narrow: bool
) -> None:
    source = served[kind]
    held = shards(source.plan, 2, 3)
    frame = source.frame(held, narrow=narrow)
    batches = decode(frame, source.plan, held)
    names = ("input_ids", "loss_mask", "lengths", "sources")
    before = [{name: getattr(batch, name).clone() for name in names} for batch in batches]
    size = len(frame.payload)
    del frame
    gc.collect()
    # Whatever was freed is taken again, and written over.
    taken = [bytes([number % 251]) * size for number in range(64)]
    decode(source.frame(held, narrow=narrow), source.plan, held)
    for batch, was in zip(batches, before, strict=True):
        for name in names:
            assert torch.equal(getattr(batch, name), was[name])
        again = torch.where(was["loss_mask"], was["input_ids"].long(), IGNORED)
        assert torch.equal(batch.labels, again)
    assert len(taken) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_two_bytes_or_four_on_the_wire_are_the_same_tensors(
    served: dict[str, Served], kind: str
) -> None:
    source = served[kind]
    held = shards(source.plan, 1, 5)
    wide, narrow = (
        decode(source.frame(held, narrow=narrow), source.plan, held) for narrow in (False, True)
    )
    for one, other in zip(wide, narrow, strict=True):
        assert one.input_ids.dtype == other.input_ids.dtype == torch.int32
        assert torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_in_a_message_is_the_step_by_itself(served: dict[str, Served], kind: str) -> None:
    source = served[kind]
    together = shards(source.plan, 0, 12)
    batches = decode(source.frame(together, narrow=True), source.plan, together)
    for step, batch in enumerate(batches):
        held = shards(source.plan, step, 1)
        [alone] = decode(source.frame(held, narrow=True), source.plan, held)
        assert (batch.step, batch.digest) == (alone.step, alone.digest) == (step, batch.digest)
        for name in (
            *("input_ids", "loss_mask", "lengths", "sources", "labels"),
            *("attention_mask", "position_ids", "cu_seqlens"),
        ):
            assert torch.equal(getattr(batch, name), getattr(alone, name))
        assert batch.pieces.tolist() == alone.pieces.tolist()
        assert batch.tallies == alone.tallies


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_on_another_device_makes_the_rest_there(packed: bool) -> None:
    batch = batch_of([[3, 4], [5]] if packed else [[7], [5]], packed=packed, seed=1)
    labels = batch.labels
    # A device that has shapes and no values, which every build of torch has.
    moved = batch.to("meta")
    names = [
        "input_ids",
        "loss_mask",
        "lengths",
        "sources",
        "labels",
        "attention_mask",
        "cu_seqlens",
    ]
    if not packed:  # which pieces are where is looked up in what the rows hold
        names.append("position_ids")
    for name in names:
        here, there = getattr(batch, name), getattr(moved, name)
        assert (there.device.type, there.shape, there.dtype) == ("meta", here.shape, here.dtype)
    assert moved.tallies == batch.tallies and moved.digest == batch.digest
    assert batch.labels is labels and torch.equal(batch.to("cpu").labels, labels)
