from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier

NUMBER = re.compile(r"\d[\d,.]*")


@given(
    st.integers(1, 10**7),
    st.integers(1, 10**7),
    st.sampled_from(["+", "-", "*", "/"]),
    st.sampled_from(["", " "]),
    st.sampled_from(["", "$"]),
)
@settings(max_examples=80, deadline=None)
def test_a_worked_calculation_is_never_taken_for_an_identifier(
    deidentifier: Deidentifier, a: int, b: int, operator: str, space: str, unit: str
) -> None:
    shown = f"{unit}{a}{space}{operator}{space}{unit}{b}"
    text = f"So that is {shown} = {unit}<<{a}{operator}{b}={a - b}>>{a - b} in all.\n#### {a - b}"
    assert deidentifier.preview(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "They sold 350000-260000=90000 tickets.",
        "She ordered 2500 boxes and 12 pizzas.",
        "His account has $20,000 and earns 5% a year.",
        "The order of 100,000 units took 24-48 hours.",
        "1234567890 * 2 = 2469135780",
        "the total number of complaints: 192 a day",
        "About 450 000 people lived there. If 130000 people move out, who stays?",
        "he delivered to 13 people, so he made 65.00",
        "2, 4, 8, 16, 32, 64, 128, 256, 512, 1024",
    ],
)
def test_quantities_stay(deidentifier: Deidentifier, text: str) -> None:
    assert deidentifier.preview(text).text == text


def test_a_phone_number_beside_a_calculation_is_still_found(deidentifier: Deidentifier) -> None:
    text = deidentifier.preview("48/2 = 24, call me on 202-555-0143").text
    assert text.startswith("48/2 = 24, call me on ")
    assert "202-555-0143" not in text


@pytest.mark.slow
def test_numbers_of_worked_maths_problems_stay_in_at_least_995_of_1000(
    deidentifier: Deidentifier, external_data: Path
) -> None:
    path = external_data / "general" / "gsm8k_train.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    rows = random.Random(0).sample(rows, 300)
    changed = 0
    for row in rows:
        messages = [
            Message(speaker=Speaker.USER, content=row["question"]),
            Message(speaker=Speaker.ASSISTANT, content=row["answer"]),
        ]
        out = deidentifier.deidentify(messages).messages
        changed += any(
            NUMBER.findall(before.content) != NUMBER.findall(after.content)
            for before, after in zip(messages, out, strict=True)
        )
    assert changed <= 0.005 * len(rows)
