"""Surrogates: realistic stand-ins for identifiers, chosen by a keyed digest of the value.

HMAC-SHA256 over the key, the entity type and the normalised value seeds the choice: the same value
always gets the same stand-in, and without the key nothing leads back. Where a range is reserved for
documentation or fiction the stand-in comes from it, so that it reaches nobody.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection

import regex

from ...mixer.errors import Reason, RecollectError
from .draw import Draw
from .standins import MAKERS, make_code

_MAX_TRIES = 64

# A code is the same code under whichever label it was found.
_SAME_KIND = {
    "ORDER_ID": "CODE",
    "ACCOUNT_ID": "CODE",
    "TRACKING_ID": "CODE",
    "US_BANK_NUMBER": "CODE",
    "US_DRIVER_LICENSE": "CODE",
    "US_PASSPORT": "CODE",
    "UK_NHS": "CODE",
    "SECRET": "CODE",
    "VEHICLE_PLATE": "CODE",
    "MEDICAL_LICENSE": "CODE",
    "US_ITIN": "US_SSN",
    "DATE_TIME": "DATE",
}


def normalise(value: str) -> str:
    """The form under which two spellings of a value count as one: case and spacing are ignored."""
    return " ".join(value.lower().split())


class Surrogates:
    """Chooses stand-ins with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def stand_in(
        self, entity_type: str, value: str, avoid: Collection[str] = (), subject: str = ""
    ) -> str:
        """The stand-in for a value; it contains neither the value nor one of `avoid`.

        Where no stand-in can be told from the value ("Flat"), its type in brackets stands in.

        Args:
            entity_type: what the value is.
            value: the identifier as the text has it.
            avoid: lower-cased values of the same example that must not come back by chance; a
                set, where there are many.
            subject: whose value it is; dates and ages of one subject are moved alike.
        """
        kind = kind_of(entity_type, value)
        maker: Callable[[str, Draw], str] = MAKERS.get(kind, make_code)
        for attempt in range(_MAX_TRIES):
            candidate = maker(value, Draw(self._key, kind, attempt, subject))
            lowered = candidate.lower()
            if candidate and not _holds_any(lowered, value.lower(), avoid):
                return candidate
        tag = f"[{entity_type}]"
        if _holds_any(tag.lower(), value.lower(), avoid):
            raise RecollectError(
                Reason.DEIDENTIFICATION_FAILED,
                f"No stand-in of type {entity_type} could be found.",
                fix="The example stays quarantined.",
            )
        return tag

    def pseudonym(self, subject: str) -> str:
        """32 hex digits that stand for a subject; equal subjects, equal pseudonyms."""
        message = b"subject\x00" + normalise(subject).encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


def _holds_any(candidate: str, value: str, avoid: Collection[str]) -> bool:
    """Whether the value or one of those to avoid comes back in a candidate."""
    if _comes_back(value, candidate):
        return True
    length = len(candidate)
    if length * length > len(avoid):
        return any(_comes_back(text, candidate) for text in avoid)
    # Of many values only those that are a part of the candidate can come back in it.
    parts = {candidate[i:j] for i in range(length) for j in range(i + 1, length + 1)}
    return any(_comes_back(part, candidate) for part in parts if part in avoid)


def _comes_back(value: str, candidate: str) -> bool:
    # A short word of another value may well be part of a longer one by chance ("al" in "Alder").
    if len(value) < 4:
        return value in regex.findall(r"\w+", candidate) or value == candidate
    start = candidate.find(value)
    while start >= 0:
        # "1 May 2000" is not in "21 May 2000".
        before, after = candidate[start - 1 : start], candidate[start + len(value) :][:1]
        if not (value[0].isdigit() and before.isdigit()) and not (
            value[-1].isdigit() and after.isdigit()
        ):
            return True
        start = candidate.find(value, start + 1)
    return False


def kind_of(entity_type: str, value: str) -> str:
    """The maker's name for a finding; a known value is judged by its looks."""
    if entity_type != "KNOWN_VALUE":
        return _SAME_KIND.get(entity_type, entity_type)
    if "@" in value[1:]:
        return "EMAIL_ADDRESS"
    digits = sum(character.isdigit() for character in value)
    if not digits:
        return "PERSON"
    if value[:1] in "+(" and digits >= 7:
        return "PHONE_NUMBER"
    return "ADDRESS" if len(value.split()) >= 3 and digits < len(value) // 2 else "CODE"
