"""The check of shares of tokens: what the schedule serves passes it, and little else does."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recollect.mixer.example import Purpose, Role
from recollect.mixer.holding import holding
from recollect.mixer.measures import Measures
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal
from recollect.mixer.weighing import Weighing

NAMES = ["a", "b", "c"]


def sealed(
    seed: int, *, packing: str, unit: str, changes: list[list[int]], batch_size: int
) -> Plan:
    dice = np.random.default_rng(seed)
    measures, held = {}, {}
    for name in NAMES:
        lengths = dice.integers(2, 90, size=dice.integers(5, 60))
        mask = dice.random(int(lengths.sum())) < dice.random()
        # The first token of a piece carries no loss.
        mask[1] = True
        measures[name] = Measures.of_masks(lengths, mask)
        held[name] = SourceSnapshot(
            name=name,
            role=Role.TASK,
            purpose=Purpose.TRAIN,
            num_examples=len(lengths),
            content_digest=name,
        )
    shares = [[f"{part}/{sum(parts)}" for part in parts] for parts in ([5, 3, 2], *changes)]
    mix = Mix.from_mapping(
        {
            "name": "weighed",
            "unit": unit,
            "packing": packing,
            "batch_size": batch_size,
            "num_steps": 40,
            "max_length": 64,
            "sources": [
                {"source": name, "role": "task", "share": share}
                for name, share in zip(NAMES, shares[0], strict=True)
            ],
            "changes": [
                {"first_step": 9 * number, "shares": dict(zip(NAMES, parts, strict=True))}
                for number, parts in enumerate(shares[1:], start=1)
            ],
        }
    )
    return seal(mix, snapshot_id="s", sources=held, tokenizer_digest="t", measures=measures)


def weights(plan: Plan, step: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    held = holding(plan, plan.batch(step))
    assert held.num_tokens is not None and held.num_supervised_tokens is not None
    return held.num_tokens if plan.mix.unit == "tokens" else held.num_supervised_tokens


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    packing=st.sampled_from(["none", "best_fit", "split"]),
    unit=st.sampled_from(["tokens", "supervised_tokens"]),
    changes=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any), max_size=4),
    batch_size=st.integers(1, 9),
)
@example(seed=25405655, packing="none", unit="supervised_tokens", changes=[], batch_size=1)
def test_what_the_schedule_serves_is_within_the_bound(
    seed: int, packing: str, unit: str, changes: list[list[int]], batch_size: int
) -> None:
    plan = sealed(seed, packing=packing, unit=unit, changes=changes, batch_size=batch_size)
    weighing = Weighing(plan)
    for step in range(plan.num_steps):
        weighing.add(step, weights(plan, step))
        assert weighing.beyond == []
        if not changes:
            assert max(map(abs, weighing.deviation)) <= weighing.largest
    credits = plan.schedule.credits(plan.num_positions)  # type: ignore[union-attr]
    assert weighing.deviation == [-credit for credit in credits]


def test_what_is_off_by_more_than_the_largest_row_is_named() -> None:
    plan = sealed(3, packing="best_fit", unit="tokens", changes=[], batch_size=4)
    weighing = Weighing(plan)
    for step in range(10):
        weighing.add(step, weights(plan, step))
    assert weighing.beyond == []
    off = 2 * weighing.largest
    weighing.add(10, weights(plan, 10) + np.array([off, 0, -off]))
    assert weighing.beyond == [0, 2]
    assert sum(weighing.deviation, Fraction(0)) == 0


def test_shares_of_rows_are_not_weighed() -> None:
    mix = {"name": "m", "batch_size": 4, "num_steps": 2, "max_length": 8}
    source = {"source": "a", "role": "task", "share": 1}
    held = SourceSnapshot(
        name="a", role=Role.TASK, purpose=Purpose.TRAIN, num_examples=9, content_digest="a"
    )
    plan = seal(
        Mix.from_mapping({**mix, "sources": [source]}),
        snapshot_id="s",
        sources={"a": held},
        tokenizer_digest="t",
    )
    with pytest.raises(ValueError, match="of rows"):
        Weighing(plan)
