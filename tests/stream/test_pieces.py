"""Frames of plans that pack or count tokens: rows are ranges of examples, gathered as planned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from recollect.mixer.batch import batch_digest
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.holding import holding
from recollect.mixer.packing import Packing
from recollect.mixer.sealing import read_plan, seal
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import AnnotationShelf, AnnotationWriter, ChatTemplate, TokenCaches
from recollect.services.stream.caches import UNCUT
from recollect.services.stream.recent import Recent
from recollect.services.yaml_text import mix_from_yaml

from .framing import encoded, rows_of, steps_of

if TYPE_CHECKING:
    from stream.replica import Replica

NAMES = ["packed", "split", "weighed"]
SHORT_END = """
name: short_end
packing: best_fit
batch_size: 4
max_length: 100
sources:
  - {source: general, role: general, share: 1, on_exhaustion: stop}
"""


@dataclass(frozen=True)
class House:
    replica: Replica
    caches: TokenCaches
    template: ChatTemplate
    replicas: Any

    def tokens(self, source: str, example: int) -> tuple[list[int], list[bool]]:
        """An example, rendered here and whole."""
        messages = self.replicas.example(source, example).messages
        row = self.template.render(messages, max_length=UNCUT)
        return row.input_ids.tolist(), row.loss_mask.tolist()


@pytest.fixture(scope="module")
def house(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made: Replica = replicas.make_replica(tmp_path_factory.mktemp("pieces") / "data")
    ledger = Ledger.open(made.folder)
    template = ChatTemplate.load(made.model)
    store = ReplayStore.open(made.folder, ledger)
    caches = TokenCaches(made.folder / "cache", store=store, template=template)
    yield House(replica=made, caches=caches, template=template, replicas=replicas)
    ledger.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_the_ranges_of_its_pieces_end_to_end(house: House, name: str) -> None:
    plan = house.caches.ready(read_plan(house.replica.weighed[name].to_json()))
    caches = house.caches.of_plan(plan)
    packed = plan.mix.packing is not Packing.NONE
    seen = 0
    frames = [
        encoded(plan, caches, first, num_steps, rank=1, world_size=2)
        for first, num_steps in ((0, 1), (1, 12), (13, 17))
    ]
    steps = list(steps_of(*frames))
    assert [step.step for step, _ in steps] == list(range(plan.num_steps))
    for step, rows in steps:
        shard = plan.shard(step.step, 1, 2)
        held = holding(plan, shard)
        assert held.pieces is not None
        assert step.digest == held.digest
        assert [row["position"] for row in rows] == shard.positions.tolist()
        for place, row in enumerate(rows):
            source = plan.sources[row["source"]].name
            if packed:
                columns = ("piece_examples", "piece_starts", "piece_stops")
                pieces = list(zip(*(row[column] for column in columns), strict=True))
            else:
                assert "piece_examples" not in row
                pieces = [(row["example"], 0, plan.mix.max_length)]
            seen = max(seen, len(pieces))
            whole = [house.tokens(source, example) for example, _, _ in pieces]
            ids = [t for (ids, _), (_, a, b) in zip(whole, pieces, strict=True) for t in ids[a:b]]
            # What begins a piece carries no loss, though its example may have it learnt.
            mask = [
                m and at > a
                for (_, ms), (_, a, b) in zip(whole, pieces, strict=True)
                for at, m in list(enumerate(ms))[a:b]
            ]
            assert (row["input_ids"], row["loss_mask"]) == (ids, mask)
            assert len(ids) <= plan.mix.max_length
            assert int((held.pieces.rows == place).sum()) == len(pieces)
    assert (seen > 2) == packed


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_of_a_step_depend_on_nothing_but_the_plan(
    house: House, tmp_path: Path, name: str
) -> None:
    remade: Replica = house.replicas.make_replica(tmp_path / "twin")
    ledger = Ledger.open(remade.folder)
    store = ReplayStore.open(remade.folder, ledger)
    twin = TokenCaches(remade.folder / "cache", store=store, template=house.template)
    plan, again = house.replica.weighed[name], remade.weighed[name]
    assert plan.plan_id == again.plan_id
    asked = [(17, 1), (3, 8), (29, 1), (0, 30)]
    frames = []
    for of_plan, caches in ((plan, house.caches), (again, twin)):
        ready = caches.ready(read_plan(of_plan.to_json()))
        frames.append(
            {
                steps: encoded(
                    ready, caches.of_plan(ready), *steps, rank=2, world_size=5
                ).SerializeToString(deterministic=True)
                for steps in asked
            }
        )
        asked.reverse()
    assert frames[0] == frames[1]
    ledger.close()


def test_the_digest_of_packs_covers_their_pieces_and_that_of_rows_is_as_ever(house: House) -> None:
    plan = house.replica.weighed["split"]
    batch = plan.batch(4)
    held = holding(plan, batch)
    assert held.pieces is not None
    assert held.digest != batch.digest
    columns = (batch.plan_id, batch.positions, batch.sources, batch.examples)
    for column in ("rows", "examples", "starts", "stops"):
        moved = getattr(held.pieces, column) + 1
        assert batch_digest(*columns, held.pieces._replace(**{column: moved})) != held.digest
    digest = hashlib.sha256(batch.plan_id.encode() + len(batch).to_bytes(8, "little"))
    for values in columns[1:]:
        digest.update(np.asarray(values, dtype="<i8").tobytes())
    assert batch.digest == batch_digest(*columns) == digest.digest()


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_tokens(house: House, name: str) -> None:
    plan = house.replica.weighed[name]
    for step in (0, 11, 29):
        shard = plan.shard(step, 0, 3)
        held = holding(plan, shard)
        assert held.num_tokens is not None and held.num_supervised_tokens is not None
        frame = encoded(plan, house.caches.of_plan(plan), step, rank=0, world_size=3)
        tokens, supervised = np.zeros((2, len(plan.sources)), dtype=np.int64)
        for row in rows_of(frame.payload):
            tokens[row["source"]] += len(row["input_ids"])
            supervised[row["source"]] += sum(row["loss_mask"])
        assert held.num_tokens.tolist() == tokens.tolist()
        assert held.num_supervised_tokens.tolist() == supervised.tolist()
        [stated] = frame.steps
        assert list(stated.source_tokens) == tokens.tolist()
        assert list(stated.source_supervised_tokens) == supervised.tolist()


def test_a_shard_without_rows_holds_nothing(house: House) -> None:
    store: Any = house.caches._store
    snapshot = store.snapshot_by_id(house.replica.plan.snapshot_id)
    plan = seal(
        mix_from_yaml(SHORT_END),
        snapshot_id=snapshot.snapshot_id,
        sources=snapshot.sources,
        tokenizer_digest=house.template.digest,
        measures=house.caches.measures(snapshot.snapshot_id, list(snapshot.sources.values())),
    )
    last, caches = plan.num_steps - 1, house.caches.of_plan(plan)
    rank = next(rank for rank in range(4) if not len(plan.shard(last, rank, 4)))
    frame = encoded(plan, caches, last, rank=rank, world_size=4)
    [step] = frame.steps
    assert rows_of(frame.payload) == []
    assert (step.num_rows, list(step.source_tokens)) == (0, [0])
    assert step.digest == holding(plan, plan.shard(last, rank, 4)).digest
    whole = encoded(plan, caches, 0, plan.num_steps, rank=rank, world_size=4)
    assert whole.steps[-1] == step
    assert len(rows_of(whole.payload)) == last


@pytest.mark.parametrize("name", NAMES)
def test_what_the_teacher_says_is_cut_like_the_tokens(house: House, name: str) -> None:
    plan = house.replica.weighed[name]
    caches = house.caches.of_plan(plan)
    shelf = AnnotationShelf(house.caches.folder, teacher_digest="7e" * 32)
    for cache in caches:
        with AnnotationWriter(house.caches.folder, cache, "7e" * 32) as writer:
            # Invented, but a function of the token: alignment shows.
            writer.write(
                [(ids / 8).astype(np.float32) for ids in cache.gather(np.arange(len(cache)))[0]]
            )
    for row in rows_of(encoded(plan, caches, 6, 5, annotations=shelf.of(caches)).payload):
        assert row["teacher_logprobs"] == [token / 8 for token in row["input_ids"]]


def test_measures_are_those_of_the_rendered_texts(house: House) -> None:
    plan = house.replica.weighed["packed"]
    for name, measures in house.caches.measures(plan.snapshot_id, plan.sources).items():
        for example in range(len(measures)):
            ids, mask = house.tokens(name, example)
            assert measures.lengths[example] == len(ids)
            # Of two tokens, the second one is counted: the first follows nothing.
            at = np.arange(1, len(ids))
            here = np.full_like(at, example)
            assert measures.supervised(here, at - 1, at + 1).tolist() == [int(m) for m in mask[1:]]
            assert not measures.supervised(here, at, at + 1).any()


def test_a_damaged_cache_is_measured_anew(house: House, tmp_path: Path) -> None:
    plan = house.replica.weighed["packed"]
    good = house.caches.measures(plan.snapshot_id, plan.sources)
    for path in house.caches.folder.glob("*.tokens.arrow"):
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 0x40
        (tmp_path / path.name).write_bytes(damaged)
    again = TokenCaches(tmp_path, store=house.caches._store, template=house.template)
    ready = again.ready(read_plan(plan.to_json()))
    assert ready.batch(3).digest == plan.batch(3).digest
    measured = again.measures(plan.snapshot_id, plan.sources)
    assert {n: m.digest for n, m in measured.items()} == {n: m.digest for n, m in good.items()}


def test_a_plan_that_depends_on_no_lengths_is_ready_as_it_is(house: House) -> None:
    assert house.caches.ready(house.replica.plan) is house.replica.plan
    whole = house.replica.weighed["weighed"]
    assert [cache.key.max_length for cache in house.caches.of_plan(whole)] == [UNCUT] * 3
    cut = house.caches.of_plan(house.replica.plan)
    assert [cache.key.max_length for cache in cut] == [48] * 3


def test_a_plan_of_another_tokenizer_is_refused(house: House, tmp_path: Path) -> None:
    tokenizer = (house.replica.model / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(tokenizer + " ")
    other = ChatTemplate.load(tmp_path)
    caches = TokenCaches(tmp_path, store=house.caches._store, template=other)
    with pytest.raises(RecollectError) as caught:
        caches.ready(read_plan(house.replica.weighed["packed"].to_json()))
    assert caught.value.reason is Reason.MODEL_UNUSABLE


def test_only_what_was_asked_for_last_is_kept() -> None:
    worked_out = []
    recent: Recent[str] = Recent(2)
    for name in "abacbab":
        assert recent.of(name, lambda name=name: worked_out.append(name) or name) == name  # type: ignore[misc,func-returns-value]
    assert worked_out == ["a", "b", "c", "b", "a"]
