"""The picture of who gets the rarest source: batch by batch, and rank by rank, under every rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from markupsafe import Markup

from ...mixer.peer_rules import RULES, Floats, Integers, MixRefusedError, PeerRule
from ...mixer.peers import DEFAULT_SHARES, serve
from .chart import element

WIDTH, ROW_HEIGHT, HEAD, FOOT = 900, 54, 118, 66
NAMES_LEFT, BARS_LEFT, BARS_RIGHT = 24, 256, 592
WITHOUT_END, IN_ALL_END = 660, 730
RANKS_LEFT, RANKS_RIGHT = 752, 880
BAR_HEIGHT = 32.0
NUM_DRAWN = 140
"""Batches that are drawn one by one."""
NUM_COUNTED = 10_000
"""Batches behind every number."""
MOST_BARS = 16
"""Ranks that are drawn; where there are more, the picture says so."""
LONGEST_LIST = 37
"""Letters of the list of packages."""
HIDDEN = ("Mixtera, window of 32",)

STYLE = """
svg { --paper: #fbfaf6; --ink: #22252a; --quiet: #666a70; --rule: #e2dfd6; --panel: #eef4f8;
  --right: #0a6ebd; --wrong: #c4500c; }
@media (prefers-color-scheme: dark) { svg { --paper: #16181c; --ink: #e4e2dc; --quiet: #9a9da3;
  --rule: #32363c; --panel: #1d2730; --right: #5fb4f2; --wrong: #f08a4b; } }
text { font: 12px system-ui, -apple-system, "Segoe UI", Inter, Roboto, "Helvetica Neue",
  "Liberation Sans", Arial, sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
.paper { fill: var(--paper); } .panel { fill: var(--panel); }
.title { font-size: 20px; font-weight: 650; letter-spacing: -.01em; }
.head { font-size: 12.5px; font-weight: 600; } .name { font-size: 13.5px; font-weight: 600; }
.quiet { fill: var(--quiet); font-size: 11px; }
.right { fill: var(--right); } .wrong { fill: var(--wrong); }
.figure { font-size: 13.5px; font-weight: 600; }
.rule { stroke: var(--rule); stroke-width: 1; }
.asked { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 3; opacity: .75; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Served:
    """What a rule does to the rarest source."""

    rule: PeerRule
    drawn: Integers
    """Rows of it in each of the first batches."""
    without: float
    """Fraction of all batches that have none of it."""
    in_all: float
    """Its share of all rows."""
    ranks: Floats
    """Its share of the rows of each rank."""


def peer_picture(
    shares: Sequence[Fraction] = DEFAULT_SHARES,
    *,
    rarest_name: str = "refusals",
    batch_size: int = 32,
    world_size: int = 4,
) -> str:
    """The picture as an SVG document of its own, for light and dark.

    Args:
        shares: the mix; its rarest source is drawn.
        rarest_name: what to call that source, in the plural.
        batch_size: rows of a step.
        world_size: number of ranks.
    """
    exact = tuple(shares)
    rules = sorted((r for r in RULES if r.name not in HIDDEN), key=lambda rule: not rule.ours)
    bands: list[tuple[PeerRule, _Served | str]] = []
    for rule in rules:
        try:
            bands.append((rule, _served(rule, exact, batch_size, world_size)))
        except MixRefusedError as refusal:
            bands.append((rule, str(refusal)))
    share = min(exact)
    height = HEAD + ROW_HEIGHT * len(bands) + FOOT
    parts = [_heading(share, batch_size, world_size, rarest_name, height)]
    for number, (rule, served) in enumerate(bands):
        top = HEAD + number * ROW_HEIGHT
        parts.append(_label(rule, top))
        if isinstance(served, str):
            parts.append(
                element("text", class_="wrong", x=BARS_LEFT, y=top + 32, text=served.capitalize())
            )
            continue
        parts.append(_batches(served, float(share) * batch_size, top))
        parts.append(_figures(served, float(share), top))
        parts.append(_ranks(served, float(share), top))
    parts.append(_key(float(share) * batch_size, world_size, height))
    return str(_document(height, rarest_name, parts))


def _served(rule: PeerRule, shares: tuple[Fraction, ...], batch: int, world: int) -> _Served:
    sources, ranks = serve(rule, shares, batch, world, NUM_COUNTED)
    rarest = len(shares) - 1 - shares[::-1].index(min(shares))
    hits = sources == rarest
    batches = hits.reshape(NUM_COUNTED, batch).sum(axis=1)
    rows = np.bincount(ranks, minlength=world)
    return _Served(
        rule=rule,
        drawn=batches[:NUM_DRAWN],
        without=float(np.mean(batches == 0)),
        in_all=float(hits.mean()),
        ranks=np.bincount(ranks[hits], minlength=world) / rows,
    )


def _heading(share: Fraction, batch: int, world: int, rarest: str, height: int) -> Markup:
    asked = f"{_percent(float(share))} of the rows should be {rarest}"
    under = (
        f"{batch} rows a batch, {world} ranks: every batch should have "
        f"{_between(float(share) * batch)} of them, and every rank {_percent(float(share))}."
    )
    named = rarest.capitalize()
    heads = (
        (NAMES_LEFT, 103, "", "Rule, and who follows it"),
        (BARS_LEFT, 103, "", f"{named} in each batch"),
        (WITHOUT_END, 88, "end", "batches"),
        (WITHOUT_END, 103, "end", "with none"),
        (IN_ALL_END, 88, "end", "of all"),
        (IN_ALL_END, 103, "end", "rows"),
        (RANKS_LEFT + 4, 103, "", f"{named} per rank"),
    )
    return Markup("").join(
        [
            element("rect", class_="paper", width=WIDTH, height=height, rx=8),
            element("text", class_="title", x=24, y=40, text=f"{asked}. Who gets them?"),
            element("text", class_="quiet", x=24, y=61, text=under),
            *(
                element("text", class_=f"head {anchor}".strip(), x=x, y=y, text=text)
                for x, y, anchor, text in heads
            ),
        ]
    )


def _label(rule: PeerRule, top: int) -> Markup:
    packages, shown = ", ".join(rule.packages), len(rule.packages)
    while len(packages) > LONGEST_LIST and shown > 1:
        shown -= 1
        packages = f"{', '.join(rule.packages[:shown])} + {len(rule.packages) - shown} more"
    lines = [
        element("text", class_="name", x=NAMES_LEFT, y=top + 24, text=rule.name),
        element("text", class_="quiet", x=NAMES_LEFT, y=top + 40, text=packages),
    ]
    if rule.ours:
        panel = element(
            "rect", class_="panel", x=12, y=top + 2, width=WIDTH - 24, height=ROW_HEIGHT - 4, rx=6
        )
        return Markup("").join([panel, *lines])
    line = element("line", class_="rule", x1=24, x2=WIDTH - 24, y1=top, y2=top)
    return Markup("").join([line, *lines])


def _batches(served: _Served, wanted: float, top: int) -> Markup:
    """A column for each batch, blue where it holds what it should, to the nearest row."""
    floor = top + ROW_HEIGHT - 12.0
    step = (BARS_RIGHT - BARS_LEFT) / served.drawn.size
    tallest = _tallest(wanted)
    good: list[str] = []
    bad: list[str] = []
    for number, rows in enumerate(served.drawn.tolist()):
        x, bar = BARS_LEFT + number * step, BAR_HEIGHT * min(rows, tallest) / tallest
        # A batch with none is a mark below the line, so that nothing is not invisible.
        box = f"M{x:.2f} {floor - bar:.2f}h{step * 0.72:.2f}v{bar:.2f}h-{step * 0.72:.2f}z"
        if not rows:
            box = f"M{x:.2f} {floor + 2:.2f}h{step * 0.72:.2f}v3h-{step * 0.72:.2f}z"
        (good if abs(rows - wanted) < 1 else bad).append(box)
    asked = floor - BAR_HEIGHT * wanted / tallest
    return Markup("").join(
        [
            element("line", class_="asked", x1=BARS_LEFT, x2=BARS_RIGHT, y1=asked, y2=asked),
            element("path", class_="right", d="".join(good)),
            element("path", class_="wrong", d="".join(bad)),
        ]
    )


def _figures(served: _Served, share: float, top: int) -> Markup:
    """How many batches have none, and the share in the long run."""
    off = abs(served.in_all - share) > share / 100
    return Markup("").join(
        element("text", class_=f"figure end {colour}", x=x, y=top + 33, text=text)
        for x, colour, text in (
            (WITHOUT_END, "wrong" if served.without else "right", _percent(served.without, 0)),
            (IN_ALL_END, "wrong" if off else "right", _percent(served.in_all)),
        )
    )


def _ranks(served: _Served, share: float, top: int) -> Markup:
    """A bar for each rank with its share of the source."""
    floor = top + ROW_HEIGHT - 19.0
    shown = served.ranks[:MOST_BARS]
    step = (RANKS_RIGHT - RANKS_LEFT) / shown.size
    tall, height = 5 * share, BAR_HEIGHT - 4
    asked = floor - height * share / tall
    parts = [
        element("line", class_="asked", x1=RANKS_LEFT, x2=RANKS_RIGHT, y1=asked, y2=asked),
    ]
    for rank, value in enumerate(shown.tolist()):
        bar = height * min(value, tall) / tall
        fair = abs(value - share) < share / 10
        x = RANKS_LEFT + rank * step
        parts.append(
            element(
                "rect",
                class_="right" if fair else "wrong",
                x=x + step * 0.18,
                y=floor - max(bar, 1.5),
                width=step * 0.64,
                height=max(bar, 1.5),
            )
        )
        if shown.size <= 5:
            text = _percent(value, digits=0)
            parts.append(
                element("text", class_="quiet middle", x=x + step / 2, y=floor + 13, text=text)
            )
    return Markup("").join(parts)


def _key(wanted: float, world_size: int, height: int) -> Markup:
    top = height - FOOT + 28
    more = f"; the first {MOST_BARS} of {world_size} ranks" if world_size > MOST_BARS else ""
    items = (
        (24, "right", f"as asked, to the nearest row ({_between(wanted)} a batch)"),
        (302, "wrong", "too many or too few; marks below the line: none"),
    )
    parts = [element("line", class_="rule", x1=24, x2=WIDTH - 24, y1=top - 22, y2=top - 22)]
    for x, colour, text in items:
        parts.append(element("rect", class_=colour, x=x, y=top - 9, width=10, height=10, rx=2))
        parts.append(element("text", class_="quiet", x=x + 16, y=top, text=text))
    parts.append(element("line", class_="asked", x1=600, x2=618, y1=top - 4, y2=top - 4))
    parts.append(element("text", class_="quiet", x=624, y=top, text=f"what was asked for{more}"))
    note = (
        f"Columns: the first {NUM_DRAWN} batches. Numbers: {NUM_COUNTED:,} batches. "
        "Drawn from each rule; how each was checked is in docs/explanation/peers.md."
    )
    parts.append(element("text", class_="quiet", x=24, y=top + 20, text=note))
    return Markup("").join(parts)


def _document(height: int, rarest: str, parts: Sequence[Markup]) -> Markup:
    opening = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" '
        'role="img" aria-labelledby="title description">'
    ).format(WIDTH, height, WIDTH, height)
    described = (
        f"One line for each mixing rule: how many {rarest} each batch holds, in how many batches "
        "there are none, and which share of them each rank is given."
    )
    return Markup("").join(
        [
            opening,
            element("title", text="Who gets the rarest source, by mixing rule", id="title"),
            element("desc", text=described, id="description"),
            Markup("<style>{}</style>").format(Markup(STYLE)),
            *parts,
            Markup("</svg>\n"),
        ]
    )


def _tallest(wanted: float) -> float:
    """Rows at which a column ends."""
    return max(4 * wanted, 4.0)


def _between(wanted: float) -> str:
    low, high = int(np.floor(wanted)), int(np.ceil(wanted))
    return f"{low}" if low == high else f"{low} or {high}"


def _percent(value: float, digits: int = 2) -> str:
    """A share for the eye; no-break space, no trailing zeros, nothing rounded to a false 0."""
    if 0 < value < 0.005 and digits == 0:
        return "< 1\N{NO-BREAK SPACE}%"
    text = f"{100 * value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "\N{NO-BREAK SPACE}%"
