"""What a residual audit found, for people: tables and sentences, without anything that is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .commands.terminal import table
from .privacy.residual import Outcome, Stratum, Survivor

if TYPE_CHECKING:
    from .privacy.residual.quasi import Anonymity

_COUNTS = (
    "examples",
    "looked at",
    "surviving",
    "at most (95 %)",
    "undecidable",
    "at most with them",
)


def _percent(share: float) -> str:
    return f"{share:.2%}" if share < 1 else "100%"


def _row(one: Stratum) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.num_examples:,}",
        f"{one.num_sampled:,}",
        f"{one.num_surviving:,}",
        _percent(one.at_most),
        f"{one.num_undecidable:,}",
        _percent(one.at_most_with_undecidable),
    )


def outcome_lines(outcome: Outcome, num_listed: int = 0) -> Iterator[RenderableType]:
    """The outcome as tables and sentences for a terminal or a page.

    Args:
        outcome: what was found.
        num_listed: of how many survivors to tell where they are, those for certain first.
    """
    title = f"Direct identifiers that are left, seed {outcome.seed}"
    rows = [_row(one) for one in (*outcome.sources, outcome.whole)]
    yield table(title, ("source", *_COUNTS), rows, numbers=6)
    if outcome.entity_types:
        rows = [_row(one) for one in outcome.entity_types]
        yield table("By type, in the sample of all", ("type", *_COUNTS), rows, numbers=6)
    if outcome.recapture.num_drawn:
        yield _recapture_table(outcome)
    if num_listed and outcome.survivors:
        yield _places_table(outcome.survivors[:num_listed])
    yield from map(Text, _sentences(outcome))


def _recapture_table(outcome: Outcome) -> Table:
    rows = [
        (kind, f"{drawn:,}", f"{found:,}", f"{found / drawn:.0%}")
        for kind, (found, drawn) in sorted(outcome.recapture.by_type.items())
    ]
    columns = ("type", "stand-ins drawn", "found again", "share")
    return table("What the second look can see", columns, rows, numbers=3)


def _places_table(survivors: Sequence[Survivor]) -> Table:
    rows = [
        (
            one.example_id,
            one.source,
            one.verdict,
            one.entity_type,
            f"{one.message}:{one.start}-{one.end}",
            one.stage,
            one.shape,
        )
        for one in survivors
    ]
    columns = ("example", "source", "", "type", "message:characters", "found by", "shape")
    return table("Where", columns, rows)


def _sentences(outcome: Outcome) -> Iterator[str]:
    whole, again = outcome.whole, outcome.recapture
    yield (
        f"At most {_percent(whole.at_most)} of the examples hold a direct identifier that the "
        f"second look can see; at most {_percent(whole.at_most_with_undecidable)} if all that is "
        "undecidable is one (95 %)."
    )
    by_recapture = outcome.at_most_by_recapture
    if by_recapture is not None:
        yield (
            f"It found {again.num_found:,} of {again.num_drawn:,} stand-ins again, so at least "
            f"{_percent(again.at_least)}. If it finds survivors as often, at most "
            f"{_percent(by_recapture)} hold one, seen or not."
        )
    if outcome.num_without_places:
        yield (
            f"Of {outcome.num_without_places:,} examples nobody kept where their stand-ins are: "
            "what looks like a stand-in in them is undecidable."
        )


def anonymity_lines(found: Anonymity) -> Iterator[RenderableType]:
    """How well subjects hide among one another, as a table and a sentence."""
    whole, k = found.num_subjects, found.k
    if not whole:
        yield Text("No example says whom it is about: name the column as `subject` in a mapping.")
        return
    between = {f"2 to {k - 1}": (2, k)} if k > 2 else {}
    bands = {"alone": (1, 2), **between, f"{k} or more": (k, whole + 1)}
    rows = []
    for name, (least, beyond) in bands.items():
        count = sum(n for size, n in found.class_sizes.items() if least <= size < beyond)
        rows.append((name, f"{count:,}", _percent(count / whole)))
    title = f"{whole:,} subjects of {found.num_examples:,} examples, by how many are alike"
    yield table(title, ("alike", "subjects", "share"), rows, numbers=2)
    left = ", ".join(f"{name} of {n:,}" for name, n in sorted(found.attributes.items()))
    yield Text(
        f"Left as it came: {left or 'nothing'}. {found.num_below:,} subjects are among fewer than "
        f"{k} alike; {len(found.examples_below):,} examples are about them."
    )
    if found.num_unread:
        yield Text(f"{found.num_unread:,} examples could not be read by the detector.")


def second_pass_lines(done: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a second pass did, as a table and a sentence."""
    rows = [
        (name, level, f"{count:,}")
        for name, levels in done["levels"].items()
        for level, count in levels.items()
    ]
    if rows:
        title = f"What is left of {done['num_subjects']:,} subjects, alike to {done['k']} or more"
        yield table(title, ("attribute", "told", "subjects"), rows, numbers=1)
    yield Text(
        f"Rows generalised: {done['num_rows_generalised']:,}. "
        f"Of {done['num_subjects']:,} subjects, {done['num_subjects_held']:,} are alike to fewer "
        f"than {done['k']}; rows held: {done['num_rows_held']:,}."
    )


def outcome_body(outcome: Outcome, num_listed: int = 0) -> dict[str, Any]:
    """The outcome as plain data."""
    return {
        **outcome.to_body(),
        "survivors": [asdict(one) for one in outcome.survivors[:num_listed]],
    }
