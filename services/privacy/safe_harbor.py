"""The 18 classes of the Safe Harbor method, 45 CFR 164.514(b)(2)(i), and their entity types."""

from __future__ import annotations

from dataclasses import dataclass

POLICY_NAME = "hipaa-safe-harbor"


@dataclass(frozen=True, kw_only=True, slots=True)
class SafeHarborClass:
    """A class of identifiers that the rule names."""

    letter: str
    words: str
    entity_types: tuple[str, ...] = ()
    """Entity types that hold it; of classes without a type of their own, those that hold what is
    spelled like them."""
    note: str = ""


def _class(letter: str, words: str, *entity_types: str, note: str = "") -> SafeHarborClass:
    return SafeHarborClass(letter=letter, words=words, entity_types=entity_types, note=note)


SAFE_HARBOR = (
    _class("A", "names", "PERSON", "USERNAME", "KNOWN_VALUE"),
    _class("B", "geographic subdivisions smaller than a state", "ADDRESS", "LOCATION"),
    _class(
        *("C", "dates but the year; ages over 89", "DATE_TIME", "DATE_OF_BIRTH", "AGE"),
        note="a date's year stays; an age becomes a band of ten years, 90+ from 90 on",
    ),
    _class("D", "telephone numbers", "PHONE_NUMBER"),
    _class("E", "fax numbers", "PHONE_NUMBER"),
    _class("F", "e-mail addresses", "EMAIL_ADDRESS"),
    _class("G", "social security numbers", "US_SSN", "US_ITIN", "NATIONAL_ID"),
    _class("H", "medical record numbers", "CODE"),
    _class("I", "health plan beneficiary numbers", "UK_NHS", "NATIONAL_ID", "CODE"),
    _class(
        "J",
        "account numbers",
        *("ACCOUNT_ID", "CREDIT_CARD", "CRYPTO"),
        "IBAN_CODE",
        "US_BANK_NUMBER",
    ),
    _class(
        "K",
        "certificate and licence numbers",
        *("MEDICAL_LICENSE", "US_DRIVER_LICENSE"),
        "US_PASSPORT",
    ),
    _class("L", "vehicle identifiers and plates", "VEHICLE_PLATE"),
    _class("M", "device identifiers and serial numbers", "MAC_ADDRESS", "CODE"),
    _class("N", "web addresses", "URL"),
    _class("O", "IP addresses", "IP_ADDRESS"),
    _class("P", "biometric identifiers", note="no text: nothing is looked for"),
    _class("Q", "full-face photographs", note="no text: nothing is looked for"),
    _class(
        "R",
        "any other unique number, characteristic or code",
        *("ORDER_ID", "TRACKING_ID", "UUID", "SECRET"),
        "ORGANIZATION",
        "CODE",
    ),
)
"""In the order of the rule."""
