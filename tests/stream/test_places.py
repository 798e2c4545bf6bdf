"""Places of steps that were looked up together are those of the steps looked up alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.plan import Plan
from recollect.mixer.shards import shards
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import ChatTemplate, TokenCache, TokenCaches, tokens
from recollect.services.stream.places import Places, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.replica import Replica


@pytest.fixture(scope="module")
def made(replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Replica:
    replica: Replica = replicas.make_replica(tmp_path_factory.mktemp("places") / "data")
    return replica


@pytest.fixture(scope="module")
def plans(made: Replica) -> Iterator[dict[str, tuple[Plan, Sequence[TokenCache]]]]:
    """Plans of every kind, and their caches, of several record batches each."""
    ledger = Ledger.open(made.folder)
    store, template = ReplayStore.open(made.folder, ledger), ChatTemplate.load(made.model)
    kinds = {"rows": made.plan, "held out": made.held_out, **made.weighed}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "ROWS_PER_CHUNK", 6)
        caches = TokenCaches(made.folder / "small", store=store, template=template)
        ready = {name: caches.ready(plan) for name, plan in kinds.items()}
        yield {name: (plan, caches.of_plan(plan)) for name, plan in ready.items()}
    ledger.close()


def require_equal(found: Places, expected: Places) -> None:
    for one, other in zip(found.pieces, expected.pieces, strict=True):
        assert one.tolist() == other.tolist()
    assert [n.tolist() for n in found.numbers] == [n.tolist() for n in expected.numbers]
    for mine, theirs in zip(found.ranges, expected.ranges, strict=True):
        assert [c.tolist() for c in mine] == [c.tolist() for c in theirs]
    for name in ("ends", "num_tokens", "num_supervised_tokens"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("kind", ["rows", "held out", "packed", "split", "weighed"])
def test_places_between_two_steps_are_the_places_of_those_steps(
    plans: dict[str, tuple[Plan, Sequence[TokenCache]]], kind: str
) -> None:
    plan, caches = plans[kind]

    @settings(max_examples=40, deadline=None)
    @given(data=st.data(), world_size=st.integers(1, 5))
    def law(data: st.DataObject, world_size: int) -> None:
        world_size = min(world_size, plan.mix.batch_size)
        rank = data.draw(st.integers(0, world_size - 1))
        first = data.draw(st.integers(0, plan.num_steps - 1))
        num_steps = data.draw(st.integers(1, plan.num_steps - first))
        begin = data.draw(st.integers(0, num_steps - 1))
        end = data.draw(st.integers(begin + 1, num_steps))
        held = shards(plan, first, num_steps, rank=rank, world_size=world_size)
        part = shards(plan, first + begin, end - begin, rank=rank, world_size=world_size)
        whole = places_of(held, caches)
        expected = places_of(part, caches)
        require_equal(whole.between(held, begin, end), expected)
        require_equal(places_of(held.between(begin, end), caches), expected)
        # And of a part, another part.
        last = data.draw(st.integers(begin + 1, end))
        again = whole.between(held, begin, end).between(held.between(begin, end), 0, last - begin)
        shorter = shards(plan, first + begin, last - begin, rank=rank, world_size=world_size)
        require_equal(again, places_of(shorter, caches))

    law()


@pytest.mark.parametrize("kind", ["rows", "split"])
def test_what_the_places_count_is_what_there_is(
    plans: dict[str, tuple[Plan, Sequence[TokenCache]]], kind: str
) -> None:
    plan, caches = plans[kind]
    held = shards(plan, 3, 11, rank=1, world_size=2)
    places = places_of(held, caches)
    of_pieces, supervised = np.zeros((2, 11, len(plan.sources)), dtype=np.int64)
    for number, (row, example, start, stop) in enumerate(zip(*places.pieces, strict=True)):
        source = held.rows.sources[row]
        [ids], [mask] = caches[source].gather(np.array([example]))
        piece, learnt = ids[start:stop], mask[start:stop].copy()
        learnt[:1] = False
        step = int(np.searchsorted(held.bounds, row, side="right")) - 1
        of_pieces[step, source] += len(piece)
        supervised[step, source] += np.count_nonzero(learnt)
        assert places.ends[number + 1] - places.ends[number] == len(piece)
    assert np.array_equal(places.num_tokens, of_pieces)
    assert np.array_equal(places.num_supervised_tokens, supervised)
