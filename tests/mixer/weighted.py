"""Rows that weigh something, and the rule by which they are queued, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from recollect.mixer.queueing import Weights
from recollect.mixer.timeline import Stage, Timeline

Integers = npt.NDArray[np.int64]
SUPPORT = (Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20))
LARGEST = (2048, 1024, 700, 90)


@st.composite
def shares(draw: st.DrawFn, size: int) -> tuple[Fraction, ...]:
    parts = draw(st.lists(st.integers(1, 60), min_size=size, max_size=size))
    return tuple(Fraction(part, sum(parts)) for part in parts)


@st.composite
def sixtieths(draw: st.DrawFn, size: int) -> tuple[Fraction, ...]:
    """Shares, some of them 0, with one denominator for all stages."""
    cuts = sorted(draw(st.lists(st.integers(0, 60), min_size=size - 1, max_size=size - 1)))
    return tuple(Fraction(b - a, 60) for a, b in pairwise([0, *cuts, 60]))


@st.composite
def timelines(draw: st.DrawFn, most: int = 5) -> Timeline:
    size = draw(st.integers(1, most))
    firsts = sorted({0, *draw(st.lists(st.integers(1, 120), max_size=5))})
    return Timeline([Stage(first_position=first, shares=draw(sixtieths(size))) for first in firsts])


@st.composite
def passes(draw: st.DrawFn, size: int) -> list[Integers]:
    """For each source, the weights of the rows of one pass; each pass weighs something."""
    weight = st.one_of(st.integers(0, 9), st.sampled_from([0, 1, 100, 997]))
    rows = st.lists(weight, min_size=1, max_size=9).filter(any)
    return [np.array(draw(rows)) for _ in range(size)]


def repeated(rows: Sequence[Integers]) -> list[Weights]:
    """Serves every pass again and again."""

    def of(one: Integers) -> Weights:
        return lambda first, last: np.take(one, np.arange(first, last), mode="wrap")

    return [of(np.asarray(one)) for one in rows]


def drawn(seed: int, largest: Sequence[int] = LARGEST, num_rows: int = 5000) -> list[Integers]:
    random = np.random.default_rng(seed)
    return [random.integers(1, most + 1, num_rows) for most in largest]


def plain_order(timeline: Timeline, rows: list[Integers], num_positions: int) -> list[int]:
    """The rule word by word, with fractions and without any shortcut."""
    size = timeline.num_sources
    credits, served, order = [Fraction(0)] * size, [0] * size, list[int]()
    for position in range(num_positions):
        parts = timeline.stages[timeline.stage_at(position)].shares
        resting = sum(credit for credit, part in zip(credits, parts, strict=True) if not part)
        begun = {
            i: credits[i] + part * resting
            for i, part in enumerate(parts)
            if part and credits[i] + part * resting >= 0
        }
        upcoming = [int(rows[i][served[i] % rows[i].size]) for i in range(size)]
        chosen = min(begun, key=lambda i: ((upcoming[i] - credits[i]) / parts[i], i))
        weight = upcoming[chosen]
        credits = [credit + part * weight for credit, part in zip(credits, parts, strict=True)]
        credits[chosen] -= weight
        served[chosen] += 1
        order.append(chosen)
    return order


def served_weights(rows: Sequence[Integers], sources: Integers, ordinals: Integers) -> Integers:
    weights = np.empty_like(sources)
    for source, one in enumerate(rows):
        here = sources == source
        weights[here] = np.take(one, ordinals[here], mode="wrap")
    return weights
