"""Courses: messages of several whole steps, whose partition changes nothing of a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.plan import Plan
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import (
    AnnotationShelf,
    AnnotationWriter,
    ChatTemplate,
    TokenCaches,
    course,
    frames,
    tokens,
)
from recollect.services.stream.course import Course
from recollect.v1 import stream_pb2

from .framing import encoded, messages_of, steps_of

if TYPE_CHECKING:
    from stream.replica import Replica

KINDS = ["rows", "packed", "split", "weighed"]


@dataclass(frozen=True)
class House:
    store: ReplayStore
    template: ChatTemplate
    caches: TokenCaches
    plans: dict[str, Plan]

    def twin(self, folder: Path) -> TokenCaches:
        """Caches that share no file with the others."""
        return TokenCaches(folder, store=self.store, template=self.template)


@pytest.fixture(scope="module")
def house(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made: Replica = replicas.make_replica(tmp_path_factory.mktemp("course") / "data")
    ledger = Ledger.open(made.folder)
    store, template = ReplayStore.open(made.folder, ledger), ChatTemplate.load(made.model)
    caches = TokenCaches(made.folder / "cache", store=store, template=template)
    plans = {"rows": made.plan, "held out": made.held_out, **made.weighed}
    ready = {name: caches.ready(plan) for name, plan in plans.items()}
    yield House(store=store, template=template, caches=caches, plans=ready)
    ledger.close()


def messages(
    plan: Plan,
    caches: TokenCaches,
    steps: range | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> list[stream_pb2.FetchResponse]:
    steps = range(plan.num_steps) if steps is None else steps
    made = Course(plan, caches, steps, rank=rank, world_size=world_size)
    found = list(messages_of(made))
    assert made.advance() is None
    return found


def said(*found: stream_pb2.FetchResponse) -> list[Any]:
    return [(step.SerializeToString(deterministic=True), rows) for step, rows in steps_of(*found)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [1, 6_000, 40_000])
def test_a_message_has_as_many_whole_steps_as_the_target_holds(
    house: House, kind: str, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "TARGET_BYTES", target)
    monkeypatch.setattr(course, "FIRST_BYTES", target)
    plan = house.plans[kind]
    found = messages(plan, house.caches)
    sizes = [len(frame.steps) for frame in found]
    assert [step.step for frame in found for step in frame.steps] == list(range(plan.num_steps))
    assert set(sizes[:-1]) <= {sizes[0]} and 0 < sizes[-1] <= sizes[0]
    if target == 1:
        assert sizes == [1] * plan.num_steps
        return
    whole = [len(frame.payload) for frame in found if len(frame.steps) == sizes[0]]
    # The target is one on average, and Arrow adds what it says of its columns.
    assert max(whole) < 1.5 * target + 2_000
    if len(found) > 1:
        assert min(whole) + max(whole) / sizes[0] > target / 2


def test_the_first_messages_are_small(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = house.plans["rows"]
    caches = house.caches
    size = len(encoded(plan, caches.of_plan(plan), 0, narrow=True).payload)
    monkeypatch.setattr(course, "FIRST_BYTES", size)
    monkeypatch.setattr(course, "TARGET_BYTES", 5 * size)
    monkeypatch.setattr(course, "FIRST_MESSAGES", 6)
    sizes = [len(frame.steps) for frame in messages(plan, caches)]
    assert set(sizes[:6]) <= {1, 2} and len(set(sizes[:6])) == 1
    assert set(sizes[6:-1]) <= {max(sizes)} and 5 * sizes[0] <= max(sizes) <= 10 * sizes[0]
    # As for whoever asks again at a later step.
    assert len(messages(plan, caches, range(9, 14))[0].steps) == sizes[0]


def test_the_target_is_that_of_rows_that_are_sent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank of many has more steps in a message, and annotations leave less room."""
    monkeypatch.setattr(course, "FIRST_BYTES", 12_000)
    plan, steps = house.plans["rows"], range(30)

    def message_steps(**fields: Any) -> int:
        defaults: dict[str, Any] = {"rank": 0, "world_size": 1}
        return Course(plan, house.caches, steps, **(defaults | fields)).message_steps

    alone = message_steps()
    assert message_steps(world_size=4, rank=3) in range(4 * alone, 4 * alone + 4)
    assert 0 < message_steps(annotations=[]) < alone


@pytest.mark.parametrize("kind", KINDS)
def test_any_partition_gives_the_same_steps(house: House, kind: str) -> None:
    plan = house.plans[kind]
    caches = house.caches.of_plan(plan)
    worlds = {
        (rank, world_size): [
            said(encoded(plan, caches, step, rank=rank, world_size=world_size, narrow=True))[0]
            for step in range(plan.num_steps)
        ]
        for world_size in (1, 3)
        for rank in range(world_size)
    }

    @settings(max_examples=25, deadline=None)
    @given(
        world=st.sampled_from(sorted(worlds)),
        ends=st.tuples(st.integers(0, plan.num_steps - 1), st.integers(1, plan.num_steps)),
        target=st.integers(1, 60_000),
        ahead=st.sampled_from([1, 2, 5, 1000]),
    )
    def law(world: tuple[int, int], ends: tuple[int, int], target: int, ahead: int) -> None:
        first, last = ends[0], max(ends[0] + 1, ends[1])
        rank, world_size = world
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(course, "TARGET_BYTES", target)
            patch.setattr(course, "num_steps_at_once", lambda plan, world_size: ahead)
            steps = range(first, last)
            found = messages(plan, house.caches, steps, rank=rank, world_size=world_size)
        assert said(*found) == worlds[world][first:last]

    law()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_has_the_same_bytes_from_any_replica(
    house: House, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "TARGET_BYTES", 6_000)
    plan = house.plans[kind]
    twin = house.twin(tmp_path / "twin")
    answers = []
    for caches in (house.caches, twin):
        found = messages(plan, caches, range(4, 27), rank=1, world_size=2)
        answers.append([frame.SerializeToString(deterministic=True) for frame in found])
        monkeypatch.setattr(course, "num_steps_at_once", lambda plan, world_size: 1)
    assert len(answers[0]) > 2
    assert answers[0] == answers[1]


def test_a_message_that_is_too_large_is_sent_step_by_step(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = house.plans["rows"]
    whole = messages(plan, house.caches)
    assert len(whole[0].steps) > 2
    largest = max(
        len(encoded(plan, house.caches.of_plan(plan), step, narrow=True).payload)
        for step in range(plan.num_steps)
    )
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", largest)
    found = messages(plan, house.caches)
    assert [len(frame.steps) for frame in found] == [1] * plan.num_steps
    assert said(*found) == said(*whole)


def test_a_step_that_is_too_large_is_an_error_and_those_before_it_are_sent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = house.plans["rows"]
    sizes = [
        len(encoded(plan, house.caches.of_plan(plan), step, narrow=True).payload)
        for step in range(plan.num_steps)
    ]
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", max(sizes[5:]) - 1)
    first = next(step for step in range(5, 30) if sizes[step] > max(sizes[5:]) - 1)
    made = Course(plan, house.caches, range(5, 30), rank=0, world_size=1)
    for step in range(5, first):
        frame = next(messages_of(made))
        assert [item.step for item in frame.steps] == [step]
    for _ in range(2):
        with pytest.raises(RecollectError, match=f"Step {first} needs") as caught:
            made.advance()
        assert caught.value.reason is Reason.FRAME_TOO_LARGE


@pytest.mark.parametrize("world_size", [-1, 0, 21])
def test_ranks_that_cannot_be_are_refused_at_once(house: House, world_size: int) -> None:
    with pytest.raises(RecollectError) as caught:
        Course(house.plans["rows"], house.caches, range(3), rank=0, world_size=world_size)
    assert caught.value.reason is Reason.RANK_INVALID


@pytest.mark.parametrize("kind", ["rows", "split"])
def test_annotations_are_those_of_their_tokens_in_every_message(
    house: House, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = house.plans[kind]
    caches = house.caches.of_plan(plan)
    for cache in caches:
        with AnnotationWriter(tmp_path, cache, "7e" * 32) as writer:
            # Invented, but a function of the token: alignment shows.
            ids, _ = cache.gather(np.arange(len(cache)))
            writer.write([(row / 8).astype(np.float32) for row in ids])
    annotations = AnnotationShelf(tmp_path, teacher_digest="7e" * 32).of(caches)
    monkeypatch.setattr(course, "TARGET_BYTES", 20_000)
    made = Course(plan, house.caches, range(30), rank=1, world_size=2, annotations=annotations)
    found = list(messages_of(made))
    assert 1 < len(found) < 30
    for _, rows in steps_of(*found):
        for row in rows:
            assert row["teacher_logprobs"] == [token / 8 for token in row["input_ids"]]


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["rows", "split"])
def test_a_cache_that_is_damaged_on_the_way_is_built_again_and_the_rest_is_the_same(
    house: House, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "TARGET_BYTES", 1)
    plan = house.plans[kind]
    good = messages(plan, house.caches)
    monkeypatch.setattr(tokens, "ROWS_PER_CHUNK", 3)
    monkeypatch.setattr(course, "num_steps_at_once", lambda plan, world_size: 1)
    caches = house.twin(tmp_path)
    made = Course(plan, caches, range(plan.num_steps), rank=0, world_size=1)
    found = [next(messages_of(made))]
    num_damaged = 0
    for cache in caches.of_plan(plan):
        for index in np.flatnonzero(cache._layout.num_supervised < 0).tolist():
            _, values = cache._reader.get_batch(index).column("input_ids").values.buffers()
            with caches.path(cache.key).open("r+b") as file:
                file.seek(values.address - cache._file.address)
                file.write(b"\xff")
            num_damaged += 1
    assert num_damaged
    before = caches.of_plan(plan)
    found += list(messages_of(made))
    assert found == good
    assert any(cache not in before for cache in caches.of_plan(plan))
