"""Policy: which identifiers are replaced, how sure a finding must be, and what a text may cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ...mixer.errors import Reason, RecollectError
from .anonymity.options import KAnonymity
from .verifier.options import VerifierOptions

ENTITY_TYPES = frozenset(
    {
        "ACCOUNT_ID",
        "ADDRESS",
        "AGE",
        "CODE",
        "CREDIT_CARD",
        "CRYPTO",
        "DATE_OF_BIRTH",
        "DATE_TIME",
        "DEMOGRAPHIC",
        "DURATION",
        "EMAIL_ADDRESS",
        "IBAN_CODE",
        "IP_ADDRESS",
        "KNOWN_VALUE",
        "LOCATION",
        "MAC_ADDRESS",
        "MEDICAL_LICENSE",
        "NATIONAL_ID",
        "ORDER_ID",
        "ORGANIZATION",
        "PERSON",
        "PHONE_NUMBER",
        "QUANTITY",
        "SECRET",
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
        "VEHICLE_PLATE",
    }
)

# Dates, places and sums alone identify nobody and lessons are full of them; a tenth of all
# ten-digit numbers pass the checksum of an NHS number.
OFF_BY_DEFAULT = frozenset(
    {
        "AGE",
        "CODE",
        "DATE_TIME",
        "DEMOGRAPHIC",
        "DURATION",
        "LOCATION",
        "ORGANIZATION",
        "QUANTITY",
        "UK_NHS",
    }
)
ANY_TYPE = "*"
_TEXT_SECONDS = 30.0


class Operator(StrEnum):
    """What becomes of a finding."""

    SURROGATE = "surrogate"
    """A realistic stand-in, the same for the same value under the same key."""
    TAG = "tag"
    """Its type in brackets: [PERSON]."""
    MASK = "mask"
    """An asterisk for each letter and digit."""
    DROP = "drop"
    """Nothing."""
    GENERALISE = "generalise"
    """A date's year, an age's band of ten years (90+ from 90 on); a tag for whatever else."""


class Policy(BaseModel):
    """A versioned rule set for de-identification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "conversations"
    """What it is called; the shipped ones are listed by `recollect deid policies`."""
    version: str = "2026-4"
    """Written on every example that the policy made."""
    entities: frozenset[str] = ENTITY_TYPES - OFF_BY_DEFAULT
    """Entity types that are replaced."""
    operators: Mapping[str, Operator] = {}
    """What becomes of a finding, by entity type; `*` for every type that is not named. Surrogates,
    if nothing is said."""
    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.4
    """Findings of patterns that score lower are ignored."""
    tagger_threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.35
    """Least probability, by the tagger, that a word is somebody's: lower finds and hides more."""
    caseless_threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """The same in lines in small letters or in capitals, which tell the tagger less; it counts
    where it is the lower one."""
    person_threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Least probability, by the tagger, that a word is of a person's name: enough by itself."""
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
    regex_timeout_seconds: Annotated[float, Field(ge=0.001)] = 5.0
    """A pattern that needs longer on one piece fails the example; counted as processor time of the
    whole process, so that a busy one has less."""
    text_timeout_seconds: Annotated[float, Field(ge=0.01)] = _TEXT_SECONDS
    """A text that needs longer in all fails the example; one of more than 100,000 characters has as
    long for each 100,000 that it begins. What a verifier takes is not counted."""
    verifier: VerifierOptions | None = None
    """A model of your own that reads after the other stages, and only adds."""
    k_anonymity: KAnonymity | None = None
    """How many subjects must be alike in what is left of them; for files, with `deid apply`."""

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, values: Any) -> Any:
        """`entities: all` as all of them, and `except` taken away from whatever they are."""
        if not isinstance(values, Mapping):
            return values
        given = dict(values)
        without = given.pop("except", ())
        if given.get("entities") == "all":
            given["entities"] = ENTITY_TYPES
        if without:
            kept = given.get("entities", ENTITY_TYPES - OFF_BY_DEFAULT)
            given["entities"] = _types(kept, "entities") - _types(without, "except")
        return given

    @field_validator("entities")
    @classmethod
    def _are_known(cls, entities: frozenset[str]) -> frozenset[str]:
        unknown = sorted(entities - ENTITY_TYPES)
        if unknown:
            raise ValueError(f"unknown entity types: {', '.join(unknown)}")
        return entities

    @field_validator("operators")
    @classmethod
    def _have_types(cls, operators: Mapping[str, Operator]) -> Mapping[str, Operator]:
        unknown = sorted(operators.keys() - ENTITY_TYPES - {ANY_TYPE})
        if unknown:
            raise ValueError(f"unknown entity types: {', '.join(unknown)}")
        return operators

    @field_validator("verifier")
    @classmethod
    def _labels_have_types(cls, verifier: VerifierOptions | None) -> VerifierOptions | None:
        named = set(verifier.labels.values()) - {None} if verifier else set()
        unknown = sorted(str(kind) for kind in named - ENTITY_TYPES)
        if unknown:
            raise ValueError(f"unknown entity types: {', '.join(unknown)}")
        return verifier

    @field_validator("chunk_overlap")
    @classmethod
    def _fits(cls, overlap: int, info: Any) -> int:
        if overlap * 2 > info.data.get("chunk_characters", overlap * 2):
            raise ValueError("must be at most half of chunk_characters")
        return overlap

    def operator(self, entity_type: str) -> Operator:
        """What becomes of a finding of the type."""
        named = self.operators.get(entity_type, self.operators.get(ANY_TYPE))
        return named or Operator.SURROGATE

    def with_k(self, k: int) -> Policy:
        """The policy with another k; what else it says of k-anonymity stays."""
        rule = self.k_anonymity or KAnonymity()
        return self.model_copy(update={"k_anonymity": rule.model_copy(update={"k": k})})

    @property
    def alone(self) -> Policy:
        """The policy without what can only be decided over many records."""
        return self.model_copy(update={"k_anonymity": None})

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the policy's canonical JSON: equal fingerprint, equal findings."""
        values = self.model_dump(mode="json")
        values["entities"] = sorted(values["entities"])
        if self.verifier is None:
            # As it was before there were verifiers.
            del values["verifier"]
        if self.k_anonymity is None:
            del values["k_anonymity"]
        if self.text_timeout_seconds == _TEXT_SECONDS:
            # As it was before texts had a time-out.
            del values["text_timeout_seconds"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Policy:
        """The policy that a mapping describes.

        Raises:
            RecollectError: POLICY_INVALID with the field's path.
        """
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


def _types(values: Any, field: str) -> frozenset[str]:
    if isinstance(values, str) or not isinstance(values, Collection):
        raise ValueError(f"{field} must be a list of entity types")
    return frozenset(map(str, values))


_SHIPPED = files(__package__) / "policies"


def shipped_policies() -> list[Policy]:
    """The policies of the package, by name."""
    names = sorted(p.name for p in _SHIPPED.iterdir() if p.name.endswith(".yaml"))
    return [load_policy(name.removesuffix(".yaml")) for name in names]


def load_policy(name: str) -> Policy:
    """A shipped policy by its name, or one of a YAML file by its path.

    Raises:
        RecollectError: POLICY_INVALID where there is none, or the field that is wrong.
    """
    shipped = _SHIPPED / f"{name}.yaml"
    path = Path(name)
    try:
        if "/" not in name and shipped.is_file():
            text = shipped.read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecollectError(
            Reason.POLICY_INVALID,
            f"the policy cannot be read ({type(error).__name__})",
            where=name,
            fix="Name a file, or one of those that `recollect deid policies` lists.",
        ) from None
    if not isinstance(values, dict):
        raise RecollectError(
            Reason.POLICY_INVALID,
            "the policy is no mapping of fields",
            where=name,
            fix="Begin with `entities: all`; see the reference of the policy.",
        )
    return Policy.from_mapping(values)
