"""Tallies: what a batch has of one source, counted from what arrived."""

from __future__ import annotations

from dataclasses import dataclass

from ..mixer.mix import Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTally:
    """What a batch has of one source."""

    num_rows: int
    num_tokens: int
    """Tokens in those rows, padding left out."""
    num_supervised_tokens: int
    """Those of them that carry loss: never the first of a piece, which nothing predicts."""

    def amount(self, unit: Unit) -> int:
        """What there is, in a unit of shares."""
        match unit:
            case Unit.EXAMPLES:
                return self.num_rows
            case Unit.TOKENS:
                return self.num_tokens
            case Unit.SUPERVISED_TOKENS:
                return self.num_supervised_tokens
