"""Measures a policy on labelled text, whole, by stage and under perturbations, and tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from ..mixer.errors import Reason, RecollectError
from .commands.terminal import counted, table
from .deid_page import measured_page, write_html
from .privacy import Deidentifier
from .privacy.evaluation import (
    PERTURBATIONS,
    LabelledText,
    Measured,
    Rate,
    measure,
    perturbed,
    read_labelled,
)
from .privacy.finding import Finding
from .privacy.policy import Policy, load_policy

STAGES = ("tagger", "pattern", "quasi", "document")
_ANY_KEY = bytes(32)
"""What is found does not depend on the key."""


def stages_of(policy: Policy) -> tuple[str, ...]:
    """Stages of the cascade that can be left out under a policy."""
    return STAGES if policy.verifier is None else (*STAGES, "verifier")


@dataclass(kw_only=True)
class Report:
    """What was measured."""

    policy: Policy
    num_texts: int
    num_characters: int
    plain: Measured
    without: dict[str, Measured] = field(default_factory=dict)
    """With a stage of the cascade left out."""
    perturbed: dict[str, Measured] = field(default_factory=dict)
    num_refused: int = 0
    """Texts that would be quarantined: they count as covered, since nothing of them is kept."""


def _asking_for(types: tuple[str, ...], labelled: LabelledText) -> LabelledText:
    """The text with all its labels, of which only those of the types are asked for."""
    spans = (
        span if span.entity_type in types else replace(span, identifier="none")
        for span in labelled.spans
    )
    return replace(labelled, spans=tuple(spans))


def evaluated(
    path: Path,
    policy_name: str,
    *,
    perturb: bool = False,
    stages: bool = False,
    only: tuple[str, ...] = (),
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """The report on a file of labelled text.

    Raises:
        RecollectError: INPUT_NOT_FOUND, INPUT_MALFORMED, POLICY_INVALID.
    """
    policy = load_policy(policy_name)
    texts = read_labelled(path)
    if only:
        texts = [_asking_for(only, labelled) for labelled in texts]
        known = {span.entity_type for labelled in texts for span in labelled.spans}
        if unknown := sorted(set(only) - known):
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"no label has the type {', '.join(unknown)}",
                where=str(path),
                fix=f"Its labels have {', '.join(sorted(known)) or 'none'}.",
            )
    deidentifier = Deidentifier(policy, _ANY_KEY)
    deidentifier.prove()
    left_out = stages_of(policy) if stages else ()
    runs = 1 + (len(PERTURBATIONS) if perturb else 0) + len(left_out)
    progress = [0]
    refused = [0]

    def found(text: str, by: Deidentifier = deidentifier) -> list[Finding]:
        progress[0] += 1
        tell(progress[0], runs * len(texts))
        try:
            return by.find(text)
        except RecollectError:
            refused[0] += 1
            return [Finding(entity_type="REFUSED", start=0, end=len(text), score=1.0)]

    kept = [(labelled, found(labelled.text)) for labelled in texts]
    report = Report(
        policy=policy,
        num_texts=len(texts),
        num_characters=sum(len(t.text) for t in texts),
        plain=_measured(kept),
        num_refused=refused[0],
    )
    for stage in left_out:
        lesser = Deidentifier(policy, _ANY_KEY, frozenset({stage}))
        report.without[stage] = _measured([(t, found(t.text, lesser)) for t in texts])
    if perturb:
        for name in PERTURBATIONS:
            changed = perturbed(texts, name)
            report.perturbed[name] = _measured([(t, found(t.text)) for t in changed])
    return report


def _measured(kept: Sequence[tuple[LabelledText, list[Finding]]]) -> Measured:
    findings = iter([found for _, found in kept])
    return measure([labelled for labelled, _ in kept], lambda _: next(findings))


def _rate(rate: Rate) -> str:
    return f"{rate.value:.3f}" if rate.num_all else "–"


def _bounds(rate: Rate) -> str:
    return f"{rate.low:.3f} to {rate.high:.3f}" if rate.num_all else "–"


def report_tables(report: Report) -> Iterator[Table]:
    """The report as tables for a terminal."""
    plain, policy = report.plain, report.policy
    overall = (
        ("direct identifiers, entities", plain.direct),
        ("quasi-identifiers, entities", plain.quasi),
        ("mentions", plain.recall),
        ("character precision", plain.precision),
        ("over-masked characters", plain.over_masked),
    )
    refused = f", {report.num_refused:,} refused" if report.num_refused else ""
    title = (
        f"{counted(report.num_texts, 'text')}, {report.num_characters:,} characters{refused}; "
        f"policy {policy.name} {policy.version}"
    )
    rows = [(name, f"{r.num_all:,}", _rate(r), _bounds(r)) for name, r in overall]
    yield table(title, ("what", "of", "share", "95 % bounds"), rows, numbers=3)
    by_type = [
        (kind, f"{r.num_all:,}", _rate(r), _bounds(r), _rate(plain.entities[kind]))
        for kind, r in plain.mentions.items()
    ]
    columns = ("type", "mentions", "recall", "95 % bounds", "entity recall")
    yield table("By type", columns, by_type, numbers=4)
    others = [(f"without {stage}", m) for stage, m in report.without.items()]
    others += [(name, m) for name, m in report.perturbed.items()]
    if others:
        headings = ("", "mention recall", "change", "direct", "quasi", "precision")
        changes = [
            (
                name,
                _rate(m.recall),
                f"{100 * (m.recall.value - plain.recall.value):+.1f}",
                _rate(m.direct),
                _rate(m.quasi),
                _rate(m.precision),
            )
            for name, m in others
        ]
        yield table("Stages left out, and perturbations", headings, changes, numbers=5)


def write_page(report: Report, path: Path) -> None:
    """The report as a page of its own, without what is missed.

    Raises:
        RecollectError: STORAGE_FULL, STORAGE_FAILED.
    """
    plain = report.plain
    page = measured_page("de-identification, measured", plain.direct, plain.recall, plain.mentions)
    write_html(page, report_tables(report), path)


def report_body(report: Report, misses: int = 0) -> dict[str, Any]:
    """The report as plain data."""
    policy = report.policy
    return {
        "policy": {
            "name": policy.name,
            "version": policy.version,
            "fingerprint": policy.fingerprint,
        },
        "num_texts": report.num_texts,
        "num_characters": report.num_characters,
        "num_refused": report.num_refused,
        **report.plain.to_json(),
        "without": {name: m.to_json() for name, m in report.without.items()},
        "perturbed": {name: m.to_json() for name, m in report.perturbed.items()},
        "missed": [list(one) for one in report.plain.missed[:misses]],
    }
