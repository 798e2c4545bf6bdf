"""The report of a demo: one self-contained HTML page, with its record beside it.

No script, no address of anything outside the page; every text from the record is escaped.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...mixer.errors import Reason, RecollectError
from .figures import NUM_COLOURS, guardrail_figure, loss_figures, ratio_figures, trade_figure
from .outcome import (
    FORGETTING_BAR,
    GAIN_BAR,
    Outcome,
    Spread,
    forgetting_on,
    outcome,
    percent,
    realised,
    runs_of,
)
from .record import GUARDRAILS, MIX, REFUSAL_RATE, TASK_ONLY, Arm, DemoRecord, record_to_json

TEMPLATES = Path(__file__).parent / "templates"
PAGE_FILE = "report.html"
RECORD_FILE = "record.json"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One half of the verdict."""

    what: str
    value: str
    bar: str
    met: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """A quantity over the seeds in both arms; None where it was not measured."""

    name: str
    task_only: Spread | None
    mix: Spread | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusalRow:
    """Mean share of prompts that were refused."""

    subject: str
    arm: Arm
    before: float
    after: float


def write_report(record: DemoRecord, folder: Path) -> Path:
    """Writes `report.html` and `record.json` into the folder; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_text(record_to_json(record), encoding="utf-8")
    page = folder / PAGE_FILE
    page.write_text(render(record), encoding="utf-8")
    return page


def check_writable(page: Path) -> None:
    """Refuses a page that could not be written, before anybody waits for it.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    try:
        existed = page.exists()
        page.open("ab").close()
        if not existed:
            page.unlink()
    except OSError as error:
        raise _unwritable(page, error) from error


def write_page(record: DemoRecord, page: Path) -> None:
    """Writes the page alone.

    Raises:
        RecollectError: CONFIG_INVALID if the file cannot be written.
    """
    text = render(record)
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(page, error) from error


def _unwritable(page: Path, error: OSError) -> RecollectError:
    return RecollectError(
        Reason.CONFIG_INVALID,
        f"the report cannot be written: {error.strerror or type(error).__name__}.",
        where=str(page),
        fix="Choose another file with --report.",
    )


def render(record: DemoRecord) -> str:
    """The page."""
    result = outcome(record)
    sources = realised(record)
    return (
        _environment()
        .get_template("report.html")
        .render(
            record=record,
            record_digest=hashlib.sha256(record_to_json(record).encode()).hexdigest(),
            css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            result=result,
            bars=bars(result),
            seeds=sorted({run.seed for run in record.runs}),
            outcome_rows=outcome_rows(record, result),
            outcome_figures=[guardrail_figure(record), trade_figure(record, result)],
            refusals=refusal_rows(record),
            realised=sources,
            num_mix_rows=sum(row.num_rows for row in sources),
            max_deviation=max((row.max_deviation for row in sources), default=0.0),
            num_colours=NUM_COLOURS,
            ratio_figures=ratio_figures(record),
            loss_figures=loss_figures(record),
            findings=findings(record),
        )
    )


def bars(result: Outcome) -> list[Bar]:
    """Both halves of the verdict, as they came out."""
    return [
        Bar(
            what="Forgetting, compared with task-only training",
            value=_share_or_dash(result.forgetting_ratio),
            bar=f"below {percent(FORGETTING_BAR)}",
            met=result.forgets_little,
        ),
        Bar(
            what="Gain, compared with task-only training",
            value=_share_or_dash(result.gain_ratio),
            bar=f"{percent(GAIN_BAR)} or more",
            met=result.gains_enough,
        ),
    ]


def outcome_rows(record: DemoRecord, result: Outcome) -> list[OutcomeRow]:
    """Gain, forgetting per guardrail, and forgetting in all."""
    rows = [_row("Gain on the target", result.gain)]
    for guardrail in GUARDRAILS:
        spreads = {
            arm: Spread(
                values=tuple(
                    change
                    for run in runs_of(record, arm)
                    if (change := forgetting_on(run, guardrail)) is not None
                )
            )
            for arm in (TASK_ONLY, MIX)
        }
        rows.append(_row(f"Forgetting: {guardrail}", spreads))
    return [*rows, _row("Forgetting in all", result.forgetting)]


def refusal_rows(record: DemoRecord) -> list[RefusalRow]:
    """Refusal rates by subject and arm, where they were measured."""
    subjects = dict.fromkeys(
        m.subject for run in record.runs for m in run.measurements if m.metric == REFUSAL_RATE
    )
    rows = []
    for subject in subjects:
        for arm in (TASK_ONLY, MIX):
            found = [
                measured
                for run in runs_of(record, arm)
                if (measured := run.measured(REFUSAL_RATE, subject)) is not None
            ]
            if found:
                before = statistics.fmean(m.before for m in found)
                after = statistics.fmean(m.after for m in found)
                rows.append(RefusalRow(subject=subject, arm=arm, before=before, after=after))
    return rows


def findings(record: DemoRecord) -> list[tuple[str, int]]:
    """Identifiers that were replaced over all sources, most frequent type first."""
    total = Counter[str]()
    for source in record.ingested:
        total.update(source.findings)
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


def number(value: float, digits: int = 3) -> str:
    """A number with a fixed number of digits and a true minus sign."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float, digits: int = 3) -> str:
    """A change, with its sign."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text.replace(",", "")) else text


def share(value: float, digits: int = 0) -> str:
    """A share in percent."""
    return f"{number(100 * value, digits)}\N{NO-BREAK SPACE}%"


def _row(name: str, spreads: dict[Arm, Spread]) -> OutcomeRow:
    task_only, mix = (spreads[arm] if spreads[arm].values else None for arm in (TASK_ONLY, MIX))
    return OutcomeRow(name=name, task_only=task_only, mix=mix)


def _share_or_dash(ratio: float | None) -> str:
    return "\N{EM DASH}" if ratio is None else percent(ratio)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "share": share,
        "whole": lambda value: f"{value:,}",
    }
    return environment
