"""Arithmetic: numbers that are part of a calculation are quantities, not identifiers.

"350000-260000 = 90000" has the shape of a phone number. Replacing it would spoil worked maths,
which a mix holds so that a model goes on calculating well.
"""

from __future__ import annotations

import regex

from .finding import Finding

# Types recognised by their digits alone; a value with a valid checksum scores 1.0 and stays.
_NUMERIC = frozenset(
    {
        "ACCOUNT_ID",
        "CREDIT_CARD",
        "ORDER_ID",
        "PHONE_NUMBER",
        "TRACKING_ID",
        "UK_NHS",
        "US_BANK_NUMBER",
        "US_DRIVER_LICENSE",
        "US_ITIN",
        "US_PASSPORT",
        "US_SSN",
    }
)
_CERTAIN = 0.7
# A tenth of all differences between large numbers pass Luhn's checksum: a result outweighs it.
_RESULT = regex.compile(r"\s*=\s*[-$₹€£(<\d]")
_AFTER = regex.compile(
    r"\s*(?:=\s*[-$₹€£(<\d]|[×*÷^%]\s*\d|[-+/]\s*[$₹€£(]?\s?\d[\d.,]*\s*[=×*/]|>>)|,\d{3}(?!\d)"
)
_BEFORE = regex.compile(r"(?:[$₹€£<×*÷^]\s*|\d\s*[+/]\s*|\d,|[\d)>]\s*=\s*)$")
_POSTCODE = regex.compile(r"\d{4}")
_OPERATOR = regex.compile(r"[+*/×÷=]")


def is_arithmetic(finding: Finding, text: str) -> bool:
    """Whether a numeric finding is a term of a calculation, or an amount of money."""
    value = text[finding.start : finding.end]
    bare = finding.stage == "tagger" and not any(map(str.isalpha, value))
    if bare and finding.entity_type == "ADDRESS" and _POSTCODE.search(value) is None:
        return True
    if finding.entity_type not in _NUMERIC and not bare:
        return False
    before, after = (
        text[max(finding.start - 12, 0) : finding.start],
        text[finding.end : finding.end + 40],
    )
    if _RESULT.match(after) or before.endswith("<<"):
        return True
    if finding.score >= _CERTAIN and not bare:
        return False
    if _BEFORE.search(before) or _AFTER.match(after):
        return True
    inside = text[finding.start : finding.end].lstrip("+")
    return _OPERATOR.search(inside) is not None and "=" in after[:12]
