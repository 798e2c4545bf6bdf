"""Pages of what was measured: self-contained HTML in the style of the demo's report.

No script, no address of anything outside the page; whatever is shown is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .demo.chart import element
from .durable import atomic_file

if TYPE_CHECKING:
    from .privacy.evaluation import Rate
    from .privacy.residual import Outcome

TEMPLATES = Path(__file__).parent / "demo" / "templates"
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 720, 190, 130, 24, 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What stands above the tables of a page."""

    title: str
    headline: str
    meaning: str
    """What the headline means, and what it does not."""
    facts: Sequence[tuple[str, str, str]] = ()
    """What, its value, and a word on it."""
    drawing: Markup | None = None
    drawing_title: str = ""
    reading: str = ""
    """How to read the drawing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PageTable:
    caption: str
    columns: Sequence[tuple[str, bool]]
    """Name, and whether it holds figures."""
    rows: Sequence[Sequence[str]]


def write_html(page: Page, shown: Iterable[RenderableType], path: Path) -> None:
    """Writes a page with the tables and sentences that a terminal shows as well.

    Raises:
        RecollectError: STORAGE_FULL, STORAGE_FAILED.
    """
    tables, sentences = [], []
    for one in shown:
        if isinstance(one, Table):
            tables.append(_page_table(one))
        else:
            sentences.append(one.plain if isinstance(one, Text) else str(one))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    styles = ("report.css", "deid.css")
    css = Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in styles))
    text = environment.get_template("deid.html").render(
        page=page, css=css, tables=tables, sentences=sentences
    )
    with atomic_file(path.resolve()) as file:
        file.write(text.encode())


def _page_table(table: Table) -> _PageTable:
    cells = [[Text.from_markup(str(cell)).plain for cell in c.cells] for c in table.columns]
    return _PageTable(
        caption=str(table.title or ""),
        columns=[(str(c.header), c.justify == "right") for c in table.columns],
        rows=list(zip(*cells, strict=True)),
    )


def recall_drawing(rates: Mapping[str, Rate]) -> Markup:
    """A bar for each type with its interval of Clopper and Pearson, described in words."""
    known = {name: rate for name, rate in rates.items() if rate.num_all}
    span, height = _WIDTH - _LEFT - _RIGHT, _TOP + _ROW * len(known) + 8
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + span * share
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=_TOP - 4, y2=height - 6))
        parts.append(element("text", class_="tick middle", x=x, y=11, text=f"{share:.0%}"))
    for number, (name, rate) in enumerate(known.items()):
        y = _TOP + _ROW * number + 4
        low, high = _LEFT + span * rate.low, _LEFT + span * rate.high
        middle = y + 7
        parts += [
            element("text", class_="small", x=2, y=y + 11, text=name),
            element("rect", class_="hit", x=_LEFT, y=y, width=span * rate.value, height=14),
            element("line", class_="whisker", x1=low, x2=high, y1=middle, y2=middle),
            element("line", class_="whisker", x1=low, x2=low, y1=y + 3, y2=y + 11),
            element("line", class_="whisker", x1=high, x2=high, y1=y + 3, y2=y + 11),
            element(
                "text",
                class_="tick end value",
                x=_WIDTH - 2,
                y=y + 11,
                text=f"{rate.value:.1%} of {rate.num_all:,}",
            ),
        ]
    told = "; ".join(
        f"{name}: {rate.value:.1%}, {rate.low:.1%} to {rate.high:.1%}"
        for name, rate in known.items()
    )
    opening = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="recall-title recall-told">'
    ).format(_WIDTH, height)
    titles = element("title", text="Recall by type", id="recall-title")
    titles += element("desc", text=told, id="recall-told")
    return opening + titles + Markup("").join(parts) + Markup("</svg>")


def measured_page(title: str, direct: Rate, recall: Rate, mentions: Mapping[str, Rate]) -> Page:
    """What stands above the tables of an evaluation."""
    chosen, what = (direct, "direct identifiers") if direct.num_all else (recall, "mentions")
    headline = (
        f"{chosen.num_hits:,} of {chosen.num_all:,} {what} were found whole: recall "
        f"{chosen.value:.1%}, and at least {chosen.low:.1%}."
        if chosen.num_all
        else "There is nothing labelled to find."
    )
    return Page(
        title=title,
        headline=headline,
        meaning="The bounds hold for text like this, labelled like this, with 95 % confidence: "
        "other text, or labels that themselves miss something, may give other figures. A mention "
        "counts only if each of its letters and digits is covered, whatever type it was taken for.",
        drawing=recall_drawing(mentions) if recall.num_all else None,
        drawing_title="What was found of each type",
        reading="Each bar is the share of mentions that were found; the line on it is where the "
        "share lies with 95 % confidence (Clopper and Pearson): few labels, long line.",
    )


def residual_page(title: str, outcome: Outcome) -> Page:
    """What stands above the tables of an audit of what is left."""
    whole = outcome.whole
    return Page(
        title=title,
        headline=f"At most {whole.at_most_with_undecidable:.2%} of the examples still hold a "
        "direct identifier that the second look can see.",
        facts=(
            ("Looked at", f"{whole.num_sampled:,}", f"of {whole.num_examples:,} examples"),
            ("Surviving", f"{whole.num_surviving:,}", f"at most {whole.at_most:.2%} of all"),
            (
                *("Undecidable", f"{whole.num_undecidable:,}"),
                f"at most {whole.at_most_with_undecidable:.2%} with them",
            ),
        ),
        meaning="The bound holds with 95 % confidence for what this second detector can see, and "
        "counts all that is undecidable as left. It says nothing of what neither detector can see; "
        "how often the second one finds what is there, the stand-ins below tell.",
    )
