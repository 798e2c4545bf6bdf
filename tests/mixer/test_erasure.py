from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.plan import Plan

from . import corpus

Sealed = Callable[..., Plan]


@given(st.sets(st.integers(0, 499), max_size=499), st.integers(0, 199))
@settings(max_examples=60, deadline=None)
def test_only_rows_that_were_erased_are_replaced(sealed: Sealed, gone: set[int], step: int) -> None:
    plan = sealed()
    before = plan.batch(step)
    after = plan.batch(step, {"tickets": np.array(sorted(gone), dtype=np.int64)})
    erased = (before.sources == 0) & np.isin(before.examples, list(gone))
    assert after.examples[~erased].tolist() == before.examples[~erased].tolist()
    assert not set(after.examples[after.sources == 0].tolist()) & gone
    for column in ("positions", "sources", "ordinals", "epochs"):
        assert getattr(after, column).tolist() == getattr(before, column).tolist()


def test_the_next_that_survives_in_the_same_pass_takes_its_place(sealed: Sealed) -> None:
    plan = sealed()
    rows = plan.at(np.arange(2000), step=0)
    order = rows.examples[(rows.sources == 0) & (rows.epochs == 0)][:500]
    assert len(order) == 500
    gone = order[[10, 11, 12, 499]]
    after = plan.at(np.arange(2000), step=0, erased={"tickets": gone})
    served = after.examples[(after.sources == 0) & (after.epochs == 0)][:500]
    assert served[[10, 11, 12]].tolist() == [order[13]] * 3
    assert served[499] == order[0]  # after the last, the pass begins again


def test_erasing_everything_is_refused(sealed: Sealed) -> None:
    with pytest.raises(RecollectError) as caught:
        for step in range(40):
            sealed().batch(step, {"refusals": np.arange(7)})
    assert caught.value.reason is Reason.MIX_EMPTY_SOURCE


@pytest.mark.parametrize("packing", ["best_fit", "split"])
def test_what_is_erased_is_in_no_piece_and_the_rest_stays_where_it_is(packing: str) -> None:
    plan = corpus.plan(unit="tokens", packing=packing)
    gone = {"tickets": np.arange(0, 700, 3), "refusals": np.arange(0, 60, 2)}
    for step in range(0, 120, 10):
        before, after = plan.batch(step), plan.batch(step, gone)
        kept = before.examples == after.examples
        held, left = plan.pieces(before), plan.pieces(after, gone)
        names = [source.name for source in plan.sources]
        for row, example in zip(left.rows.tolist(), left.examples.tolist(), strict=True):
            assert example not in gone.get(names[int(after.sources[row])], ())
        for row in np.flatnonzero(kept).tolist():
            name = names[int(before.sources[row])]
            expected = [
                piece
                for piece in zip(*(c[held.rows == row].tolist() for c in held[1:]), strict=True)
                if piece[0] not in gone.get(name, ())
            ]
            found = list(zip(*(c[left.rows == row].tolist() for c in left[1:]), strict=True))
            assert found == expected
        for row in np.flatnonzero(~kept).tolist():  # a pack of which nothing was left
            name = names[int(before.sources[row])]
            assert set(held.examples[held.rows == row].tolist()) <= set(gone[name].tolist())


@pytest.mark.parametrize("gone", [np.array([-1]), np.array([500]), np.ones(500, dtype=bool)])
def test_examples_that_there_are_not_cannot_be_erased(sealed: Sealed, gone: np.ndarray) -> None:
    with pytest.raises(RecollectError) as caught:
        sealed().batch(0, {"tickets": gone})
    assert caught.value.reason is Reason.PLAN_OUT_OF_RANGE
