"""Text whose capitals tell nothing: which lines those are, and what is found in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import Deidentifier
from recollect.services.privacy.evaluation import measure, perturbed, read_labelled
from recollect.services.privacy.policy import load_policy
from recollect.services.privacy.tagger import Tagger, find_spans
from recollect.services.privacy.tagger.case import caseless_lines

TAGGER = Tagger.load()
AUTHORED = Path(__file__).parents[2] / "bench" / "data"


@pytest.mark.parametrize(
    "line",
    [
        "hi im rasheeda okonkwo from leeds",
        "Hi, my name is rasheeda okonkwo and I need help. Can I talk to a human?",
        '{"name": "rasheeda okonkwo", "city": "leeds"}',
        "PLEASE CALL RASHEEDA OKONKWO",
        "ROOM 12, MR OKONKWO",
    ],
)
def test_a_line_whose_capitals_tell_nothing_is_caseless(line: str) -> None:
    assert list(caseless_lines(line)) == [(0, len(line))]


@pytest.mark.parametrize(
    "line",
    [
        "I told Rasheeda that it was late.",
        '{"name": "Rasheeda Okonkwo", "city": "leeds"}',
        "mail from Ä. Okonkwo",
        "USA",
        "12345",
        "आप कैसे हैं",
        "你好，世界",
        "",
    ],
)
def test_a_line_with_telling_capitals_or_without_letters_that_have_any_is_not(line: str) -> None:
    assert list(caseless_lines(line)) == []


def test_lines_are_told_apart() -> None:
    text = "I told Rasheeda.\nshe is in leeds\n\nI know Leeds.\nWHO IS THAT"
    assert [text[start:end] for start, end in caseless_lines(text)] == [
        "she is in leeds",
        "WHO IS THAT",
    ]


@given(st.text(alphabet="aBé. \nI'1你", max_size=80))
def test_caseless_lines_are_whole_lines_in_order(text: str) -> None:
    found = [text[start:end] for start, end in caseless_lines(text)]
    lines = iter(text.split("\n"))
    assert all(line in lines for line in found)
    assert all(any(map(str.isalpha, line)) for line in found)


@given(st.text(max_size=200))
def test_lower_thresholds_for_lines_and_people_only_add(text: str) -> None:
    def covered(caseless: float | None, person: float | None) -> set[int]:
        spans = find_spans(TAGGER, text, 0.35, caseless=caseless, person=person)
        return {i for s in spans for i in range(s.start, s.end) if text[i].isalnum()}

    alone = covered(None, None)
    assert alone <= covered(0.05, None) <= covered(0.05, 0.1)
    assert alone <= covered(None, 0.1)
    assert covered(0.9, 1.1) == alone


def test_a_line_in_small_letters_has_its_own_threshold_and_no_other_line_has() -> None:
    small, cased = "ask kettering about it", "I told Rasheeda about kettering."
    text = f"{cased}\n{small}"
    strict = find_spans(TAGGER, text, 1.0)
    assert strict == []
    spans = find_spans(TAGGER, text, 1.0, caseless=0.01)
    assert spans
    assert all(span.start > len(cased) for span in spans)


@pytest.mark.parametrize("name", ["authored_chats", "authored_judgments"])
@pytest.mark.parametrize("perturbation", ["lower case", "capitals"])
def test_text_without_case_loses_at_most_three_points_of_recall(
    name: str, perturbation: str
) -> None:
    texts = read_labelled(AUTHORED / f"{name}.jsonl")
    find = Deidentifier(load_policy("gdpr-pseudonymous"), bytes(32)).find
    whole = measure(texts, find)
    without_case = measure(perturbed(texts, perturbation), find)
    assert whole.recall.value > 0.9
    assert without_case.recall.value >= whole.recall.value - 0.03
    assert without_case.precision.value >= 0.7
