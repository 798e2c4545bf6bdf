from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

from recollect.services.privacy import Policy
from recollect.services.privacy.phone import DensePhoneRecognizer, min_digits

REGIONS = Policy().phone_regions
STOCK = PhoneRecognizer(supported_regions=REGIONS)
DENSE = DensePhoneRecognizer(REGIONS)


def spans(recognizer: PhoneRecognizer, text: str) -> set[tuple[int, int, float]]:
    return {(r.start, r.end, r.score) for r in recognizer.analyze(text, ["PHONE_NUMBER"])}


NUMBERS = st.sampled_from(
    [
        "+1 202-555-0143",
        "(202) 555-0143",
        "07700 900461",
        "+44 20 7946 0018 ext. 12",
        "98765 43210",
        "+919876543210",
        "01 23 45 67 89",
        "+33 1 23 45 67 89",
        "11 91234-5678",
        "502-7741936-1180254",
        "12345",
        "2012-01-02 08:00",
        "31/10/96",
        "211-227 (2003)",
        "$1,200,000",
        "24-48",
    ]
)
WORDS = st.sampled_from(
    ["call", "me:", "or", "order", "#", "(", ")", "+", "x", "é", "$", "%", ",", ".", "\n", "/", "-"]
)
FREE = st.text(alphabet="0123456789 +-()./,ax\n", max_size=40)


@given(st.lists(st.one_of(NUMBERS, WORDS, FREE), max_size=12), st.sampled_from([" ", "", "\n"]))
@settings(max_examples=120, deadline=None)
def test_the_dense_recognizer_finds_what_the_stock_one_finds(parts: list[str], glue: str) -> None:
    text = glue.join(parts)
    assert spans(DENSE, text) == spans(STOCK, text)


@given(NUMBERS, st.integers(20, 60), NUMBERS)
@settings(max_examples=60, deadline=None)
def test_the_distance_between_two_numbers_does_not_matter(one: str, gap: int, two: str) -> None:
    text = f"{one}{' and so on' * 6}"[: len(one) + gap] + two
    assert spans(DENSE, text) == spans(STOCK, text)


def test_both_agree_on_the_shipped_rows(invented: list[dict[str, Any]]) -> None:
    found = 0
    for row in invented:
        assert spans(DENSE, row["text"]) == spans(STOCK, row["text"])
        found += len(spans(DENSE, row["text"]))
    assert found > 0


def test_a_short_number_needs_a_plus_sign_so_few_digits_suffice_to_skip_a_window() -> None:
    assert min_digits(("US", "CA")) == 6
    assert min_digits(("DE",)) == 4


@pytest.mark.slow
def test_both_agree_on_real_dialogues(external_data: Path) -> None:
    path = external_data / "task" / "support_dialogues.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for _, line in zip(range(250), stream, strict=False)]
    texts = ["\n\n".join(turn["content"] for turn in row["turns"]) for row in rows]
    assert all(spans(DENSE, text) == spans(STOCK, text) for text in texts)
