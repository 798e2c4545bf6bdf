"""Recoding: k subjects alike, no less exact than needed, whatever the order."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy.anonymity.classes import (
    Ladder,
    Levels,
    Profile,
    as_they_are,
    classes,
    recoded,
    told_at,
)

HEIGHTS = (2, 2, 1)


def values(height: int) -> st.SearchStrategy[tuple[Ladder, ...]]:
    """Numbers of one attribute, of which each rung is half as exact as the one below."""
    rungs = st.integers(0, 7).map(lambda n: (*(f"{up}:{n >> up}" for up in range(height)), ""))
    return st.lists(rungs, max_size=2).map(lambda found: tuple(sorted(set(found))))


profiles = st.tuples(*map(values, HEIGHTS))
people = st.dictionaries(profiles, st.integers(0, 4), max_size=14)
ks = st.integers(2, 6)


def lowered(profile: Profile, levels: Levels, attribute: int) -> Levels:
    step = max(levels[attribute] - 1, 0)
    return (*levels[:attribute], step, *levels[attribute + 1 :])


@given(people, ks)
def test_every_tuple_that_is_served_has_k_subjects(weights: Mapping[Profile, int], k: int) -> None:
    for decide in (recoded, as_they_are):
        levels = decide(weights, HEIGHTS, k)
        assert all(size >= k for size in classes(weights, levels).values())


@given(people, ks)
def test_fewer_than_k_subjects_are_held_and_only_where_nothing_was_left_to_hide_in(
    weights: Mapping[Profile, int], k: int
) -> None:
    levels = recoded(weights, HEIGHTS, k)
    held = [profile for profile in weights if profile not in levels]
    assert sum(weights[profile] for profile in held) < k
    # Whoever is held is one of too few even when nothing is told of them.
    silent = frozenset[str]()
    nothing = sum(weights[p] for p, at in levels.items() if told_at(p, at) == (silent,) * 3)
    assert not held or sum(weights[p] for p in held) + nothing < k


@given(people, ks)
def test_no_class_could_be_told_more_exactly(weights: Mapping[Profile, int], k: int) -> None:
    levels = recoded(weights, HEIGHTS, k)
    for told in classes(weights, levels):
        members = [p for p in levels if told_at(p, levels[p]) == told]
        for attribute in range(len(HEIGHTS)):
            lower = {p: lowered(p, levels[p], attribute) for p in members}
            if any(lower[p] != levels[p] for p in members):
                assert min(classes(weights, lower).values()) < k


@given(people, ks, st.randoms())
def test_the_order_of_subjects_changes_nothing(
    weights: Mapping[Profile, int], k: int, draw: random.Random
) -> None:
    shuffled = list(weights.items())
    draw.shuffle(shuffled)
    assert recoded(dict(shuffled), HEIGHTS, k) == recoded(weights, HEIGHTS, k)


@given(people, ks)
def test_whoever_is_alike_to_enough_already_is_told_of_as_they_are(
    weights: Mapping[Profile, int], k: int
) -> None:
    levels = recoded(weights, HEIGHTS, k)
    for profile, exact in as_they_are(weights, HEIGHTS, k).items():
        assert told_at(profile, levels[profile]) == told_at(profile, exact)


def test_an_outlier_is_generalised_and_nobody_else() -> None:
    young, old = ("34", "30-34", ""), ("91", "90+", "")
    crowd: Profile = ((young,), (), ())
    quiet: Profile = ((), (), ())
    alone: Profile = ((old,), (), ())
    levels = recoded({crowd: 5, quiet: 5, alone: 1}, (2, 2, 1), 5)
    assert told_at(crowd, levels[crowd])[0] == {"34"}
    assert told_at(alone, levels[alone])[0] == frozenset()
    assert alone not in recoded({crowd: 5, alone: 1}, (2, 2, 1), 5)


def test_rows_of_nobody_known_are_nobodys_company() -> None:
    lonely: Profile = ((("34", ""),), (), ())
    assert recoded({lonely: 0}, (1, 2, 1), 2) == {}
    assert recoded({lonely: 1}, (1, 2, 1), 2) == {}
    assert recoded({lonely: 2}, (1, 2, 1), 2) == {lonely: (0, 0, 0)}
