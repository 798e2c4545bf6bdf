from __future__ import annotations

import json
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Role
from recollect.mixer.limits import BASIS_POINTS, Limits, RatioPolicy, check_limits
from recollect.services.yaml_text import policy_from_yaml

YAML = """
version: 1
name: support-floors
description: What the safety team requires.
roles:
  refusal: {floor: 500}
  task: {ceiling: 8000}
sources:
  tickets: {floor: 1000, ceiling: 7500}
"""
SOURCES = {"tickets": Role.TASK, "general": Role.GENERAL, "no": Role.REFUSAL, "never": Role.REFUSAL}
SHARES = (Fraction(7, 10), Fraction(1, 4), Fraction(3, 100), Fraction(2, 100))


def refused(text: str) -> RecollectError:
    with pytest.raises(RecollectError) as caught:
        policy_from_yaml(text)
    return caught.value


def violated(policy: RatioPolicy, *stages: tuple[Fraction, ...]) -> RecollectError:
    with pytest.raises(RecollectError) as caught:
        check_limits(policy, SOURCES, *stages)
    assert caught.value.reason is Reason.LIMIT_VIOLATED
    return caught.value


def test_a_policy_is_read_from_yaml() -> None:
    policy = policy_from_yaml(YAML)
    assert policy.roles[Role.REFUSAL].floor == 500
    assert policy.roles[Role.TASK].ceiling == 8000
    assert RatioPolicy.from_mapping(json.loads(policy.to_json())) == policy


def test_the_fingerprint_is_of_the_content_and_not_of_the_spelling() -> None:
    policy = policy_from_yaml(YAML)
    swapped = YAML.replace("  refusal: {floor: 500}\n", "").replace(
        "sources:", "  refusal: {ceiling: 10000, floor: 500}\nsources:"
    )
    assert policy_from_yaml(swapped).fingerprint == policy.fingerprint
    assert policy_from_yaml(YAML.replace("500", "501")).fingerprint != policy.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("floor: 500", "floor: 5%", "roles.refusal.floor"),
        ("floor: 500", "floor: 0.05", "roles.refusal.floor"),
        ("floor: 500", "floor: -1", "roles.refusal.floor"),
        ("floor: 500", "floor: 10001", "roles.refusal.floor"),
        ("floor: 500", "floor: true", "roles.refusal.floor"),
        ("floor: 500", "floor: 500, least: 4", "roles.refusal.least"),
        ("floor: 500", "floor: 600, ceiling: 500", "roles.refusal.floor"),
        ("floor: 1000", "floor: 7600", "sources.tickets.floor"),
        ("refusal:", "refusals:", "roles.refusals"),
        ("tickets:", "../tickets:", "sources.../tickets"),
        ("task: {ceiling: 8000}", "task: {floor: 9501}", "roles"),
        ("version: 1", "version: 2", "version"),
        ("name: support-floors", "", "name"),
        ("refusal: {floor: 500}", "refusal: 500", "roles.refusal"),
        ("sources:", "sources: []\nsource:", "sources"),
        ("name: support-floors", "name: a\nname: b", "line 4, column 1"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named_with_its_place(
    old: str, new: str, where: str
) -> None:
    assert old in YAML
    error = refused(YAML.replace(old, new))
    assert (error.reason, error.where) == (Reason.POLICY_INVALID, where)


def test_a_floor_above_its_ceiling_names_both() -> None:
    error = refused(YAML.replace("floor: 500", "floor: 600, ceiling: 500"))
    assert error.message == "the floor of 6 % is above the ceiling of 5 %"


def test_floors_above_the_whole_cannot_be_met() -> None:
    error = refused(YAML.replace("task: {ceiling: 8000}", "task: {floor: 9600}"))
    assert error.message == "the floors cannot be met: they sum to 101 %"
    assert error.fix == "Lower them by 100 basis points in all."


def test_ceilings_of_all_roles_below_the_whole_cannot_be_met() -> None:
    roles = "".join(f"  {role}: {{ceiling: 1600}}\n" for role in Role)
    error = refused(f"name: p\nroles:\n{roles}")
    assert error.message == "the ceilings cannot be met: those of all roles sum to 96 %"
    assert error.where == "roles"


def test_ceilings_of_some_roles_may_sum_to_little() -> None:
    policy_from_yaml("name: p\nroles:\n  task: {ceiling: 1}")


@pytest.mark.parametrize("text", ["", "[]", "7", "x" * (1 << 19), "&a [*a]"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    assert refused(text).reason is Reason.POLICY_INVALID


def test_shares_within_their_limits_pass_and_margins_are_told() -> None:
    limits = check_limits(policy_from_yaml(YAML), SOURCES, SHARES)
    margins = {margin.path: margin for margin in limits.margins(SHARES)}
    assert margins["roles.refusal"].above_floor == 0
    assert margins["roles.task"].below_ceiling == 1000
    assert margins["sources.tickets"].above_floor == 6000
    assert len(margins) == 7


def test_the_share_of_a_role_is_the_sum_of_its_sources() -> None:
    policy = policy_from_yaml(YAML.replace("floor: 500", "floor: 501"))
    error = violated(policy, SHARES)
    assert error.where == "sources"
    assert error.message == (
        "roles.refusal has 5 %; policy 'support-floors' requires at least 5.01 %"
    )
    assert error.fix == "Raise the share of roles.refusal by 0.01 %."


def test_shares_are_compared_exactly() -> None:
    third = Fraction(1, 3)
    policy = policy_from_yaml("name: p\nroles:\n  task: {ceiling: 3333}")
    shares = (third, third, third / 2, third / 2)
    assert violated(policy, shares).fix == "Lower the share of roles.task by 0.0033 %."
    check_limits(policy_from_yaml("name: p\nroles:\n  task: {ceiling: 3334}"), SOURCES, shares)


def test_every_stage_is_checked_and_the_one_that_fails_is_named() -> None:
    late = (Fraction(76, 100), Fraction(19, 100), Fraction(3, 100), Fraction(2, 100))
    error = violated(policy_from_yaml(YAML), SHARES, late)
    assert error.where == "stages[1]"
    assert "sources.tickets has 76 %" in error.message


def test_the_worst_is_named_and_the_others_are_counted() -> None:
    shares = (Fraction(97, 100), Fraction(1, 100), Fraction(1, 100), Fraction(1, 100))
    error = violated(policy_from_yaml(YAML), shares)
    assert "sources.tickets has 97 %" in error.message
    assert "(and 2 more)" in error.message


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        ("roles:\n  synthetic: {floor: 1}", "roles.synthetic.floor"),
        ("sources:\n  other: {floor: 1}", "sources.other.floor"),
    ],
)
def test_a_floor_for_what_the_mix_lacks_is_violated(policy: str, where: str) -> None:
    error = violated(policy_from_yaml(f"name: p\n{policy}"), SHARES)
    assert error.where == where
    check_limits(policy_from_yaml(f"name: p\n{policy}".replace("1", "0")), SOURCES, SHARES)


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        (
            "roles: {refusal: {floor: 5}}\nsources: {no: {ceiling: 1}, never: {ceiling: 3}}",
            "roles.refusal",
        ),
        (
            "roles: {refusal: {ceiling: 5}}\nsources: {no: {floor: 3}, never: {floor: 3}}",
            "roles.refusal",
        ),
        (
            "roles: {refusal: {floor: 5000}, general: {floor: 4000}}\n"
            "sources: {tickets: {floor: 1001}}",
            "roles",
        ),
        ("roles: {refusal: {ceiling: 10}, general: {ceiling: 10}, task: {ceiling: 9979}}", "roles"),
    ],
)
def test_limits_that_the_sources_cannot_meet_are_refused(policy: str, where: str) -> None:
    error = violated(policy_from_yaml(f"name: p\n{policy}"))
    assert error.where == where
    assert "cannot be met" in error.message


RANGES = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted)


@given(st.lists(RANGES, min_size=3, max_size=3), st.lists(RANGES, min_size=2, max_size=2))
def test_limits_are_refused_exactly_if_no_shares_can_meet_them(
    sources: list[list[int]], roles: list[list[int]]
) -> None:
    """In units of a quarter, all shares can be tried: nested sums have whole solutions if any."""
    quarter = BASIS_POINTS // 4
    names = {"a": Role.TASK, "b": Role.GENERAL, "c": Role.GENERAL}
    possible = any(
        sum(units) == 4
        and all(low <= unit <= high for unit, (low, high) in zip(units, sources, strict=True))
        and roles[0][0] <= units[0] <= roles[0][1]
        and roles[1][0] <= units[1] + units[2] <= roles[1][1]
        for units in product(range(5), repeat=3)
    )
    ends = [{"floor": low * quarter, "ceiling": high * quarter} for low, high in sources + roles]
    data = {
        "name": "p",
        "sources": dict(zip(names, ends, strict=False)),
        "roles": dict(zip(("task", "general"), ends[3:], strict=True)),
    }
    try:
        Limits.of(RatioPolicy.from_mapping(data), names)
    except RecollectError as error:
        assert not possible
        assert error.reason in (Reason.LIMIT_VIOLATED, Reason.POLICY_INVALID)
    else:
        assert possible


def test_the_schema_describes_the_yaml() -> None:
    schema = RatioPolicy.json_schema()
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Range"]["properties"]["floor"]["maximum"] == BASIS_POINTS
