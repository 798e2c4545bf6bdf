"""What of a subject is left in a text: what the detector finds beside stand-ins and tags."""

from __future__ import annotations

from collections.abc import Sequence

from ..deidentifier import Deidentifier
from ..finding import Finding
from ..policy import Policy
from .options import ATTRIBUTES

_ANY_KEY = bytes(32)
"""What is found does not depend on the key."""


class RemainsFinder:
    """Finds ages, dates, places and what people are."""

    def __init__(self) -> None:
        # A trade counts only in a text that is about somebody, so persons are looked for as well.
        policy = Policy.from_mapping({"entities": [*ATTRIBUTES, "PERSON"]})
        self._detector = Deidentifier(policy, _ANY_KEY)

    def find(self, text: str, taken: Sequence[tuple[int, int]]) -> list[Finding]:
        """Findings of attributes that touch none of the places that are taken.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED.
        """
        return [
            found
            for found in self._detector.find(text)
            if found.entity_type in ATTRIBUTES
            and not any(start < found.end and found.start < end for start, end in taken)
        ]
