"""The report of a demo in the terminal: the same figures as the page, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .outcome import Outcome, Spread, outcome, realised
from .record import DemoRecord
from .report import bars, findings, number, outcome_rows, refusal_rows, share, signed


def summary(record: DemoRecord) -> RenderableType:
    """Everything worth seeing in the terminal, the finding last, where the eye rests."""
    result = outcome(record)
    parts: list[RenderableType] = [
        _intake(record),
        _preview(record),
        _ratio(record),
        _outcome(record, result),
        *_refusals(record),
        _ledger(record),
        _audit(record),
    ]
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts), *_verdict(result))


def _intake(record: DemoRecord) -> Table:
    replaced = ", ".join(f"{kind} {count:,}" for kind, count in findings(record)) or "none"
    return _table(
        "Intake",
        ("source", "read", "stored", "duplicates", "quarantined"),
        [
            (
                row.source,
                f"{row.num_read:,}",
                f"{row.num_stored:,}",
                f"{row.num_duplicates:,}",
                f"{row.num_quarantined:,}",
            )
            for row in record.ingested
        ],
        caption=f"identifiers replaced: {replaced}",
    )


def _preview(record: DemoRecord) -> Table:
    return _table(
        "The sealed plan of the mix",
        ("source", "examples", "rows", "epochs", "most served", "tokens", "all used at step"),
        [
            (
                row.source,
                f"{row.num_examples:,}",
                f"{row.num_rows:,}",
                number(row.epochs, 2),
                f"{row.max_repeats}",
                f"{row.num_tokens:,}",
                "never" if row.exhaustion_step is None else f"{row.exhaustion_step}",
            )
            for row in record.preview
        ],
    )


def _ledger(record: DemoRecord) -> Text:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in record.ledger.entries_by_kind.items())
    state = "verified" if record.ledger.verified else "NOT VERIFIED"
    return Text(f"Ledger, {state}, head {record.ledger.head_digest[:16]}: {kinds}")


def _audit(record: DemoRecord) -> Text:
    differences = record.ledger.audit_differences
    if not differences:
        return Text("Audit: every run followed its plan, recounted from the ledger alone")
    return Text("\n".join(("Audit: RUNS DIFFER FROM THEIR PLANS", *differences)), style="bold red")


def _ratio(record: DemoRecord) -> Table:
    return _table(
        "Ratio",
        ("source", "planned", "realised", "rows", "most rows off its share"),
        [
            (
                row.source,
                share(float(row.planned), 2),
                share(row.share, 2),
                f"{row.num_rows:,}",
                number(row.max_deviation, 2),
            )
            for row in realised(record)
        ],
    )


def _outcome(record: DemoRecord, result: Outcome) -> Table:
    return _table(
        "Outcome, in nats per token",
        ("quantity", "task only", "mix"),
        [
            (row.name, _spread(row.task_only), _spread(row.mix))
            for row in outcome_rows(record, result)
        ],
        caption=f"mean ± standard deviation over {result.num_seeds} seed(s)",
    )


def _refusals(record: DemoRecord) -> Iterator[Table]:
    rows = refusal_rows(record)
    if rows:
        yield _table(
            "Share of prompts refused (refusals should stay high, counterexamples be low)",
            ("prompts", "run", "before", "after"),
            [(row.subject, row.arm, share(row.before), share(row.after)) for row in rows],
        )


def _verdict(result: Outcome) -> Iterator[Text]:
    for bar in bars(result):
        word, style = ("met", "green") if bar.met else ("NOT MET", "bold red")
        yield Text.assemble(f"{bar.what}: {bar.value}; the bar is {bar.bar}: ", (word, style))
    yield Text(result.finding, style="bold")


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "not measured"
    deviation = "" if spread.deviation is None else f" ± {number(spread.deviation)}"
    return f"{signed(spread.mean)}{deviation}"


def _table(
    title: str, names: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str | None = None
) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for number_of_column, name in enumerate(names):
        table.add_column(name, justify="left" if number_of_column == 0 else "right")
    for row in rows:
        # Text, not markup: names come from data.
        table.add_row(*(Text(cell) for cell in row))
    return table
