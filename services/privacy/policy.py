"""Policy: which identifiers are replaced, how sure a finding must be, and what a text may cost."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ...mixer.errors import Reason, RecollectError

ENTITY_TYPES = frozenset(
    {
        "ACCOUNT_ID",
        "ADDRESS",
        "CREDIT_CARD",
        "CRYPTO",
        "DATE_OF_BIRTH",
        "DATE_TIME",
        "EMAIL_ADDRESS",
        "IBAN_CODE",
        "IP_ADDRESS",
        "KNOWN_VALUE",
        "MAC_ADDRESS",
        "MEDICAL_LICENSE",
        "ORDER_ID",
        "PERSON",
        "PHONE_NUMBER",
        "TRACKING_ID",
        "UK_NHS",
        "URL",
        "USERNAME",
        "US_BANK_NUMBER",
        "US_DRIVER_LICENSE",
        "US_ITIN",
        "US_PASSPORT",
        "US_SSN",
        "UUID",
    }
)

# Dates alone identify nobody and maths is full of them; a tenth of all ten-digit numbers pass the
# checksum of an NHS number.
OFF_BY_DEFAULT = frozenset({"DATE_TIME", "UK_NHS"})


class Policy(BaseModel):
    """A versioned rule set for de-identification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = "2026-1"
    """Written on every example that the policy made."""
    entities: frozenset[str] = ENTITY_TYPES - OFF_BY_DEFAULT
    """Entity types that are replaced."""
    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.4
    """Findings that score lower are ignored."""
    phone_regions: tuple[str, ...] = ("US", "GB", "FR", "IN", "CA", "BR")
    """Countries whose national phone formats are recognised; international ones always are."""
    propagate: bool = True
    """Replace every other occurrence of a detected value in the example as well."""
    max_characters: Annotated[int, Field(ge=1)] = 1_000_000
    """Longest message, in characters; a longer one is refused, never cut."""
    chunk_characters: Annotated[int, Field(ge=1_000)] = 20_000
    """A longer text is analysed in overlapping pieces of this size."""
    chunk_overlap: Annotated[int, Field(ge=100)] = 500
    """Characters that neighbouring pieces share: a finding up to this length is never cut."""
    regex_timeout_seconds: Annotated[float, Field(gt=0.0)] = 5.0
    """A pattern that needs longer on one piece fails the example."""

    @field_validator("entities")
    @classmethod
    def _are_known(cls, entities: frozenset[str]) -> frozenset[str]:
        unknown = sorted(entities - ENTITY_TYPES)
        if unknown:
            raise ValueError(f"unknown entity types: {', '.join(unknown)}")
        return entities

    @field_validator("chunk_overlap")
    @classmethod
    def _fits(cls, overlap: int, info: Any) -> int:
        if overlap * 2 > info.data.get("chunk_characters", overlap * 2):
            raise ValueError("must be at most half of chunk_characters")
        return overlap

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the policy's canonical JSON: equal fingerprint, equal findings."""
        canonical = self.model_copy(update={"entities": sorted(self.entities)})
        text = canonical.model_dump_json(warnings=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Policy:
        """The policy that configuration describes; raises POLICY_INVALID with the field's path."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise RecollectError(
                Reason.POLICY_INVALID,
                first["msg"],
                where=".".join(str(part) for part in ("policy", *first["loc"])),
                fix="See the reference of the policy for its fields.",
            ) from error
