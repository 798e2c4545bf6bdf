"""Recall of mentions and of entities, precision of characters, each with its exact bounds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import beta

from ..finding import Finding
from .formats import LabelledSpan, LabelledText


@dataclass(frozen=True, slots=True)
class Rate:
    """A share, and where it lies with 95 % confidence (Clopper and Pearson 1934)."""

    num_hits: int
    num_all: int

    @property
    def value(self) -> float:
        """Hits of all; not a number where there are none."""
        return self.num_hits / self.num_all if self.num_all else float("nan")

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        k, n = self.num_hits, self.num_all
        return float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        k, n = self.num_hits, self.num_all
        return float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0

    def at_most(self, confidence: float) -> float:
        """Upper end of the one-sided interval."""
        k, n = self.num_hits, self.num_all
        return float(beta.ppf(confidence, k + 1, n - k)) if k < n else 1.0

    def at_least(self, confidence: float) -> float:
        """Lower end of the one-sided interval."""
        k, n = self.num_hits, self.num_all
        return float(beta.ppf(1 - confidence, k, n - k + 1)) if k else 0.0

    def to_json(self) -> dict[str, float | int | None]:
        """Value, bounds and count as plain data; no value where there is nothing to count."""
        value = self.value if self.num_all else None
        return {"value": value, "low": self.low, "high": self.high, "of": self.num_all}


@dataclass(kw_only=True)
class Measured:
    """What was found of what is labelled."""

    mentions: dict[str, Rate]
    """Mentions found in full, by type."""
    entities: dict[str, Rate]
    """Entities of which every mention was found in full, by type."""
    direct: Rate
    """Entities that identify by themselves."""
    quasi: Rate
    """Entities that identify together."""
    precision: Rate
    """Letters and digits that are masked: those that a label covers, of all."""
    over_masked: Rate
    """Letters and digits outside of every label: those that are masked, of all."""
    recall: Rate
    """Mentions found in full, of whichever type."""
    missed: list[tuple[str, str, str]] = field(default_factory=list)
    """(text id, type, mention) of those that survive."""
    surplus: list[tuple[str, str, str]] = field(default_factory=list)
    """(text id, type, characters) of findings that no label touches."""

    def to_json(self) -> dict[str, Any]:
        """Every rate as plain data; no text."""
        return {
            "direct": self.direct.to_json(),
            "quasi": self.quasi.to_json(),
            "recall": self.recall.to_json(),
            "precision": self.precision.to_json(),
            "over_masked": self.over_masked.to_json(),
            "mentions": {kind: rate.to_json() for kind, rate in self.mentions.items()},
            "entities": {kind: rate.to_json() for kind, rate in self.entities.items()},
        }


def measure(texts: Iterable[LabelledText], find: Callable[[str], Sequence[Finding]]) -> Measured:
    """Compares findings with labels, character by character, of letters and digits alone.

    A mention counts if every letter and digit of it is in a finding, of whichever type; an entity
    if all its mentions do (Pilán et al. 2022, section 4).
    """
    mentions: dict[str, Counter[bool]] = defaultdict(Counter)
    entities: dict[tuple[str, str], bool] = {}
    types: dict[tuple[str, str], LabelledSpan] = {}
    true = masked = over = clean = 0
    missed: list[tuple[str, str, str]] = []
    surplus: list[tuple[str, str, str]] = []
    for number, labelled in enumerate(texts):
        text = labelled.text
        findings = find(text)
        covered = {i for f in findings for i in range(f.start, f.end) if text[i].isalnum()}
        gold = {i for s in labelled.spans for i in range(s.start, s.end) if text[i].isalnum()}
        for place, span in enumerate(labelled.spans):
            if span.identifier == "none":
                continue
            found = all(i in covered for i in range(span.start, span.end) if text[i].isalnum())
            mentions[span.entity_type][found] += 1
            key = (str(number), span.entity_id or f"#{place}")
            entities[key] = entities.get(key, True) and found
            types.setdefault(key, span)
            if not found:
                missed.append((labelled.text_id, span.entity_type, text[span.start : span.end]))
        for finding in findings:
            if not any(i in gold for i in range(finding.start, finding.end)):
                value = text[finding.start : finding.end]
                surplus.append((labelled.text_id, finding.entity_type, value))
        true += len(covered & gold)
        masked += len(covered)
        over += len(covered - gold)
        clean += sum(map(str.isalnum, text)) - len(gold)
    by_type: dict[str, Counter[bool]] = defaultdict(Counter)
    by_identifier: dict[str, Counter[bool]] = defaultdict(Counter)
    for key, found in entities.items():
        by_type[types[key].entity_type][found] += 1
        by_identifier[types[key].identifier][found] += 1
    every = sum(mentions.values(), Counter())
    return Measured(
        mentions={kind: _rate(counts) for kind, counts in sorted(mentions.items())},
        entities={kind: _rate(counts) for kind, counts in sorted(by_type.items())},
        direct=_rate(by_identifier["direct"]),
        quasi=_rate(by_identifier["quasi"]),
        precision=Rate(true, masked),
        over_masked=Rate(over, clean),
        recall=_rate(every),
        missed=missed,
        surplus=surplus,
    )


def _rate(counts: Counter[bool]) -> Rate:
    return Rate(counts[True], counts[True] + counts[False])
