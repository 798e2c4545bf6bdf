"""Scales never leave the board, and labels never touch."""

import math

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from recollect.services.demo.chart import LINE_HEIGHT, Scale, element, spread, tick_label

anything = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(values=st.lists(anything, max_size=10), value=finite)
def test_every_value_finds_a_place_on_the_board(values: list[float], value: float) -> None:
    scale = Scale.over(values, 46.0, 368.0)
    for each in [value, *(v for v in values if math.isfinite(v))]:
        assert 46.0 <= scale(each) <= 368.0


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=10))
def test_places_keep_the_order_of_values(values: list[float]) -> None:
    scale = Scale.over(values, 0.0, 100.0)
    places = [scale(value) for value in sorted(values)]
    assert places == sorted(places)


@given(values=st.lists(anything, max_size=10))
def test_ticks_are_few_finite_and_inside(values: list[float]) -> None:
    scale = Scale.over(values, 0.0, 100.0)
    ticks = scale.ticks()
    assert len(ticks) <= 12
    span = scale.high / 2 - scale.low / 2
    for tick in ticks:
        assert math.isfinite(tick)
        assert scale.low - span * 1e-6 <= tick <= scale.high + span * 1e-6
        assert tick_label(tick)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=10))
def test_there_are_at_least_two_ticks_at_ordinary_values(values: list[float]) -> None:
    assert len(Scale.over(values, 0.0, 100.0).ticks()) >= 2


@given(places=st.lists(st.floats(20, 220), max_size=12))
def test_labels_keep_their_order_and_do_not_touch(places: list[float]) -> None:
    moved = spread(places, top=20, bottom=220)
    assert all(19.99 <= place <= 220.01 for place in moved)
    ordered = [place for _, place in sorted(zip(places, moved, strict=True))]
    gaps = [b - a for a, b in zip(sorted(moved), sorted(moved)[1:], strict=False)]
    assert all(gap >= LINE_HEIGHT - 0.01 for gap in gaps)
    assert [round(p, 6) for p in ordered] == [round(p, 6) for p in sorted(moved)]


def test_elements_escape_text_and_values() -> None:
    drawn = element("text", text="<b>&", class_='a"b', x=1.5)
    assert drawn == Markup('<text class="a&#34;b" x="1.5">&lt;b&gt;&amp;</text>')
