"""The report of a reading: what came through, was repaired or rejected, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from ...mixer.errors import Reason
from ...mixer.example import Pointer

NUM_POINTERS = 5
"""How many pointers are kept for each kind of rejection; the count goes on."""


class Repair(StrEnum):
    """What was changed in a dialogue that is otherwise usable."""

    TURNS_MERGED = "turns of one speaker in a row merged"
    EMPTY_TURN_DROPPED = "empty turn dropped"
    SPEAKER_DROPPED = "turn of a dropped speaker removed"
    PART_DROPPED = "message part that is not text dropped"


class Unusable(StrEnum):
    """Why a well-formed row makes no example."""

    NO_ASSISTANT = "no assistant turn"
    EMPTY = "no text"


@dataclass(slots=True)
class Rejection:
    """How many rows were rejected for one reason, and the first of them."""

    num_rows: int = 0
    first: list[Pointer] = field(default_factory=list)


@dataclass(slots=True)
class IntakeReport:
    """Counts of one reading, or of several that share the report."""

    num_rows: int = 0
    num_examples: int = 0
    repairs: Counter[Repair] = field(default_factory=Counter)
    """How often each repair was made."""
    absent: Counter[str] = field(default_factory=Counter)
    """Rows without an identifying column of the mapping, by column."""
    rejected: dict[Reason | Unusable, Rejection] = field(default_factory=dict)

    @property
    def num_rejected(self) -> int:
        """Rows that made no example."""
        return sum(rejection.num_rows for rejection in self.rejected.values())

    def reject(self, reason: Reason | Unusable, pointer: Pointer) -> None:
        """Count a row that made no example."""
        rejection = self.rejected.setdefault(reason, Rejection())
        rejection.num_rows += 1
        if len(rejection.first) < NUM_POINTERS:
            rejection.first.append(pointer)

    def to_lines(self) -> list[str]:
        """The report for a terminal, one fact a line; it holds no example text."""
        lines = [f"{self.num_rows} rows read, {self.num_examples} examples"]
        lines += [
            f"repaired: {kind.value}: {count}" for kind, count in sorted(self.repairs.items())
        ]
        for reason, rejection in self.rejected.items():
            name = reason.name if isinstance(reason, Reason) else reason.value
            places = ", ".join(str(pointer) for pointer in rejection.first)
            lines.append(f"rejected: {name}: {rejection.num_rows} (first: {places})")
        return lines
