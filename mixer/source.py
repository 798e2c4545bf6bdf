"""Sources: what the store holds of one at a moment, and what of it a plan has sealed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .example import Purpose, Role
from .mix import OnExhaustion


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSnapshot:
    """What the store holds of a source at one moment."""

    name: str
    role: Role
    purpose: Purpose
    num_examples: int
    content_digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedSource:
    """A source inside a plan."""

    name: str
    role: Role
    share: Fraction
    """Its share at the first step."""
    num_examples: int
    num_rows: int
    """Rows of one pass: examples, or packs of them."""
    content_digest: str
    measures_digest: str
    """Of the lengths that the plan depends on; empty if it depends on none."""
    on_exhaustion: OnExhaustion
    max_epochs: int | None

    @property
    def limit(self) -> int | None:
        """Most rows that it may serve, or None if there is no limit."""
        if self.max_epochs is None and self.on_exhaustion is OnExhaustion.REPEAT:
            return None
        return self.num_rows * (self.max_epochs or 1)
