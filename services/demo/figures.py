"""The figures of the report: each is inline SVG, described in words, labelled where the eye is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    axes,
    element,
    polyline,
    spread,
    svg,
)
from .outcome import (
    FORGETTING_BAR,
    GAIN_BAR,
    Outcome,
    deviations,
    forgetting,
    forgetting_on,
    gain,
    percent,
    runs_of,
    shares_over_steps,
)
from .record import GUARDRAILS, MIX, TASK_ONLY, Arm, DemoRecord, Run

LABEL_ROOM = 122
"""Width kept free on the right for labels at the ends of lines."""
ARM_CLASSES: dict[Arm, str] = {TASK_ONLY: "task-only", MIX: "mix"}
NUM_COLOURS = 7
LONGEST_LABEL = 20
SHARE_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A drawing and how to read it."""

    title: str
    drawing: Markup
    reading: str
    """One plain sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a chart over steps."""

    name: str
    colour: str
    values: dict[int, float]


def guardrail_figure(record: DemoRecord) -> Figure:
    """Forgetting per guardrail: every seed a dot, the mean a bar."""
    points = [
        (guardrail, arm, values)
        for guardrail in GUARDRAILS
        for arm in (TASK_ONLY, MIX)
        if (values := _known(forgetting_on(run, guardrail) for run in runs_of(record, arm)))
    ]
    x = Scale.over(
        [v for _, _, values in points for v in values], LEFT + 26, WIDTH - RIGHT, include=(0.0,)
    )
    band = (HEIGHT - TOP - BOTTOM) / len(GUARDRAILS)
    parts = [_vertical_axis(x, "nats per token forgotten  →")]
    for guardrail, arm, values in points:
        middle = TOP + band * (GUARDRAILS.index(guardrail) + 0.5)
        y = middle + (-band / 7 if arm == TASK_ONLY else band / 7)
        if arm == TASK_ONLY:
            parts.append(element("text", class_="label", x=4, y=middle + 4, text=guardrail))
        parts.append(_dots(values, x, y, ARM_CLASSES[arm]))
    for arm, y in ((TASK_ONLY, TOP - 10), (MIX, TOP + 3)):
        parts.append(_key(arm, WIDTH - 78, y))
    return Figure(
        title="What each run forgot",
        drawing=svg(
            "guardrails",
            "Forgetting per guardrail",
            "; ".join(f"{g}, {a}: mean {statistics.fmean(v):.3f}" for g, a, v in points),
            *parts,
        ),
        reading="Further right is worse: each dot is one seed, each bar the mean over the seeds, "
        "and left of the line at 0 the model got better than it was.",
    )


def trade_figure(record: DemoRecord, result: Outcome) -> Figure:
    """Forgetting against gain: every seed a dot, the means rings, the bar a field."""
    runs = [run for arm in (TASK_ONLY, MIX) for run in runs_of(record, arm)]
    known = [(run.arm, value, forgetting(run)) for run in runs if (value := gain(run)) is not None]
    aims = [GAIN_BAR * mean for mean in result.gain[TASK_ONLY].means]
    x = Scale.over([g for _, g, _ in known], LEFT, WIDTH - RIGHT, include=aims)
    y = Scale.over([f for _, _, f in known], HEIGHT - BOTTOM, TOP, include=(0.0,))
    parts = [_field(x, y, result), axes(x, y, x_name="gain on the target  →", y_name="↑ forgotten")]
    for arm, gained, forgot in known:
        parts.append(
            element("circle", class_=f"dot {ARM_CLASSES[arm]}", cx=x(gained), cy=y(forgot), r=4)
        )
    means = []
    for arm in (TASK_ONLY, MIX):
        if result.gain[arm].values and result.forgetting[arm].values:
            gained, forgot = result.gain[arm].mean, result.forgetting[arm].mean
            means.append(f"{arm}: mean gain {gained:.3f}, mean forgetting {forgot:.3f}")
            parts.append(_mean_mark(arm, x(gained), y(forgot)))
    return Figure(
        title="What it cost",
        drawing=svg("trade", "Forgetting against gain", "; ".join(means), *parts),
        reading="Right is more learnt and low is less forgotten, so the lower right is best; dots "
        "are seeds, rings their means, and the tinted field is where the bar is met.",
    )


def loss_figures(record: DemoRecord) -> list[Figure]:
    """Training loss by source, a figure per arm, both on one scale."""
    lines = {arm: _loss_lines(record, arm) for arm in (TASK_ONLY, MIX)}
    y = _scale_of([line for arm in lines.values() for line in arm])
    return [
        Figure(
            title=f"Loss by source, {arm}",
            drawing=_over_steps(
                f"loss-{ARM_CLASSES[arm]}",
                f"Training loss by source over steps, {arm}",
                lines[arm],
                y,
                y_name="nats per token",
                smooth=True,
            ),
            reading="What the rows of each step cost: the mean over the seeds, faint as "
            "measured and strong as a moving average. A small source has a row or two in a step, "
            "and other rows in the next, so its line wanders; what was kept or lost is in the "
            "table of held-out rows above.",
        )
        for arm in (TASK_ONLY, MIX)
        if lines[arm]
    ]


def ratio_figures(record: DemoRecord) -> list[Figure]:
    """Realised shares over the first mix run, and how far any mix run was from the plan."""
    runs = [run for run in runs_of(record, MIX) if run.steps]
    return [_share_figure(record, runs[0]), _deviation_figure(record, runs)] if runs else []


def _share_figure(record: DemoRecord, run: Run) -> Figure:
    """Shares on a logarithmic scale, where a source of 1 % is as visible as one of 70 %."""
    lines = []
    for number, share in enumerate(record.shares):
        path = shares_over_steps(run.steps, share.source)
        logarithms = {
            step.step: math.log10(value)
            for step, value in zip(run.steps, path, strict=True)
            if value > 0
        }
        if logarithms:
            lines.append(Line(name=share.source, colour=_colour(number), values=logarithms))
    planned = [math.log10(share.fraction) for share in record.shares if share.fraction > 0]
    served = [value for line in lines for value in line.values.values()]
    y = Scale.over(served, HEIGHT - BOTTOM, TOP, include=planned)
    ticks = [
        (math.log10(tick), f"{100 * tick:g}\N{NO-BREAK SPACE}%")
        for tick in SHARE_TICKS
        if y.low <= math.log10(tick) <= y.high
    ]
    dotted = Markup("").join(
        element("line", class_="planned", x1=LEFT, x2=WIDTH - LABEL_ROOM, y1=y(at), y2=y(at))
        for at in planned
    )
    return Figure(
        title="Shares as they were served",
        drawing=_over_steps(
            "shares",
            "Realised share of each source over steps",
            lines,
            y,
            y_name="share of all rows so far, logarithmic",
            above=dotted,
            y_ticks=ticks,
            describe=lambda value: f"{100 * 10**value:.2f} %",
        ),
        reading=f"Each line is what a source had given by then (seed {run.seed}); the dotted line "
        "on it is its planned share.",
    )


def _deviation_figure(record: DemoRecord, runs: Sequence[Run]) -> Figure:
    """Per source, the span of rows served less rows planned, over all steps of all mix runs."""
    spans = []
    for number, share in enumerate(record.shares):
        values = [float(d) for run in runs for d in deviations(run.steps, share)]
        spans.append((share.source, _colour(number), min(values), max(values)))
    ends = [value for _, _, low, high in spans for value in (low, high)]
    x = Scale.over(ends, LABEL_ROOM, WIDTH - RIGHT, include=(-1.0, 1.0))
    parts = [_vertical_axis(x, "rows served − rows planned")]
    for at in (-1.0, 1.0):
        place = x(at)
        parts.append(
            element("line", class_="bound", x1=place, x2=place, y1=TOP - 6, y2=HEIGHT - BOTTOM)
        )
    band = (HEIGHT - TOP - BOTTOM) / max(1, len(spans))
    for place, (name, colour, low, high) in enumerate(spans):
        y = TOP + band * (place + 0.5) + 4
        parts.append(_line_label(name, colour, 2, y + 3.5))
        parts.append(polyline([(x(low), y), (x(high), y)], f"span {colour}"))
    described = "; ".join(f"{name}: {low:.2f} to {high:.2f}" for name, _, low, high in spans)
    return Figure(
        title="Rows away from the plan",
        drawing=svg("deviation", "Rows served less rows planned, by source", described, *parts),
        reading="Each bar spans how far a source was from its share after any step of any mix run; "
        "inside the dashed lines it was never a whole row away.",
    )


def _over_steps(
    identity: str,
    title: str,
    lines: Sequence[Line],
    y: Scale,
    *,
    y_name: str,
    above: Markup | None = None,
    smooth: bool = False,
    y_ticks: Sequence[tuple[float, str]] | None = None,
    describe: Callable[[float], str] = "{:.3f}".format,
) -> Markup:
    steps = [step for line in lines for step in line.values]
    first, last = min(steps, default=0), max(steps, default=0)
    x = Scale(low=first, high=max(last, first + 1), start=LEFT, end=WIDTH - LABEL_ROOM)
    parts = [axes(x, y, x_name="step", y_name=y_name, y_ticks=y_ticks)]
    strong = [_moving_average(line.values) if smooth else line.values for line in lines]
    for line, values in zip(lines, strong, strict=True):
        if smooth:
            parts.append(_path(line.values, x, y, f"line faint {line.colour}"))
        parts.append(_path(values, x, y, f"line {line.colour}"))
    ends = [y(list(values.values())[-1]) for values in strong]
    places = spread(ends, top=TOP, bottom=HEIGHT - BOTTOM)
    for line, end, place in zip(lines, ends, places, strict=True):
        parts.append(polyline([(x.end + 1, end), (x.end + 8, place)], f"leader {line.colour}"))
        parts.append(_line_label(line.name, line.colour, x.end + 11, place + 3.5))
    described = "; ".join(
        f"{line.name}: {describe(measured[0])} to {describe(measured[-1])}"
        for line in lines
        if (measured := list(line.values.values()))
    )
    return svg(identity, title, described, *parts, above or Markup(""))


def _line_label(name: str, colour: str, x: float, y: float) -> Markup:
    shown = name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"
    return element("text", class_=f"label small text-{colour}", x=x, y=y, text=shown)


def _colour(number: int) -> str:
    return f"s{number % NUM_COLOURS}"


def _path(values: dict[int, float], x: Scale, y: Scale, class_: str) -> Markup:
    return polyline([(x(step), y(value)) for step, value in values.items()], class_)


def _loss_lines(record: DemoRecord, arm: Arm) -> list[Line]:
    """Mean over the seeds of the loss by source, where a step has rows of the source."""
    gathered: dict[str, dict[int, list[float]]] = {}
    for run in runs_of(record, arm):
        for step in run.steps:
            for source, loss in step.loss_by_source.items():
                gathered.setdefault(source, {}).setdefault(step.step, []).append(loss)
    order = [share.source for share in record.shares]
    order += sorted(set(gathered) - set(order))
    return [
        Line(
            name=source,
            colour=_colour(order.index(source)),
            values={
                step: statistics.fmean(gathered[source][step]) for step in sorted(gathered[source])
            },
        )
        for source in order
        if source in gathered
    ]


def _scale_of(lines: Sequence[Line]) -> Scale:
    """A scale for the smoothed lines; the faint ones may touch its ends."""
    smoothed = [v for line in lines for v in _moving_average(line.values).values()]
    measured = sorted(v for line in lines for v in line.values.values())
    middle = measured[len(measured) // 50 : len(measured) - len(measured) // 50]
    return Scale.over([*smoothed, *middle], HEIGHT - BOTTOM, TOP)


def _moving_average(values: dict[int, float]) -> dict[int, float]:
    """Mean over the neighbours up to a fifteenth of the line to either side."""
    steps, reach = list(values), max(1, len(values) // 15)
    return {
        step: statistics.fmean(values[s] for s in steps[max(0, place - reach) : place + reach + 1])
        for place, step in enumerate(steps)
    }


def _vertical_axis(x: Scale, name: str) -> Markup:
    parts = []
    for value in x.ticks():
        line = "axis" if value == 0 else "grid"
        place, label = x(value), f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
        parts.append(
            element("line", class_=line, x1=place, x2=place, y1=TOP + 8, y2=HEIGHT - BOTTOM)
        )
        parts.append(
            element("text", class_="tick middle", x=place, y=HEIGHT - BOTTOM + 15, text=label)
        )
    parts.append(
        element("text", class_="name middle", x=(x.start + x.end) / 2, y=HEIGHT - 7, text=name)
    )
    return Markup("").join(parts)


def _dots(values: Sequence[float], x: Scale, y: float, class_: str) -> Markup:
    zero, mean = x(0.0), x(statistics.fmean(values))
    left, width = min(zero, mean), abs(mean - zero)
    bar = element("rect", class_=f"bar {class_}", x=left, y=y - 7, width=width, height=14)
    dots = [element("circle", class_=f"dot {class_}", cx=x(v), cy=y, r=3.6) for v in values]
    return Markup("").join([bar, *dots])


def _key(arm: Arm, x: float, y: float) -> Markup:
    mark = element("circle", class_=f"dot {ARM_CLASSES[arm]}", cx=x, cy=y - 4, r=3.6)
    return mark + element("text", class_=f"label text-{ARM_CLASSES[arm]}", x=x + 8, y=y, text=arm)


def _mean_mark(arm: Arm, x: float, y: float) -> Markup:
    mark = element("circle", class_=f"mean ring-{ARM_CLASSES[arm]}", cx=x, cy=y, r=9)
    # Centred above the ring, but never over the edge.
    place = min(max(x, LEFT + 30), WIDTH - RIGHT - 30)
    return mark + element(
        "text", class_=f"label middle text-{ARM_CLASSES[arm]}", x=place, y=y - 15, text=arm
    )


def _field(x: Scale, y: Scale, result: Outcome) -> Markup:
    """Where the bar is met: enough gain and little enough forgetting."""
    if result.gain_ratio is None or result.forgetting_ratio is None:
        return Markup("")
    left = x(GAIN_BAR * result.gain[TASK_ONLY].mean)
    top = y(FORGETTING_BAR * result.forgetting[TASK_ONLY].mean)
    field = element("rect", class_="field", x=left, y=top, width=x.end - left, height=y.start - top)
    text = f"≥ {percent(GAIN_BAR)} of the gain, < {percent(FORGETTING_BAR)} forgotten"
    anchor, place = ("end", x.end - 4) if left > WIDTH / 3 else ("", left + 4)
    return field + element("text", class_=f"tick {anchor}", x=place, y=top - 5, text=text)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
