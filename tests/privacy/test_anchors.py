"""Patterns tried only where they can match find what they find when they are tried everywhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recollect.services.privacy import Policy, names
from recollect.services.privacy.anchors import MAX_CHARACTERS, anchor_of, lower_case
from recollect.services.privacy.detector import Detector
from recollect.services.privacy.plainest import PLAINEST
from recollect.services.privacy.policy import ENTITY_TYPES
from recollect.services.privacy.sealed import SealedRegex
from recollect.services.privacy.text_index import Cues, TextIndex, matches_at

DETECTOR = Detector(Policy(entities=ENTITY_TYPES), without=frozenset({"tagger", "quasi"}))
PATTERNS: list[SealedRegex] = [
    pattern
    for recognizer in DETECTOR._recognizers
    for p in getattr(recognizer, "patterns", ())
    if isinstance(pattern := p.compiled_regex, SealedRegex)
]
CUES: Cues[Any] = Cues((pattern, pattern.cues) for pattern in PATTERNS)
NAME_CUES = (
    names._HONORIFIC, names._INTRODUCTION, names._RELATION, names._SELF, names._GREETING,
)  # fmt: skip

PIECES = st.sampled_from(
    [
        *PLAINEST.values(),
        "order number ", "Account ", "a/c no: ", "born on ", "dob ", "IBAN ", "Card ", "pin ",
        "my number is ", "Dr. ", "my name is ", "Hi ", "i am ", "Mum, ", "password: ", "token=",
        "i live at 12 ", "Main Street", "Calle ", "Am Alten Weg 7", "12 rue de la Paix", "PO-",
        "1Z999AA10123456784", "4111 1111 1111 1111", "555-01", "12.03.1999", "#", "@", "-", "/",
        "Rosa", "Lindenau", "ABCDE1234F", "0x", "ghp_", "x" * 30, "7" * 12, "ext. 12", "\u0130",
        "\u212a", "\u017fsn ", "é", "ß", "\u0301",
    ]
)  # fmt: skip
FILLERS = st.sampled_from([" ", "\n", "", ", ", " and so it went on for a while, ", "." * 20])
TEXTS = st.lists(st.tuples(PIECES | st.text(max_size=6), FILLERS), max_size=14).map(
    lambda pairs: "".join(piece + filler for piece, filler in pairs)
)


def differing(text: str) -> list[str]:
    """Patterns that find something else in the text when they are tried everywhere."""
    index = TextIndex(text, CUES)
    return [
        pattern._compiled.pattern
        for pattern in PATTERNS
        if list(pattern.spans(index)) != [m.span() for m in pattern.finditer(text)]
    ]


def test_most_patterns_have_an_anchor() -> None:
    anchored = [p for p in PATTERNS if p.cues.beginnings or p._reach is not None]
    assert len(PATTERNS) > 100
    assert len(anchored) > 0.75 * len(PATTERNS)


@given(TEXTS)
@example("".join(PLAINEST.values()))
@example("\n".join(PLAINEST.values()))
@settings(max_examples=120, deadline=None)
def test_tried_where_it_can_match_a_pattern_finds_what_it_finds_everywhere(text: str) -> None:
    assert differing(text) == []


def test_they_agree_on_the_shipped_rows(invented: list[dict[str, Any]]) -> None:
    assert [row["text"] for row in invented if differing(row["text"])] == []


@pytest.mark.slow
def test_they_agree_on_real_dialogues(external_data: Path) -> None:
    texts = list(_dialogues(external_data / "task" / "support_dialogues.jsonl.gz"))
    assert [text for text in texts if differing(text)] == []
    for text in texts:
        assert _names_differ(text) == []


def _dialogues(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for _, line in zip(range(200), lines, strict=False):
            yield "\n\n".join(turn["content"] for turn in json.loads(line)["turns"])


@given(TEXTS)
@settings(max_examples=120, deadline=None)
def test_cues_of_names_are_found_where_they_stand(text: str) -> None:
    assert _names_differ(text) == []


def _names_differ(text: str) -> list[str]:
    places = names._CUES.places(text)
    return [
        cue.pattern
        for cue in NAME_CUES
        if [m.span() for m in matches_at(cue, text, places.get(cue.pattern, ()), lambda: 5.0)]
        != [m.span() for m in cue.finditer(text)]
    ]


@pytest.mark.parametrize(
    ("pattern", "beginnings", "has_digit", "reach"),
    [
        (r"\border \K\d{4}(?!\d)", {"orde"}, True, 11),
        (r"\b(?:pin|zip ?code)s?: \K\d{5}", {"pin:", "pins", "zip ", "zipc"}, True, 16),
        (r"(?<!\w)[ab]c[xyz]", {"acx", "acy", "acz", "bcx", "bcy", "bcz"}, False, 3),
        (r"\p{Lu}\d{2,3}", None, True, 4),
        (r"(?=\w{0,8}\d)\w{4,9}", None, True, 9),
        (r"x?\d+", None, True, None),
        (r"ab*c", {"a"}, False, None),
        (r"(?:\d|x)y", None, False, 2),
    ],
)
def test_what_is_read_off_a_pattern(
    pattern: str, beginnings: set[str] | None, has_digit: bool, reach: int | None
) -> None:
    anchor = anchor_of(pattern, 0)
    assert anchor.beginnings == beginnings
    assert (anchor.has_digit, anchor.reach) == (has_digit, reach)


@pytest.mark.parametrize(
    "pattern",
    [r"[[:alpha:]]\d", r"(?:foo){e<=1}\d", r"(?R)?\d", r"\L<names>\d", r"a(", r"(?|a|b)\d"],
)
def test_what_the_standard_parser_does_not_know_is_tried_everywhere(pattern: str) -> None:
    anchor = anchor_of(pattern, 0)
    assert anchor.beginnings is None
    assert anchor.reach is None
    assert not anchor.has_digit


@given(st.text(max_size=30))
@example("\u0130\u212aſ")
def test_lower_case_keeps_places(text: str) -> None:
    assert len(lower_case(text)) == len(text)


@given(st.characters())
def test_what_a_pattern_takes_for_the_same_letter_is_the_same_in_lower_case(letter: str) -> None:
    for plain in "abcdefghijklmnopqrstuvwxyzñéíß":
        if regex.match(plain, letter, regex.IGNORECASE):
            assert lower_case(letter) == plain


def test_beginnings_are_short() -> None:
    assert all(
        len(cue) <= MAX_CHARACTERS for pattern in PATTERNS for cue in pattern.cues.beginnings or ()
    )
