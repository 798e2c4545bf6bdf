from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Role
from recollect.mixer.guardrail_loop import GuardrailLoop
from recollect.mixer.limits import Limits, RatioPolicy
from recollect.mixer.projection import Points, project, to_shares
from recollect.mixer.proposals import Observation, Proposal, Proposer
from recollect.mixer.proposers import PROPOSERS, read_proposer, replay
from recollect.mixer.ramp import Ramp
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import Stage, Timeline
from recollect.services.yaml_text import proposer_from_yaml

SOURCES = {
    "tickets": Role.TASK,
    "chats": Role.TASK,
    "general": Role.GENERAL,
    "refusals": Role.REFUSAL,
    "safe": Role.SAFE_COMPLETION,
}
BASE: Points = (5000, 2000, 1500, 800, 700)
POLICY = {
    "name": "floors",
    "roles": {"refusal": {"floor": 500, "ceiling": 2000}, "task": {"floor": 4000}},
    "sources": {"tickets": {"floor": 2500}},
}
LOOP = """
kind: guardrail_loop
step: 150
lead: 5
cooldown: 20
taken_from: task
guards:
  refusal: {baseline: 1.25, raise_above: 500, give_back_at: 200}
  safe_completion: {baseline: "2", raise_above: 300, give_back_at: 100}
"""
MIXERS: list[dict[str, Any]] = [
    {"kind": "guardrail_loop", "step": 300, "guards": {"refusal": {"baseline": 1}}},
    {"kind": "ado_like", "step": 400, "lead": 3},
    {"kind": "exp3_like", "step": 250, "cooldown": 2},
]


def make_limits(policy: dict[str, Any] = POLICY) -> Limits:
    return Limits.of(RatioPolicy.from_mapping(policy), SOURCES)


def run(
    proposer: Proposer,
    limits: Limits,
    observations: Sequence[Observation],
    base: Points = BASE,
) -> list[Proposal]:
    """Follows every proposal from the observation on that made it."""
    memory, current, proposals = proposer.begin(limits, to_shares(base)), base, []
    for observation in observations:
        memory, proposal = proposer.propose(limits, current, memory, observation)
        if proposal:
            proposals.append(proposal)
            current = project(proposal.shares, limits)
    return proposals


def points_of(proposal: Proposal) -> dict[str, int]:
    return dict(zip(SOURCES, [int(share * 10_000) for share in proposal.shares], strict=True))


def loop(**changes: object) -> GuardrailLoop:
    data = proposer_from_yaml(LOOP).model_dump(mode="json") | changes
    made = read_proposer(data)
    assert isinstance(made, GuardrailLoop)
    return made


def measure(step: int, refusal: object, safe: object = 2) -> Observation:
    return Observation.of(step, {"refusal": refusal, "safe_completion": safe})


# All proposers.

NUMBERS = st.decimals(Decimal("0.001"), Decimal(50), places=4)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Proposer, list[Observation]]:
    proposer = read_proposer(draw(st.sampled_from(MIXERS)))
    assert isinstance(proposer, Proposer)
    steps = sorted(draw(st.sets(st.integers(0, 5000), min_size=1, max_size=12)))
    names = ["refusal"] if isinstance(proposer, GuardrailLoop) else list(SOURCES)
    found = []
    for step in steps:
        values = {name: draw(NUMBERS) for name in names}
        rows = dict.fromkeys(values, 7) if proposer.kind == "exp3_like" else {}
        found.append(Observation.of(step, values, rows))
    return proposer, found


@settings(max_examples=60, deadline=None)
@given(histories())
def test_every_proposal_keeps_limits_step_and_time_and_replays_bit_for_bit(
    history: tuple[Proposer, list[Observation]],
) -> None:
    proposer, observations = history
    limits, before, last = make_limits(), BASE, -1
    for proposal in run(proposer, limits, observations):
        limits.check(proposal.shares)
        assert sum(proposal.shares) == 1
        points = project(proposal.shares, limits)
        assert to_shares(points) == proposal.shares
        assert max(abs(a - b) for a, b in zip(points, before, strict=True)) <= proposer.step
        seen = proposal.inputs["observation"]["step"]
        assert proposal.first_step == seen + proposer.lead > seen
        assert seen >= last
        before, last = points, proposal.first_step + proposer.cooldown
        record = json.loads(proposal.to_json())
        assert replay(record["inputs"]) == proposal
        assert replay(record["inputs"]).to_json() == proposal.to_json()  # type: ignore[union-attr]


@pytest.mark.parametrize("data", MIXERS)
def test_time_goes_forward(data: dict[str, Any]) -> None:
    proposer = read_proposer(data)
    assert isinstance(proposer, Proposer)
    names = ["refusal"] if data["kind"] == "guardrail_loop" else list(SOURCES)
    rows = dict.fromkeys(names, 1) if data["kind"] == "exp3_like" else {}
    late = Observation.of(9, dict.fromkeys(names, 1), rows)
    with pytest.raises(RecollectError) as caught:
        run(proposer, make_limits(), [late, late])
    assert caught.value.reason is Reason.MEASUREMENT_INVALID
    assert caught.value.where == "observation.step"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "-inf", "1,5", None, True, "9" * 30, 10**10, [1], "1e999"]
)
def test_a_measurement_that_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(RecollectError) as caught:
        Observation.of(1, {"refusal": value})
    assert caught.value.reason is Reason.MEASUREMENT_INVALID
    assert caught.value.where == "values.refusal"


def test_measurements_are_kept_as_decimals() -> None:
    observation = Observation.of(1, {"a": 0.1, "b": "1e-3", "c": 2, "d": 1e-300})
    assert observation.model_dump(mode="json")["values"] == {
        "a": "0.100000000",
        "b": "0.001000000",
        "c": "2.000000000",
        "d": "0.000000000",
    }


@pytest.mark.parametrize("data", MIXERS)
def test_a_measurement_of_something_unknown_is_refused(data: dict[str, Any]) -> None:
    proposer = read_proposer(data)
    assert isinstance(proposer, Proposer)
    with pytest.raises(RecollectError) as caught:
        run(proposer, make_limits(), [Observation.of(1, {"nobody": 1})])
    assert caught.value.reason is Reason.MEASUREMENT_INVALID
    assert caught.value.where == "observation.values.nobody"


@pytest.mark.parametrize("current", [(10_000,), (9999, 0, 0, 0, 0), (2000,) * 6])
def test_shares_in_force_must_be_those_of_the_sources(current: Points) -> None:
    proposer, limits = loop(), make_limits()
    memory = proposer.begin(limits, to_shares(BASE))
    with pytest.raises(RecollectError) as caught:
        proposer.propose(limits, current, memory, measure(1, 1))
    assert (caught.value.reason, caught.value.where) == (Reason.POLICY_INVALID, "current")


def test_a_run_cannot_begin_outside_the_limits() -> None:
    with pytest.raises(RecollectError) as caught:
        loop().begin(make_limits(), to_shares((6000, 2000, 1500, 400, 100)))
    assert caught.value.reason is Reason.LIMIT_VIOLATED


@pytest.mark.parametrize(
    ("change", "reason", "where"),
    [
        ({"version": 2}, Reason.VERSION_UNKNOWN, "inputs.version"),
        ({"proposer": {"kind": "magic"}}, Reason.POLICY_INVALID, "kind"),
        ({"proposer": 7}, Reason.POLICY_INVALID, "kind"),
        ({"sources": [["a", "king"]]}, Reason.POLICY_INVALID, "sources[0][1]"),
        ({"current": [1]}, Reason.POLICY_INVALID, "current"),
        ({"current": ["x"]}, Reason.POLICY_INVALID, "current[0]"),
        ({"memory": {}}, Reason.POLICY_INVALID, "base"),
        ({"observation": {"step": -1}}, Reason.MEASUREMENT_INVALID, "step"),
        ({"more": 1}, Reason.POLICY_INVALID, "more"),
    ],
)
def test_inputs_that_were_changed_are_refused(
    change: dict[str, Any], reason: Reason, where: str
) -> None:
    (proposal,) = run(loop(), make_limits(), [measure(1, 9)])
    with pytest.raises(RecollectError) as caught:
        replay({**proposal.inputs, **change})
    assert (caught.value.reason, caught.value.where) == (reason, where)


def test_every_kind_can_be_read_and_says_what_is_wrong() -> None:
    assert set(PROPOSERS) == {"ramp", "guardrail_loop", "ado_like", "exp3_like"}
    for data in MIXERS:
        made = read_proposer(data)
        assert read_proposer(json.loads(made.model_dump_json())) == made
        with pytest.raises(RecollectError) as caught:
            read_proposer({**data, "step": 0})
        assert (caught.value.reason, caught.value.where) == (Reason.POLICY_INVALID, "step")


# The guardrail loop.


def test_a_worsened_role_gets_a_step_from_the_task() -> None:
    (proposal,) = run(loop(), make_limits(), [measure(10, "1.4")])
    assert proposal.first_step == 15
    assert proposal.reason == "refusal is 12.00 % worse than its baseline"
    assert points_of(proposal) == {
        "tickets": 4893,
        "chats": 1957,
        "general": 1500,
        "refusals": 950,
        "safe": 700,
    }


def test_it_waits_for_the_cooldown_and_stops_at_the_ceiling() -> None:
    bad = [measure(step, 5) for step in range(0, 400)]
    proposals = run(loop(), make_limits(), bad)
    assert [p.first_step for p in proposals] == [5 + 25 * number for number in range(8)]
    assert [points_of(p)["refusals"] for p in proposals] == [
        *range(950, 2000, 150),
        2000,
    ]


def test_the_worst_role_comes_first() -> None:
    (proposal,) = run(loop(), make_limits(), [measure(0, "1.4", "2.6")])
    assert points_of(proposal)["safe"] == 850
    assert points_of(proposal)["refusals"] == 800


def test_without_a_donor_the_unguarded_roles_give_in_proportion() -> None:
    (proposal,) = run(loop(taken_from=None), make_limits(), [measure(0, 9)])
    points = points_of(proposal)
    assert points["refusals"] == 950
    assert points["general"] == 1500 - 50
    assert points["safe"] == 700


def test_what_is_at_its_floor_gives_nothing() -> None:
    limits = make_limits({**POLICY, "roles": {"task": {"floor": 7000}}})
    assert run(loop(), limits, [measure(0, 9)]) == []


def test_the_shares_return_to_those_of_the_beginning_when_all_recover() -> None:
    bad = [measure(step, 5, 5) for step in range(0, 300, 10)]
    good = [measure(step, 1, 1) for step in range(300, 1500, 10)]
    proposals = run(loop(), make_limits(), bad + good)
    assert proposals[-1].shares == to_shares(BASE)
    task = [points_of(p)["tickets"] + points_of(p)["chats"] for p in proposals]
    turn = task.index(min(task))
    assert task[: turn + 1] == sorted(task[: turn + 1], reverse=True)
    assert task[turn:] == sorted(task[turn:])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=25), st.integers(1, 2000))
def test_the_shares_return_whatever_came_before(
    losses: list[tuple[Decimal, Decimal]], step: int
) -> None:
    proposer, limits = loop(step=step, cooldown=0, lead=1, taken_from=None), make_limits()
    observations = [measure(number, *pair) for number, pair in enumerate(losses)]
    wild = run(proposer, limits, observations)
    current = project(wild[-1].shares, limits) if wild else BASE
    memory = proposer.begin(limits, to_shares(BASE))
    for number in range(20_000 // step + 5):
        memory, proposal = proposer.propose(limits, current, memory, measure(number, 1, 1))
        if proposal is None:
            break
        current = project(proposal.shares, limits)
    assert current == BASE


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.decimals(Decimal("1.2750001"), Decimal("1.3125"), places=7),
            st.decimals(Decimal("2.0200001"), Decimal("2.06"), places=7),
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_noise_within_the_band_changes_nothing(
    noise: list[tuple[Decimal, Decimal]], raised_before: bool
) -> None:
    first = [measure(0, 9)] if raised_before else []
    later = [measure(100 + number, *pair) for number, pair in enumerate(noise)]
    assert len(run(loop(cooldown=0), make_limits(), first + later)) == len(first)


def test_a_role_that_is_not_measured_is_left_alone() -> None:
    only = Observation.of(0, {"safe_completion": 9})
    (proposal,) = run(loop(), make_limits(), [only])
    assert points_of(proposal)["refusals"] == 800


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=5, max_size=5))
def test_shares_that_others_changed_are_brought_back_too(parts: list[int]) -> None:
    assume(sum(parts))
    proposer, limits = loop(step=500, cooldown=0), make_limits()
    current = project(parts, limits)
    memory = proposer.begin(limits, to_shares(BASE))
    for number in range(200):
        memory, proposal = proposer.propose(limits, current, memory, measure(number * 6, 1, 1))
        if proposal:
            current = project(proposal.shares, limits)
    assert current == BASE


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"guards": {}}, "guards"),
        ({"guards": {"refusal": {"baseline": 0}}}, "guards.refusal.baseline"),
        ({"guards": {"refusal": {"baseline": "nan"}}}, "guards.refusal.baseline"),
        (
            {"guards": {"refusal": {"baseline": 1, "raise_above": 5, "give_back_at": 5}}},
            "guards.refusal.give_back_at",
        ),
        ({"taken_from": "refusal"}, "taken_from"),
        ({"taken_from": "king"}, "taken_from"),
        ({"lead": 0}, "lead"),
    ],
)
def test_what_is_wrong_with_a_loop_is_named(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(RecollectError) as caught:
        loop(**changes)
    assert (caught.value.reason, caught.value.where) == (Reason.POLICY_INVALID, where)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"guards": {"synthetic": {"baseline": 1}}}, "guards"),
        ({"taken_from": "counterexample"}, "taken_from"),
    ],
)
def test_a_loop_over_a_role_that_the_mix_lacks_is_refused(
    changes: dict[str, Any], where: str
) -> None:
    with pytest.raises(RecollectError) as caught:
        run(loop(**changes), make_limits(), [Observation.of(0, {})])
    assert (caught.value.reason, caught.value.where) == (Reason.POLICY_INVALID, where)


# Ramps.


def make_ramp(**changes: object) -> Ramp:
    names = list(SOURCES)
    data = {
        "kind": "ramp",
        "every": 100,
        "points": [
            {"step": 1000, "shares": dict(zip(names, BASE, strict=True))},
            {"step": 2000, "shares": dict(zip(names, (4000, 2000, 2000, 1500, 500), strict=True))},
            {"step": 2050, "shares": dict(zip(names, BASE, strict=True))},
        ],
        **changes,
    }
    made = read_proposer(data)
    assert isinstance(made, Ramp)
    return made


def test_a_ramp_is_straight_between_its_points() -> None:
    proposals = make_ramp().proposals(make_limits())
    assert [p.first_step for p in proposals] == [*range(1000, 2001, 100), 2050]
    assert proposals[0].shares == proposals[-1].shares == to_shares(BASE)
    assert points_of(proposals[5]) == {
        "tickets": 4500,
        "chats": 2000,
        "general": 1750,
        "refusals": 1150,
        "safe": 600,
    }
    assert points_of(proposals[10])["tickets"] == 4000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=5, max_size=5), st.integers(20, 400))
def test_every_stage_of_a_ramp_keeps_the_limits_and_replays(parts: list[int], every: int) -> None:
    limits = make_limits()
    end = dict(zip(SOURCES, project(parts, limits), strict=True))
    start = dict(zip(SOURCES, BASE, strict=True))
    points = [{"step": 0, "shares": start}, {"step": 997, "shares": end}]
    proposals = make_ramp(every=every, points=points).proposals(limits)
    for proposal in proposals:
        limits.check(proposal.shares)
        assert sum(proposal.shares) == 1
    for proposal in proposals[:: len(proposals) // 3 + 1]:
        assert replay(json.loads(proposal.to_json())["inputs"]) == proposal
    assert project(proposals[-1].shares, limits) == tuple(end.values())


def with_point(index: int, **changes: object) -> dict[str, object]:
    points = make_ramp().model_dump(mode="json")["points"]
    points[index] = {**points[index], **changes}
    return {"points": points}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"every": 0}, "every"),
        ({"every": 1, "points": with_point(2, step=20_000)["points"]}, "every"),
        ({"points": []}, "points"),
        (with_point(1, step=1000), "points[1].step"),
        (with_point(1, shares={"tickets": 9999}), "points[1].shares"),
        (with_point(1, shares={"tickets": "70%"}), "points[1].shares.tickets"),
    ],
)
def test_what_is_wrong_with_a_ramp_is_named(changes: dict[str, object], where: str) -> None:
    with pytest.raises(RecollectError) as caught:
        make_ramp(**changes)
    assert (caught.value.reason, caught.value.where) == (Reason.POLICY_INVALID, where)


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ({"tickets": 10_000}, Reason.POLICY_INVALID),
        (dict(zip(SOURCES, (9000, 0, 1000, 0, 0), strict=True)), Reason.LIMIT_VIOLATED),
    ],
)
def test_a_point_that_does_not_fit_the_mix_is_refused(
    shares: dict[str, int], reason: Reason
) -> None:
    ramp = make_ramp(**with_point(1, shares=shares))
    with pytest.raises(RecollectError) as caught:
        ramp.proposals(make_limits())
    assert (caught.value.reason, caught.value.where) == (reason, "points[1].shares")


def test_shares_are_whole_basis_points() -> None:
    for proposal in make_ramp(every=7).proposals(make_limits()):
        assert all((share * 10_000).denominator == 1 for share in proposal.shares)
        assert all(isinstance(share, Fraction) for share in proposal.shares)


def test_the_proposals_of_a_ramp_are_a_timeline() -> None:
    before = Stage(first_position=0, shares=to_shares(BASE))
    stages = [proposal.stage(32) for proposal in make_ramp().proposals(make_limits())]
    timeline = Timeline([before, *stages])
    assert timeline.firsts[:3] == [0, 32_000, 35_200]
    served = Schedule(timeline).served(60_000).tolist()
    owed = [timeline.owed(source, 60_000) for source in range(5)]
    assert all(abs(have - want) < 1 for have, want in zip(served, owed, strict=True))
