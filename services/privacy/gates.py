"""Gates: stock recognizers that only run where their findings are possible at all.

A gate never loses a finding: it asks for something that every finding of its recognizer contains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from presidio_analyzer import PatternRecognizer

# What the text must hold for a finding: cheaper to look for than the finding itself.
_GATES = {
    "EMAIL_ADDRESS": re.compile(r"@"),
    "IP_ADDRESS": re.compile(r"\d\.\d{1,3}\.\d|::|:[0-9A-Fa-f]{1,4}:"),
    "MAC_ADDRESS": re.compile(
        r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}\1[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\."
    ),
    "MEDICAL_LICENSE": re.compile(r"[A-Za-z9]\d{7}"),
    "UUID": re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-"),
}

PATTERN_GATES: Mapping[str, re.Pattern[str]] = {
    "at and dot": re.compile(r" dot ", re.I),
    "at in brackets": re.compile(r"[\[({<] ?at ?[\])}>]", re.I),
    "handle": re.compile("@"),
    "windows home folder": re.compile(r":\\"),
    "numbered handle": re.compile(r"[_.][A-Za-z]{3}"),
    "payment handle": re.compile("@"),
    "password behind": re.compile(
        r"pass(?:(?<=\(pass)|(?<=s my pass)|(?<=s (?:the|our|his|her) pass)"
        r"|(?<=(?:ld|ew|fi|in) pass))",
        re.I,
    ),
    "sex and age": re.compile("/"),
    "shouted house": re.compile(r",(?<=[A-Z]{2},) ?[A-Z]{2}"),
    "old": re.compile(r"olds?\b", re.I),
    "spelled old": re.compile(r"olds?\b", re.I),
    "years in short": re.compile(r"y(?:o\b|/o|\.o)", re.I),
}
"""Pattern of ours → what each of its matches holds."""

ENDINGS_BEFORE_NUMBER: Mapping[str, tuple[str, ...]] = {
    "germanic street": (
        *("straße", "strasse", "str.", "weg", "gasse", "platz", "allee", "damm", "ufer"),
        *("chaussee", "steig", "pfad", "straat", "laan", "plein", "gracht", "gatan", "vägen"),
        *("vej", "utca"),
    ),
    "germanic street of words": (
        *("Straße", "Strasse", "Weg", "Gasse", "Platz", "Allee", "Ring", "Damm", "Ufer", "Laan"),
        "Linden",
    ),
}
"""Pattern of ours → what ends one blank before a number, of which each of its matches has one."""


def gate_of(recognizer: Any) -> re.Pattern[str] | None:
    """What every text holds in which a stock recognizer finds anything, if that is told here."""
    is_stock = type(recognizer).__module__.startswith("presidio_analyzer.")
    is_stock = is_stock and type(recognizer) is not PatternRecognizer
    return _GATES.get(recognizer.supported_entities[0]) if is_stock else None


def is_weak(recognizer: Any, threshold: float) -> bool:
    """Whether no pattern reaches the threshold by itself, and no check digit lifts it."""
    if not isinstance(recognizer, PatternRecognizer):
        return False
    own: Any = recognizer
    checks = type(recognizer).validate_result is not PatternRecognizer.validate_result
    return not checks and all(pattern.score < threshold for pattern in own.patterns)
