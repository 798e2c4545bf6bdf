"""What a policy says of k-anonymity."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

ATTRIBUTES: Mapping[str, str] = {
    "AGE": "age",
    "DATE_OF_BIRTH": "birth",
    "DATE_TIME": "date",
    "DEMOGRAPHIC": "demographic",
    "LOCATION": "place",
}
"""Entity type → what it is of a subject."""
NAMES = tuple(sorted(ATTRIBUTES.values()))
"""The attributes, in the order of profiles and levels."""


class Below(StrEnum):
    """What becomes of somebody who is alike to too few."""

    GENERALISE = "generalise"
    """What is left of them is told less exactly; held if even that is not enough."""
    HOLD = "hold"
    """Their rows are held."""


class KAnonymity(BaseModel):
    """How many subjects must be alike in what is left of them, for their rows to be served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: Annotated[int, Field(ge=2, le=1_000_000)] = 5
    """Least number of subjects, not of rows, who are alike."""
    attributes: tuple[str, ...] = NAMES
    """What of a subject counts: age, birth, date, demographic (trade, origin, faith, illness),
    place."""
    below: Below = Below.GENERALISE
    """What becomes of subjects who are alike to fewer."""

    @field_validator("attributes")
    @classmethod
    def _are_known(cls, attributes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(attributes) - set(NAMES))
        if unknown:
            raise ValueError(f"unknown attributes: {', '.join(unknown)}")
        return tuple(sorted(set(attributes)))
