"""The drawing board of the report's figures: scales, axes and labels as escaped SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 42
LINE_HEIGHT = 13.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """A linear map from values to the drawing board; never divides by zero, never gives NaN."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value; values beyond the ends stay at the ends."""
        place = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, place))

    @classmethod
    def over(
        cls, values: Iterable[float], start: float, end: float, *, include: Sequence[float] = ()
    ) -> Scale:
        """A scale over all finite values with a little air; a single value gets air around it."""
        # Values near the largest float would leave no room for air.
        largest = 8e307
        bounded = [max(-largest, min(v, largest)) for v in (*values, *include) if math.isfinite(v)]
        finite = bounded or [0.0, 1.0]
        low, high = min(finite), max(finite)
        air = 0.06 * (high / 2 - low / 2) * 2 if high > low else 0.0
        low, high = low - air, high + air
        # Values so close that they cannot be told apart need a span of their own.
        least = max(abs(low), abs(high)) * 1e-9
        if high - low <= least or high - low < 1e-12:
            reach = max(abs(low) * 0.1, 0.5)
            low, high = low - reach, high + reach
        return cls(low=max(low, -largest), high=min(high, largest), start=start, end=end)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values inside the scale, 1, 2 or 5 times a power of ten apart."""
        rough = (self.high / 2 - self.low / 2) / wanted * 2
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)
        if not math.isfinite(step):
            return [self.low, self.high]
        first = math.ceil(self.low / step)
        count = int(math.floor(self.high / step) - first) + 1
        return [(first + i) * step for i in range(max(0, min(count, 2 * wanted + 2)))]


def tick_label(value: float) -> str:
    """A tick's value, short."""
    if value == 0:
        return "0"
    text = f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.0e}"
    return text.replace("-", "\N{MINUS SIGN}")


def element(name: str, *, text: str | None = None, **attributes: object) -> Markup:
    """One SVG element; `_` in an attribute's name becomes `-`, every value is escaped."""
    parts = [
        f'{key.rstrip("_").replace("_", "-")}="{escape(_short(v))}"'
        for key, v in attributes.items()
    ]
    opening = " ".join([name, *parts])
    if text is None:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{escape(text)}</{name}>")


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element("polyline", points=path, fill="none", class_=class_)


def svg(identity: str, title: str, description: str, *parts: Markup) -> Markup:
    """A whole figure with its name and description for those who cannot see it."""
    names = f"{identity}-title {identity}-description"
    # Inside an HTML page svg needs no xmlns, so the page holds no address at all.
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}">').format(
        WIDTH, HEIGHT, names
    )
    title_element = element("title", text=title, id=f"{identity}-title")
    described = element("desc", text=description, id=f"{identity}-description")
    return opening + title_element + described + Markup("").join(parts) + Markup("</svg>")


def axes(
    x: Scale,
    y: Scale,
    *,
    x_name: str,
    y_name: str,
    y_ticks: Sequence[tuple[float, str]] | None = None,
) -> Markup:
    """Horizontal grid lines, ticks and the names of both axes."""
    parts = []
    for value, label in y_ticks or [(value, tick_label(value)) for value in y.ticks()]:
        place = y(value)
        parts.append(element("line", class_="grid", x1=x.start, x2=x.end, y1=place, y2=place))
        parts.append(element("text", class_="tick end", x=x.start - 6, y=place + 3.5, text=label))
    for value in x.ticks():
        label, under = tick_label(value), HEIGHT - BOTTOM + 15
        parts.append(element("text", class_="tick middle", x=x(value), y=under, text=label))
    parts.append(element("line", class_="axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start))
    parts.append(
        element("text", class_="name middle", x=(x.start + x.end) / 2, y=HEIGHT - 7, text=x_name)
    )
    parts.append(element("text", class_="name", x=2, y=10, text=y_name))
    return Markup("").join(parts)


def spread(places: Sequence[float], *, top: float, bottom: float) -> list[float]:
    """Places of labels, moved apart so that no two lines of text touch, in the same order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    line_height = min(LINE_HEIGHT, (bottom - top) / max(1, len(places) - 1))
    moved = list(places)
    previous = top - line_height
    for index in order:
        moved[index] = previous = max(places[index], previous + line_height)
    following = bottom + line_height
    for index in reversed(order):
        moved[index] = following = min(moved[index], following - line_height)
    return moved
