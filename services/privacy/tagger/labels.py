"""Labels of the tagger: what it tells apart, and how words carry them (IOB2)."""

from __future__ import annotations

KINDS = (
    "PERSON", "ORG", "LOC", "ADDRESS", "DATE", "TIME", "AGE", "CODE", "DEM", "QTY", "MISC",
)  # fmt: skip
LABELS = ("O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI"))

ENTITY_TYPES = {
    "PERSON": "PERSON",
    "ORG": "ORGANIZATION",
    "LOC": "LOCATION",
    "ADDRESS": "ADDRESS",
    "DATE": "DATE_TIME",
    "TIME": "DURATION",
    "AGE": "AGE",
    "CODE": "CODE",
    "DEM": "DEMOGRAPHIC",
    "QTY": "QUANTITY",
}
"""Kind → entity type of a finding. MISC is for training alone: sets label products and works."""


def bit(label: str) -> int:
    """The label's bit in a set of labels."""
    return 1 << LABELS.index(label)


def bits_of(kind: str) -> int:
    """Both labels of a kind, as a set."""
    return bit(f"B-{kind}") | bit(f"I-{kind}")


ANY = (1 << len(LABELS)) - 1
OUTSIDE = bit("O")
