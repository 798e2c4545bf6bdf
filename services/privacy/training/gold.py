"""Gold data: sentences whose people, places and bodies somebody else labelled.

Each set has labels of its own and is silent on ours that it lacks; a silent label is unknown, not
absent (partial annotation, Tsuboi et al. 2008), and a loss over label sets takes that in.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .fill_numbers import Segment

SPLITS = ("train", "dev", "test")
"""Test is looked at once, for the model card."""

_CONLL = {
    "wnut17_train": {
        "person": "PERSON", "location": "LOC", "corporation": "ORG", "group": "ORG",
        "product": "PRODUCT", "creative-work": "WORK",
    },
    "btc_a": {"PER": "PERSON", "LOC": "LOC", "ORG": "ORG"},
    "wikigold": {"PER": "PERSON", "LOC": "LOC", "ORG": "ORG", "MISC": "WORK"},
    "sec_fin5": {"PER": "PERSON", "LOC": "LOC", "ORG": "ORG", "MISC": "WORK"},
}  # fmt: skip
_CONLL |= dict.fromkeys(("btc_b", "btc_e", "btc_f", "btc_g"), _CONLL["btc_a"])
_PRESIDIO = {
    "PERSON": "PERSON", "ADDRESS": "ADDRESS", "LOCATION": "LOC", "ORGANIZATION": "ORG",
    "CREDIT_CARD": "CODE", "PHONE_NUMBER": "CODE", "DATE_TIME": "DATE", "EMAIL_ADDRESS": "CODE",
    "US_SSN": "CODE", "IBAN_CODE": "CODE", "DOMAIN_NAME": "WORK", "TITLE": "WORK",
    "PREFIX": "WORK", "US_DRIVER_LICENSE": "CODE", "IP_ADDRESS": "CODE",
}  # fmt: skip
# Loan agreements label the parties' roles as persons; a role is nobody's name.
_ROLES = frozenset({"borrower", "borrowers", "lender", "lenders", "bank", "agent", "company"})
_NO_SPACE_BEFORE = frozenset(",.;:!?)]}%'’") | {"'s", "n't", "'m", "'re", "'ve", "'ll", "'d", "’s"}
_NO_SPACE_AFTER = frozenset("([{$#@")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text."""

    source: str
    split: str
    segments: list[Segment]
    scheme: str
    """`pii` where what Presidio knows is labelled, `ner` where people, places and bodies are."""


def read_gold(folder: Path) -> Iterator[Row]:
    """Every row of the sets in the folder."""
    for name, kinds in _CONLL.items():
        yield from _conll(folder / f"{name}.conll.gz", name, kinds)
    for name in ("large",):
        yield from _presidio(folder / f"presidio_generated_{name}.json.gz", f"presidio_{name}")


def split_of(key: str) -> str:
    """Where a row belongs, by the hash of what it must not share with another split."""
    place = hashlib.sha256(key.encode()).digest()[0]
    return "train" if place < 166 else "dev" if place < 205 else "test"


def _sentences(path: Path) -> Iterator[list[tuple[str, str]]]:
    sentence: list[tuple[str, str]] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            parts = line.split()
            if len(parts) < 2:
                if sentence:
                    yield sentence
                sentence = []
            elif parts[0] != "-DOCSTART-":
                sentence.append((parts[0], parts[-1]))
    if sentence:
        yield sentence


def _conll(path: Path, source: str, kinds: dict[str, str]) -> Iterator[Row]:
    # Blocks of sentences stay together: neighbours are of one article or contract.
    for number, sentence in enumerate(_sentences(path)):
        split = split_of(f"{source}{number // 40}")
        yield Row(source, split, list(_detokenized(sentence, kinds)), "ner")


def _detokenized(sentence: Iterable[tuple[str, str]], kinds: dict[str, str]) -> Iterator[Segment]:
    before, before_tag = "(", "O"
    for token, tag in sentence:
        kind = kinds.get(tag.partition("-")[2]) if tag != "O" else None
        if kind in {"PERSON", "ORG"} and token.lower() in _ROLES:
            kind = "WORK"
        if token[0] in "@#" and len(token) > 1:
            # Handles stand for somebody, whatever a set says of them; what a hashtag is, is open.
            kind = "CODE" if token[0] == "@" else "UNKNOWN"
        glued = token in _NO_SPACE_BEFORE or before in _NO_SPACE_AFTER
        goes_on = tag.startswith("I-") and before_tag.partition("-")[2] == tag.partition("-")[2]
        if not glued:
            yield " ", (kind if goes_on else None)
        yield token, kind
        before, before_tag = token, tag


def _presidio(path: Path, source: str) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = json.load(stream)
    for row in rows:
        text, position = row["full_text"], 0
        segments: list[Segment] = []
        for span in sorted(row["spans"], key=lambda s: s["start_position"]):
            start, end = span["start_position"], span["end_position"]
            segments += [
                (text[position:start], None),
                (text[start:end], _PRESIDIO[span["entity_type"]]),
            ]
            position = end
        segments.append((text[position:], None))
        split = split_of(f"presidio template {row['template_id']}")
        yield Row(source, split, [s for s in segments if s[0]], "pii")


def merged(segments: Iterable[Segment]) -> list[Segment]:
    """Neighbouring segments of one label made one."""
    out: list[Segment] = []
    for text, label in segments:
        if out and out[-1][1] == label:
            out[-1] = (out[-1][0] + text, label)
        else:
            out.append((text, label))
    return out
