from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.bandit import Exp3Like, Weights
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Role
from recollect.mixer.limits import Limits, RatioPolicy
from recollect.mixer.projection import Points, project, to_shares
from recollect.mixer.proposals import Observation, Proposal
from recollect.mixer.proposers import read_proposer, replay

SOURCES = {"a": Role.TASK, "b": Role.GENERAL, "c": Role.SYNTHETIC}
BASE: Points = (5000, 3000, 2000)
LIMITS = Limits.of(RatioPolicy(name="none"), SOURCES)
FREE = Exp3Like(step=10_000)


def observe(step: int, rewards: Mapping[str, object], current: Points = BASE) -> Observation:
    """Rewards measured on all rows of a thousand."""
    rows = {
        name: points // 10 for name, points in zip(SOURCES, current, strict=True) if name in rewards
    }
    return Observation.of(step, rewards, rows)


def follow(
    proposer: Exp3Like, rewards: Sequence[Mapping[str, object]]
) -> tuple[Weights, list[Proposal], Points]:
    memory, current, proposals = proposer.begin(LIMITS, to_shares(BASE)), BASE, []
    for step, values in enumerate(rewards):
        observation = observe(step, values, current)
        memory, proposal = proposer.propose(LIMITS, current, memory, observation)
        if proposal:
            proposals.append(proposal)
            current = project(proposal.shares, LIMITS)
    assert isinstance(memory, Weights)
    return memory, proposals, current


def test_one_round_is_that_of_exp3_on_the_average_row() -> None:
    rewards = {"a": 0.9, "b": 0.5, "c": 0.1}
    _, (proposal,), _ = follow(FREE, [rewards])
    gamma, shares = 0.1, [0.5, 0.3, 0.2]
    weights = [
        share * math.exp(gamma * reward / 3)  # rows / all rows / share is 1
        for share, reward in zip(shares, (0.9, 0.5, 0.1), strict=True)
    ]
    expected = [(1 - gamma) * weight / sum(weights) + gamma / 3 for weight in weights]
    assert [float(share) for share in proposal.shares] == pytest.approx(expected, abs=1e-4)


def test_rewards_are_weighted_by_importance() -> None:
    """Half the rows at the same share are half the evidence; no rows are none."""
    memory = FREE.begin(LIMITS, to_shares((4000, 4000, 2000)))
    half = Observation.of(1, {"a": 1, "b": 1}, {"a": 10, "b": 5})
    learnt, _ = FREE.propose(LIMITS, (4000, 4000, 2000), memory, half)
    assert isinstance(learnt, Weights)
    start = [math.log(0.4), math.log(0.4), math.log(0.2)]
    gains = [float(log) - was for log, was in zip(learnt.logs, start, strict=True)]
    assert (gains[0] - gains[2]) / (gains[1] - gains[2]) == pytest.approx(2)


def test_the_source_that_pays_gets_the_rows_and_the_rest_explores() -> None:
    _, _, current = follow(FREE, [{"a": 0, "b": 0, "c": 1}] * 500)
    assert current == (334, 333, 9333)


def test_a_source_returns_when_it_begins_to_pay() -> None:
    _, _, current = follow(
        FREE, [{"a": 0, "b": 0, "c": 1}] * 300 + [{"a": 1, "b": 0, "c": 0}] * 600
    )
    assert current[0] > 9000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-3, 3, allow_nan=False)] * 3), max_size=20))
def test_exploration_leaves_every_source_its_part(rewards: list[tuple[float, ...]]) -> None:
    _, proposals, current = follow(
        FREE, [dict(zip(SOURCES, values, strict=True)) for values in rewards]
    )
    if proposals:
        assert min(current) >= 333
        last = proposals[-1]
        assert replay(json.loads(last.to_json())["inputs"]) == last


def test_rewards_are_read_within_their_range() -> None:
    scaled = Exp3Like(step=10_000, lowest=Decimal(-2), highest=Decimal(2))
    plain = follow(FREE, [{"a": 1, "b": "0.5", "c": 0}])[2]
    assert follow(scaled, [{"a": 9, "b": 0, "c": -7}])[2] == plain


def test_weights_stay_within_reach() -> None:
    memory, _, _ = follow(
        Exp3Like(step=10_000, exploration=10_000), [{"a": 1, "b": 0, "c": 0}] * 400
    )
    assert min(memory.logs) >= -100
    assert max(memory.logs) == 0


@pytest.mark.parametrize(
    ("values", "rows", "where"),
    [
        ({"a": 1}, {}, "observation.rows.a"),
        ({"a": 1}, {"a": 0}, "observation.rows.a"),
        ({"a": 1}, {"a": 1, "b": 4}, "observation.rows.b"),
        ({"x": 1}, {"x": 1}, "observation.values.x"),
    ],
)
def test_a_reward_and_its_rows_go_together(
    values: dict[str, int], rows: dict[str, int], where: str
) -> None:
    memory = FREE.begin(LIMITS, to_shares(BASE))
    with pytest.raises(RecollectError) as caught:
        FREE.propose(LIMITS, BASE, memory, Observation.of(1, values, rows))
    assert (caught.value.reason, caught.value.where) == (Reason.MEASUREMENT_INVALID, where)


def test_a_range_of_rewards_that_is_none_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        read_proposer({"kind": "exp3_like", "lowest": 1, "highest": 1})
    assert (caught.value.reason, caught.value.where) == (Reason.POLICY_INVALID, "lowest")
