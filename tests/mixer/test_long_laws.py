"""The laws of the schedule and the dealing on many random mixes.

A few dozen of them in the default run; `RECOLLECT_LONG=1000` tries so many, a million positions
each, which takes some minutes.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import pytest

from recollect.mixer.dealing import Dealing
from recollect.mixer.ratio import schedule_bound
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import Stage, Timeline

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

LONG = int(os.environ.get("RECOLLECT_LONG", "0"))
NUM_MIXES = LONG or 40
NUM_POSITIONS = 1_000_000 if LONG else 60_000


def random_shares(generator: np.random.Generator) -> list[Fraction]:
    """1 to 1,000 sources, shares down to 1e-5, whole parts of a random denominator."""
    num_sources = int(np.exp(generator.uniform(0, np.log(1000))))
    whole = int(generator.integers(max(num_sources, 2), 100_001))
    cuts = np.sort(generator.choice(whole - 1, num_sources - 1, replace=False)) + 1
    parts = np.diff(np.concatenate(([0], cuts, [whole])))
    return [Fraction(int(part), whole) for part in parts]


def assert_prefix_bound(sources: Integers, shares: list[Fraction], first: int = 0) -> None:
    """|served - share·n| <= bound at every prefix; it is tightest before and after each row."""
    whole = math.lcm(*(share.denominator for share in shares))
    bound = int(schedule_bound(len(shares)) * whole)
    order = np.argsort(sources, kind="stable")
    counts = np.bincount(sources, minlength=len(shares))
    ordinals = np.arange(len(sources)) - np.repeat(np.cumsum(counts) - counts, counts)
    owed = np.repeat([int(share * whole) for share in shares], counts)
    assert int(np.abs(ordinals * whole - owed * (order + first)).max()) <= bound
    assert int(np.abs((ordinals + 1) * whole - owed * (order + first + 1)).max()) <= bound


@pytest.mark.parametrize("seed", range(NUM_MIXES))
def test_shares_hold_at_every_prefix_and_the_inverse_finds_every_row(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shares = random_shares(generator)
    schedule = Schedule(shares)
    sources, ordinals = schedule.at(np.arange(NUM_POSITIONS))
    assert_prefix_bound(sources, shares)
    for position in generator.integers(0, NUM_POSITIONS, 20).tolist():
        found = schedule.position_of(int(sources[position]), int(ordinals[position]))
        assert found == position
    assert schedule.served(NUM_POSITIONS).tolist() == (
        np.bincount(sources, minlength=len(shares)).tolist()
    )


@pytest.mark.parametrize("seed", range(NUM_MIXES))
def test_every_rank_is_within_one_row_of_its_share(seed: int) -> None:
    generator = np.random.default_rng(10_000 + seed)
    shares = random_shares(generator)
    world_size = int(generator.integers(2, 65))
    batch_size = world_size + int(generator.integers(0, 200))
    num_steps = max(NUM_POSITIONS // 4 // batch_size, 1)
    schedule = Schedule(shares)
    dealing = Dealing(schedule, batch_size, world_size, num_steps * batch_size)
    assert dealing.bound == 1
    sources, _ = schedule.at(np.arange(num_steps * batch_size))
    ranks = np.concatenate([dealing.ranks(step) for step in range(num_steps)])
    steps = np.arange(len(sources)) // batch_size
    for source in generator.choice(len(shares), min(len(shares), 6), replace=False).tolist():
        hits = sources == source
        counts = np.zeros((num_steps, world_size), dtype=np.int64)
        np.add.at(counts, (steps[hits], ranks[hits]), 1)
        numerator, denominator = (shares[source] * batch_size / world_size).as_integer_ratio()
        ideal = np.arange(1, num_steps + 1) * numerator
        off = np.cumsum(counts, axis=0) * denominator - ideal[:, None]
        assert int(np.abs(off).max()) < denominator


@pytest.mark.parametrize("seed", range(max(NUM_MIXES // 10, 4)))
def test_shares_hold_across_changes(seed: int) -> None:
    generator = np.random.default_rng(20_000 + seed)
    num_sources = int(generator.integers(1, 40))
    stages, first = [], 0
    for _ in range(int(generator.integers(2, 12))):
        parts = generator.integers(0, 50, num_sources)
        parts[int(generator.integers(num_sources))] += 1
        total = int(parts.sum())
        shares = tuple(Fraction(int(part), total) for part in parts)
        stages.append(Stage(first_position=first, shares=shares))
        first += int(generator.integers(1, NUM_POSITIONS // 8))
    timeline = Timeline(stages)
    sources, _ = Schedule(timeline).at(np.arange(NUM_POSITIONS))
    bound = schedule_bound(num_sources)
    for source in range(num_sources):
        places = np.flatnonzero(sources == source)
        for ordinal in generator.choice(len(places), min(len(places), 50)).tolist():
            position = int(places[ordinal])
            assert abs(ordinal - timeline.owed(source, position)) <= bound
            assert abs(ordinal + 1 - timeline.owed(source, position + 1)) <= bound
