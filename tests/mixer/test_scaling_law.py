from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Role
from recollect.mixer.limits import Limits, RatioPolicy
from recollect.mixer.projection import Points, project, to_shares
from recollect.mixer.proposals import EXACT, Observation, Proposal
from recollect.mixer.proposers import replay
from recollect.mixer.scaling_law import EXPONENTS, MOST_POINTS, AdoLike, Curves, fit

SOURCES = {"a": Role.TASK, "b": Role.GENERAL, "c": Role.SYNTHETIC}
BASE: Points = (5000, 3000, 2000)
LIMITS = Limits.of(RatioPolicy(name="none"), SOURCES)
FREE = AdoLike(step=10_000)
GOLDEN: Points = (3347, 6126, 527)


def law(step: int, irreducible: str, scale: str, exponent: str) -> Decimal:
    power = EXACT.exp(EXACT.multiply(-Decimal(exponent), EXACT.ln(Decimal(step))))
    return EXACT.fma(Decimal(scale), power, Decimal(irreducible))


def follow(
    proposer: AdoLike, observations: list[Observation]
) -> tuple[Curves, list[Proposal], Points]:
    memory, current, proposals = proposer.begin(LIMITS, to_shares(BASE)), BASE, []
    for observation in observations:
        memory, proposal = proposer.propose(LIMITS, current, memory, observation)
        if proposal:
            proposals.append(proposal)
            current = project(proposal.shares, LIMITS)
    assert isinstance(memory, Curves)
    return memory, proposals, current


def losses(step: int, laws: dict[str, tuple[str, str, str]]) -> Observation:
    return Observation.of(step, {name: str(law(step, *given))[:20] for name, given in laws.items()})


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 40), st.integers(1, 60), st.sampled_from(EXPONENTS))
def test_a_law_on_the_grid_is_found_again(least: int, scale: int, exponent: Decimal) -> None:
    steps = [10 * 2**power for power in range(9)]
    expected = (Decimal(least) / 10, Decimal(scale) / 10, exponent)
    curve = [law(step, *map(str, expected)) for step in steps]
    (found,) = fit(steps, [curve])
    assert found.exponent == exponent
    assert abs(found.irreducible - expected[0]) < Decimal("1e-20")
    assert abs(found.scale - expected[1]) < Decimal("1e-20")


def test_what_does_not_fall_has_no_speed() -> None:
    flat, rising = fit([1, 2, 3, 4], [[Decimal(2)] * 4, [Decimal(n) for n in (1, 2, 3, 4)]])
    assert flat.speed(4) == rising.speed(4) == 0
    assert rising.irreducible > 0


def test_the_source_that_is_still_learnt_gets_more_rows() -> None:
    laws = {"a": ("2", "0.1", "0.3"), "b": ("1", "5", "0.3"), "c": ("2", "0.1", "0.3")}
    _, proposals, current = follow(FREE, [losses(step, laws) for step in range(50, 1050, 50)])
    assert current[1] > BASE[1]
    assert current[0] < BASE[0]
    assert min(current) > 0
    assert all(proposal.first_step > 100 for proposal in proposals)


def test_equal_speed_follows_prior_and_credit() -> None:
    """With equal laws the preference is prior^1.5, of which a tenth counts at once."""
    laws = dict.fromkeys(SOURCES, ("1", "2", "0.5"))
    memory, _, _ = follow(FREE, [losses(step, laws) for step in (10, 20, 30)])
    wanted = [share**1.5 for share in (0.5, 0.3, 0.2)]
    expected = [value / sum(wanted) for value in wanted]
    assert [float(value) for value in memory.newest] == pytest.approx(expected, abs=1e-3)


def test_nothing_is_proposed_before_there_is_a_law() -> None:
    laws = dict.fromkeys(SOURCES, ("1", "2", "0.5"))
    early = [losses(step, laws) for step in (1, 2, 98, 99, 100, 101)]
    memory, proposals, _ = follow(AdoLike(warmup=100), early)
    assert proposals == []
    assert memory.steps == (100, 101)


def test_a_source_that_was_never_measured_holds_everything_back() -> None:
    some = [Observation.of(step, {"a": 2, "b": 1}) for step in range(1, 9)]
    memory, proposals, _ = follow(FREE, some)
    assert (proposals, memory.steps) == ([], ())
    missing = [losses(1, dict.fromkeys(SOURCES, ("1", "2", "0.5"))), *some[1:]]
    assert follow(FREE, missing)[0].losses[-1] == (Decimal(2), Decimal(1), Decimal(3))


def test_when_nothing_is_learnt_any_more_the_prior_stays() -> None:
    flat = [Observation.of(step, dict.fromkeys(SOURCES, 2)) for step in range(1, 30)]
    assert follow(FREE, flat)[1:] == ([], BASE)


def test_the_history_is_thinned_and_a_proposal_stays_short() -> None:
    laws = {"a": ("2", "1", "0.3"), "b": ("1", "5", "0.3"), "c": ("2", "0.1", "0.3")}
    proposer = AdoLike(step=10_000, cooldown=70)
    observations = [losses(step, laws) for step in range(1, 100)]
    memory, proposals, _ = follow(proposer, observations)
    assert MOST_POINTS // 2 <= len(memory.steps) <= MOST_POINTS
    assert memory.steps[0] == 1
    assert set(memory.steps) <= set(range(1, 100, memory.stride))
    assert len(proposals) == 2
    assert replay(json.loads(proposals[-1].to_json())["inputs"]) == proposals[-1]
    assert len(proposals[-1].to_json()) < 10_000


def test_a_loss_that_is_not_above_zero_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        follow(FREE, [Observation.of(1, {"b": 0})])
    assert caught.value.reason is Reason.MEASUREMENT_INVALID
    assert caught.value.where == "observation.values.b"


def test_the_same_losses_give_these_shares_for_ever() -> None:
    laws = {"a": ("2", "1", "0.3"), "b": ("1", "5", "0.3"), "c": ("2", "0.1", "0.7")}
    _, proposals, current = follow(FREE, [losses(step, laws) for step in range(10, 60, 10)])
    assert sum(current) == 10_000
    assert current == GOLDEN
    assert proposals[-1].shares == tuple(Fraction(points, 10_000) for points in GOLDEN)
