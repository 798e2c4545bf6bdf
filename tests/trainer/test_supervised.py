"""A supervised token is one that carries loss: plan, service, trainer and audit count the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recollect.mixer.contents import RowContents, contents_of
from recollect.mixer.holding import holding
from recollect.mixer.plan import Plan
from recollect.mixer.preview import preview
from recollect.mixer.sealing import seal
from recollect.services.ledger import Ledger
from recollect.services.mix_service import MixServicer
from recollect.services.planbook import PlanBook
from recollect.services.replay import ReplayStore
from recollect.services.run_audit import audit_run
from recollect.services.stream import ChatTemplate, StreamServicer, TokenCaches, handlers_of
from recollect.services.stream.template import Rendered
from recollect.services.yaml_text import mix_from_yaml
from recollect.trainer.frame import IGNORED
from recollect.trainer.guard import RatioGuard
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.loss import row_losses
from recollect.v1 import mix_pb2_grpc

if TYPE_CHECKING:
    from recollect.mixer.example import Message

SOURCES = """
seed: 7
batch_size: 12
num_steps: 20
sources:
  - {source: support, role: task, share: 70%}
  - {source: general, role: general, share: 1/4}
  - {source: refusals, role: refusal, share: 5%}
"""
MIXES = {
    "plain": "max_length: 48",
    "weighed": "unit: supervised_tokens\nmax_length: 48",
    "best_fit": "unit: supervised_tokens\npacking: best_fit\nmax_length: 70",
    "split": "unit: supervised_tokens\npacking: split\nmax_length: 31",
}


class Eager(ChatTemplate):
    """A template that marks every token as learnt, also the first of an example."""

    def render_batch(
        self, examples: Sequence[Sequence[Message]], *, max_length: int
    ) -> list[Rendered]:
        rows = super().render_batch(examples, max_length=max_length)
        return [replace(row, loss_mask=np.ones_like(row.loss_mask)) for row in rows]


@dataclass(frozen=True)
class Place:
    folder: Path
    ledger: Ledger
    caches: TokenCaches
    store: ReplayStore
    plans: dict[str, Plan]


@pytest.fixture(scope="module")
def place(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = replicas.make_replica(tmp_path_factory.mktemp("supervised") / "data")
    ledger = Ledger.open(made.folder)
    store = ReplayStore.open(made.folder, ledger)
    template = Eager.load(made.model)
    caches = TokenCaches(made.folder / "eager", store=store, template=template)
    snapshot = store.snapshot()
    measures = caches.measures(snapshot.snapshot_id, list(snapshot.sources.values()))
    plans = {
        name: seal(
            mix_from_yaml(f"name: {name}\n{changes}{SOURCES}"),
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=template.digest,
            measures=measures,
        )
        for name, changes in MIXES.items()
    }
    yield Place(made.folder, ledger, caches, store, plans)
    ledger.close()


@contextmanager
def listening(place: Place, loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """A real server over the caches, in this process."""
    book = PlanBook(place.ledger, ready=place.caches.ready)
    for plan in place.plans.values():
        book.seal(plan, actor="test")
    stream = StreamServicer(book, place.caches, place.ledger)
    mixes = MixServicer(store=place.store, caches=place.caches, planbook=book, max_length=4096)

    address = f"unix:{place.folder / 'grpc.sock'}"

    async def start() -> grpc.aio.Server:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((handlers_of(stream),))
        mix_pb2_grpc.add_MixServiceServicer_to_server(mixes, server)
        server.add_insecure_port(address)
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(30)
        stream.close()


@pytest.fixture(scope="module")
def address(place: Place) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    with listening(place, loop) as bound:
        yield bound
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=128,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("name", MIXES)
def test_what_is_counted_is_what_carries_loss(
    place: Place, address: str, model: LlamaForCausalLM, name: str
) -> None:
    plan = place.plans[name]
    carried: Counter[str] = Counter()
    unmarked = Counter[str]()
    with ReplayLoader(address, plan.plan_id) as loader, torch.inference_mode():
        loader.client.start_run(name, plan.plan_id, base_digest="ab" * 32)
        guard = RatioGuard(loader.plan)
        for batch in loader:
            guard.observe(batch)
            _, counts = row_losses(model, batch)
            of_step: Counter[str] = Counter()
            for source, count in zip(batch.sources.tolist(), counts.tolist(), strict=True):
                of_step[plan.sources[source].name] += count
            assert int((batch.labels != IGNORED).sum()) == of_step.total()
            # Every token is marked, so all but the first of each piece carry loss.
            assert of_step.total() == batch.attention_mask.sum() - (len(batch.cu_seqlens) - 1)
            assert {s: t.num_supervised_tokens for s, t in batch.tallies.items()} == {
                source.name: of_step[source.name] for source in plan.sources
            }
            held = holding(plan, plan.batch(batch.step))
            if held.num_supervised_tokens is not None:
                assert held.num_supervised_tokens.tolist() == [
                    of_step[source.name] for source in plan.sources
                ]
            loader.ack(name, batch)
            carried += of_step
            unmarked.update({s: t.num_tokens for s, t in batch.tallies.items()})
    assert 0 < carried.total() < unmarked.total()
    audit = audit_run(
        name, place.ledger.entries(), PlanBook(place.ledger, ready=place.caches.ready)
    )
    expected = [carried[source.name] for source in plan.sources]
    assert audit.supervised_tokens is not None
    assert list(audit.supervised_tokens) == expected
    assert audit.differences == ()
    told = preview(plan, contents(place, plan))
    assert [source.num_supervised_tokens for source in told.sources] == expected


def contents(place: Place, plan: Plan) -> dict[str, Any]:
    """What the rows of a plan hold, as the service finds it."""
    if plan.needs_measures:
        return dict(contents_of(plan))
    return {
        source.name: RowContents(tokens=cache.lengths, supervised_tokens=cache.supervised_lengths)
        for source, cache in zip(plan.sources, place.caches.of_plan(plan), strict=True)
    }
