"""Outcome: what an audit of residual identifiers found, with bounds that hold 95 times in 100.

The bounds are Clopper and Pearson's, one-sided. They hold for any sample drawn at random without
repetition: what is drawn from a finite store varies less than the binomial that they assume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..evaluation.measure import Rate

CONFIDENCE = 0.95
_EACH_OF_TWO = (1 + CONFIDENCE) / 2
"""Confidence of each of two bounds that hold together with `CONFIDENCE` (Bonferroni)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """Examples of a source, of the whole store, or with survivors of one type."""

    name: str
    num_examples: int
    """Examples that there are."""
    num_sampled: int
    """Examples that were looked at."""
    num_surviving: int
    """Those of them with an identifier that survived for certain."""
    num_undecidable: int
    """Those of the others with a finding that may be a stand-in or not."""

    @property
    def at_most(self) -> float:
        """Largest share of examples with a survivor that agrees with what was seen."""
        return self._bound(self.num_surviving, CONFIDENCE)

    @property
    def at_most_with_undecidable(self) -> float:
        """The same, should all that is undecidable have survived."""
        return self._bound(self.num_surviving + self.num_undecidable, CONFIDENCE)

    def _bound(self, num_hits: int, confidence: float) -> float:
        if self.num_sampled == self.num_examples:
            return num_hits / self.num_sampled if self.num_sampled else 0.0
        return Rate(num_hits, self.num_sampled).at_most(confidence)

    def to_json(self) -> dict[str, Any]:
        """Counts and bounds as plain data."""
        return {
            "name": self.name,
            "num_examples": self.num_examples,
            "num_sampled": self.num_sampled,
            "num_surviving": self.num_surviving,
            "num_undecidable": self.num_undecidable,
            "at_most": self.at_most,
            "at_most_with_undecidable": self.at_most_with_undecidable,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Recapture:
    """How well the second detector finds identifiers in this very text: of stand-ins, it is known.

    One stand-in of a direct identifier is drawn in each example, so that the trials are independent
    however often a name is repeated.
    """

    num_drawn: int
    num_found: int
    by_type: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Entity type → (found, drawn)."""

    @property
    def at_least(self) -> float:
        """Smallest recall that agrees with what was seen."""
        return Rate(self.num_found, self.num_drawn).at_least(_EACH_OF_TWO)

    def to_json(self) -> dict[str, Any]:
        """Counts and bound as plain data."""
        return {
            "num_drawn": self.num_drawn,
            "num_found": self.num_found,
            "at_least": self.at_least,
            "by_type": {
                kind: {"num_drawn": drawn, "num_found": found}
                for kind, (found, drawn) in sorted(self.by_type.items())
            },
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Survivor:
    """An identifier that is, or may be, left in an example: where, of what kind and shape."""

    example_id: str
    source: str
    verdict: str
    entity_type: str
    message: int
    start: int
    end: int
    stage: str
    shape: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an audit found."""

    snapshot_id: str
    """What the store held."""
    seed: int
    detectors: tuple[str, ...]
    """What looked, with versions."""
    whole: Stratum
    sources: tuple[Stratum, ...]
    entity_types: tuple[Stratum, ...]
    """Of the sample of the whole; each with bounds of its own."""
    recapture: Recapture
    num_without_places: int
    """Examples looked at of which nobody kept where their stand-ins are."""
    survivors: tuple[Survivor, ...] = ()

    @property
    def at_most_by_recapture(self) -> float | None:
        """The bound on the whole, undecidable included, over the recall of the second detector.

        Holds if survivors are found as often as stand-ins. None where no stand-in was drawn.
        """
        if not self.recapture.num_drawn or not self.recapture.at_least:
            return None
        whole = self.whole
        hits = whole.num_surviving + whole.num_undecidable
        bound = Rate(hits, whole.num_sampled).at_most(_EACH_OF_TWO) if whole.num_sampled else 0.0
        return min(1.0, bound / self.recapture.at_least)

    def to_body(self) -> dict[str, Any]:
        """Counts, bounds and what they depend on as plain data: nothing of any example."""
        return {
            "snapshot_id": self.snapshot_id,
            "seed": self.seed,
            "confidence": CONFIDENCE,
            "detectors": list(self.detectors),
            "whole": self.whole.to_json(),
            "sources": [one.to_json() for one in self.sources],
            "entity_types": [one.to_json() for one in self.entity_types],
            "recapture": self.recapture.to_json(),
            "at_most_by_recapture": self.at_most_by_recapture,
            "num_without_places": self.num_without_places,
        }
