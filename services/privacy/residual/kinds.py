"""What the audit looks for, and what may look for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..finding import Finding
from ..policy import ENTITY_TYPES

QUASI = frozenset(
    {
        "AGE",
        "DATE_OF_BIRTH",
        "DATE_TIME",
        "DEMOGRAPHIC",
        "DURATION",
        "LOCATION",
        "ORGANIZATION",
        "QUANTITY",
    }
)
"""What identifies only together with other things."""
DIRECT = ENTITY_TYPES - QUASI
"""What identifies by itself, or through somebody's register."""


class Finder(Protocol):
    """Whatever finds identifiers in texts: the second detector, or a model of somebody's."""

    @property
    def name(self) -> str:
        """What it is, with versions: equal name, equal findings."""
        ...

    def find(self, texts: Sequence[str]) -> Sequence[Sequence[Finding]]:
        """Findings of each text, in any order; offsets are those of the text.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED where it cannot be sure.
        """
        ...
