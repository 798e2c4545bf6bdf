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
from recollect.services.privacy.anchors import MAX_CHARACTERS, Anchor, anchor_of, lower_case
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
        "my psn is ", "hes 9 ", "my 11 month old ", "oh seven ", "double nine ", "one two ",
        "gate code ", "xX_Rosa_Xx", "T.ME/rosa", "THE OLD FORGE, ", "CHURCH ST, ",
        "x1y2z3q4 is my password ",
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


NUMBERS = [
    SealedRegex(pattern, 0, 5.0)
    for pattern in (
        r"\b\d{2}[- ]\d{2}(?!\d)",
        r"(?<![\w-])\d(?:[ -]?\d){5}(?=.{0,9}\d)",
        r"(?:\d[^\d]{0,5}){8}$",
        r"a\d|\d{4}(?! )",
        r"(?=.{0,12}\d)x?\K\d{1,3}-",
    )
]


@given(st.lists(st.sampled_from(["1", "22", "-", " ", "a", "x", "a" * 23, "." * 70])).map("".join))
@settings(max_examples=300, deadline=None)
def test_digits_that_stand_apart_are_passed_over_and_no_match_is(text: str) -> None:
    index = TextIndex(text, CUES)
    for pattern in NUMBERS:
        assert pattern._reach is not None
        assert list(pattern.spans(index)) == [m.span() for m in pattern.finditer(text)]


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


@given(st.text("abc1_ -\u0301", max_size=40))
@example("1a2bca")
@settings(max_examples=300, deadline=None)
def test_words_are_told_wherever_no_letter_stands_before_them(text: str) -> None:
    words = ("a", "bc", "bca", "cab1", "1a", "a ")
    cues = Cues((word, Anchor(beginnings=frozenset({word}), at_word=True)) for word in words)
    places = cues.places(text)
    for word in words:
        before = r"[^\W\d_]" if word[0].isalpha() else r"\w"
        standing = {
            m.start() for m in regex.finditer(rf"(?<!{before}){word}", text, overlapped=True)
        }
        assert standing <= set(places.get(word, ()))


def _names_differ(text: str) -> list[str]:
    places = names._CUES.places(text)
    return [
        cue.pattern
        for cue in NAME_CUES
        if [m.span() for m in matches_at(cue, text, places.get(cue.pattern, ()), 5.0)]
        != [m.span() for m in cue.finditer(text)]
    ]


@pytest.mark.parametrize(
    ("pattern", "beginnings", "num_digits", "reach"),
    [
        (r"\border \K\d{4}(?!\d)", {"orde"}, 4, 11),
        (r"\b(?:pin|zip ?code)s?: \K\d{5}", {"pin:", "pins", "zip ", "zipc"}, 5, 16),
        (r"(?<!\w)[ab]c[xyz]", {"acx", "acy", "acz", "bcx", "bcy", "bcz"}, 0, 3),
        (r"\p{Lu}\d{2,3}", None, 2, 4),
        (r"(?=\w{0,8}\d)\w{4,9}", None, 1, 9),
        (r"x?\d+", None, 1, None),
        (r"ab*c", {"a"}, 0, None),
        (r"(?:\d|x)y", None, 0, 2),
        (r"(?:\d{3}|\d[xy]\d)(?=\d)-?(?>7)", None, 3, 5),
        (r"(?:(?=\d)\w){3}", None, 1, 3),
        (r"\d(?=.\d\d)\w{4}", None, 3, 5),
        (r"(?!\d)(?<=\d)[\dx]\d*", None, 0, None),
    ],
)
def test_what_is_read_off_a_pattern(
    pattern: str, beginnings: set[str] | None, num_digits: int, reach: int | None
) -> None:
    anchor = anchor_of(pattern, 0)
    assert anchor.beginnings == beginnings
    assert (anchor.num_digits, anchor.reach) == (num_digits, reach)


@pytest.mark.parametrize(
    "pattern",
    [r"[[:alpha:]]\d", r"(?:foo){e<=1}\d", r"(?R)?\d", r"\L<names>\d", r"a(", r"(?|a|b)\d"],
)
def test_what_the_standard_parser_does_not_know_is_tried_everywhere(pattern: str) -> None:
    anchor = anchor_of(pattern, 0)
    assert anchor.beginnings is None
    assert anchor.reach is None
    assert anchor.num_digits == 0


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
