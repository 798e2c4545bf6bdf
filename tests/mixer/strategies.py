"""What the laws of the mixer are tried on."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from recollect.mixer.timeline import Stage, Timeline


@st.composite
def timelines(draw: st.DrawFn, *, longest: int = 400) -> Timeline:
    num_sources = draw(st.integers(1, 6))
    stages, first = [], 0
    for _ in range(draw(st.integers(1, 5))):
        parts = draw(
            st.lists(st.integers(0, 12), min_size=num_sources, max_size=num_sources).filter(any)
        )
        shares = tuple(Fraction(part, sum(parts)) for part in parts)
        stages.append(Stage(first_position=first, shares=shares))
        first += draw(st.integers(1, longest))
    return Timeline(stages)
