from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recollect.mixer import limits as limits_module
from recollect.mixer import projection
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Role
from recollect.mixer.limits import BASIS_POINTS, Limits, RatioPolicy
from recollect.mixer.projection import project, to_shares

ROLES = [Role.TASK, Role.GENERAL, Role.REFUSAL]
WANTED = st.lists(st.integers(0, 10**6).map(lambda n: Fraction(n, 997)), min_size=1, max_size=6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Limits, list[Fraction]]:
    """Limits that can be met, and wanted shares."""
    wanted = draw(WANTED)
    assume(sum(wanted) > 0)
    roles = [draw(st.sampled_from(ROLES)) for _ in wanted]
    ends = st.tuples(st.integers(0, BASIS_POINTS), st.integers(0, BASIS_POINTS)).map(sorted)
    some = st.booleans()
    data = {
        "name": "p",
        "sources": {f"s{i}": draw(ends) for i in range(len(wanted)) if draw(some)},
        "roles": {role.value: draw(ends) for role in set(roles) if draw(some)},
    }
    for group in ("sources", "roles"):
        data[group] = {
            key: {"floor": low // 3, "ceiling": high}
            for key, (low, high) in data[group].items()  # type: ignore[attr-defined]
        }
    try:
        policy = RatioPolicy.from_mapping(data)
        return Limits.of(policy, {f"s{i}": role for i, role in enumerate(roles)}), wanted
    except RecollectError:
        assume(False)
        raise


def no_limits(num_sources: int) -> Limits:
    names = {f"s{index}": Role.TASK for index in range(num_sources)}
    return Limits.of(RatioPolicy(name="none"), names)


@settings(max_examples=80, deadline=None)
@given(cases(), st.data())
def test_what_limits_allow_is_found_within_limits_and_step(
    case: tuple[Limits, list[Fraction]], data: st.DataObject
) -> None:
    limits, wanted = case
    points = project(wanted, limits)
    assert sum(points) == BASIS_POINTS
    limits.check(to_shares(points))
    assert project(points, limits) == points
    other = data.draw(st.permutations(wanted))
    step = data.draw(st.integers(1, 3000))
    moved = project(other, limits, current=points, step=step)
    assert sum(moved) == BASIS_POINTS
    limits.check(to_shares(moved))
    assert max(abs(a - b) for a, b in zip(moved, points, strict=True)) <= step
    assert project(moved, limits, current=points, step=step) == moved


@settings(max_examples=60, deadline=None)
@given(WANTED)
def test_without_limits_it_is_the_method_of_largest_remainders(wanted: list[Fraction]) -> None:
    assume(sum(wanted) > 0)
    points = project(wanted, no_limits(len(wanted)))
    ideal = [value * BASIS_POINTS / sum(wanted) for value in wanted]
    remainders = [value - int(value) for value in ideal]
    order = sorted(range(len(wanted)), key=lambda i: (-remainders[i], i))
    up = set(order[: BASIS_POINTS - sum(int(value) for value in ideal)])
    assert points == tuple(int(value) + (i in up) for i, value in enumerate(ideal))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted), min_size=5, max_size=5),
    st.integers(1, 6),
)
def test_no_allowed_shares_are_nearer(wanted: list[int], ends: list[list[int]], step: int) -> None:
    """With six units in place of ten thousand, all shares can be tried."""
    assume(sum(wanted) > 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits_module, "BASIS_POINTS", 6)
        patch.setattr(projection, "BASIS_POINTS", 6)
        names = {"a": Role.TASK, "b": Role.GENERAL, "c": Role.GENERAL}
        pairs = [{"floor": low, "ceiling": high} for low, high in ends]
        data = {"sources": dict(zip("abc", pairs, strict=False))}
        data["roles"] = {"task": pairs[3], "general": pairs[4]}
        try:
            limits = Limits.of(RatioPolicy.from_mapping({"name": "p", **data}), names)
        except RecollectError:
            assume(False)
        current = project([1, 1, 1], limits)
        found = project(wanted, limits, current=current, step=step)

    def distance(units: tuple[int, ...]) -> Fraction:
        return sum(
            ((unit - Fraction(6 * want, sum(wanted))) ** 2
            for unit, want in zip(units, wanted, strict=True)),
            Fraction(0),
        )  # fmt: skip

    allowed = [
        units
        for units in product(range(7), repeat=3)
        if sum(units) == 6
        and all(low <= u <= high for u, (low, high) in zip(units, ends, strict=False))
        and ends[3][0] <= units[0] <= ends[3][1]
        and ends[4][0] <= units[1] + units[2] <= ends[4][1]
        and all(abs(u - was) <= step for u, was in zip(units, current, strict=True))
    ]
    assert found in allowed
    assert distance(found) == min(map(distance, allowed))


def test_shares_too_far_outside_the_limits_are_refused() -> None:
    policy = RatioPolicy.from_mapping({"name": "p", "roles": {"refusal": {"floor": 500}}})
    limits = Limits.of(policy, {"a": Role.TASK, "b": Role.REFUSAL})
    assert project([1, 0], limits, current=(9700, 300), step=200) == (9500, 500)
    with pytest.raises(RecollectError) as caught:
        project([1, 0], limits, current=(9700, 300), step=199)
    assert caught.value.reason is Reason.LIMIT_VIOLATED


def test_ties_go_to_the_earlier_source() -> None:
    assert project([1, 1, 1], no_limits(3)) == (3334, 3333, 3333)


@pytest.mark.parametrize("wanted", [[0, 0], [2, -1]])
def test_wanted_shares_are_none_below_zero_and_not_all_zero(wanted: list[int]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        project(wanted, no_limits(2))


def test_totals_of_roles_are_met_exactly() -> None:
    names = {"a": Role.TASK, "b": Role.GENERAL, "c": Role.GENERAL}
    limits = Limits.of(RatioPolicy(name="none"), names)
    assert project([1, 1, 1], limits, totals={Role.TASK: 5000, Role.GENERAL: 5000}) == (
        5000,
        2500,
        2500,
    )
