"""Lookalikes: what a maker of stand-ins could have made, where nobody kept what it did make.

Reserved ranges and invented names tell much; a code, an address or an account keeps the shape of
what it stands for, so that none of them can be told from a stand-in.
"""

from __future__ import annotations

from collections.abc import Callable

import regex

from ..draw import is_invented
from ..gazetteer import HONORIFICS, PARTICLES

_WORD = regex.compile(r"[\p{L}\p{M}]+")
_TAG_OR_MASK = regex.compile(r"\[?[A-Z]+(?:_[A-Z]+)+\]?|\[[A-Z]+\]|[*\s\p{P}]*\*[*\s\p{P}]*")
_DOCUMENTATION = ("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:", "3fff:")


def _digits(value: str) -> str:
    return "".join(filter(str.isdecimal, value))


def _is_invented_name(value: str) -> bool:
    words = [word.lower() for word in _WORD.findall(value)]
    named = [w for w in words if len(w) > 1 and w not in HONORIFICS | PARTICLES]
    return all(map(is_invented, named))


_CHECKS: dict[str, Callable[[str], bool]] = {
    "CREDIT_CARD": lambda value: _digits(value).startswith("411111"),
    "EMAIL_ADDRESS": lambda value: value.lower().endswith("@example.com"),
    "IP_ADDRESS": lambda value: value.lower().startswith(_DOCUMENTATION),
    "MAC_ADDRESS": lambda value: value.startswith("02"),
    "PERSON": _is_invented_name,
    "PHONE_NUMBER": lambda value: "55501" in _digits(value) or "7700900" in _digits(value),
    "URL": lambda value: "example.com" in value.lower(),
    "US_ITIN": lambda value: value.startswith("9"),
    "US_SSN": lambda value: value.startswith("9"),
}


def could_be_stand_in(entity_type: str, value: str) -> bool:
    """Whether the value cannot be told from a stand-in of its type by its looks."""
    if _TAG_OR_MASK.fullmatch(value):
        return True
    check = _CHECKS.get(entity_type)
    return True if check is None else check(value)
