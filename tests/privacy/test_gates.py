from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer import PatternRecognizer

from recollect.services.privacy import Policy
from recollect.services.privacy.detector import Detector
from recollect.services.privacy.gates import PATTERN_GATES

GATED = Detector(Policy())
OPEN = Detector(Policy())
GATES = [asked for asked in OPEN._reader._asked if asked.gate is not None or asked.needs_context]
for asked in GATES:
    object.__setattr__(asked, "gate", None)
    object.__setattr__(asked, "needs_context", False)
    object.__setattr__(asked, "has_context_words", False)
OPEN_PATTERNS: list[Any] = [
    pattern
    for recognizer in OPEN._recognizers
    if isinstance(recognizer, PatternRecognizer)
    for pattern in vars(recognizer)["patterns"]
]
for pattern in OPEN_PATTERNS:
    if pattern.name in PATTERN_GATES:
        assert pattern.compiled_regex._gate is PATTERN_GATES[pattern.name]
        pattern.compiled_regex._gate = None


def test_there_are_gates_to_open() -> None:
    names = {asked.recognizer.name for asked in GATES}
    assert {"EmailRecognizer", "UsPassportRecognizer", "UsLicenseRecognizer"} <= names


PARTS = st.sampled_from(
    [
        "driver license H12345678",
        "S23",
        "passport",
        "918273645",
        "my account",
        "bank",
        "8830112094",
        "00:00:5e:00:53:af",
        "0000.5e00.53af",
        "192.0.2.17",
        "fe80::1",
        "2001:db8:0:0:0:0:0:1",
        "::1",
        "AB1234563",
        "a@mail.example.com",
        "123e4567-e89b-42d3-a456-426614174000",
        "the public click",
        "wild_rosa91",
        "rosa.acht77",
        "rosa.acht@upi",
        "@rosa_acht",
        "rosa [at] mail.example.net",
        "rosa(AT)mail (dot) com",
        "rosa Dot acht at mail DOT com",
        "is",
    ]
)


@given(st.lists(PARTS, max_size=8), st.sampled_from([" ", ", ", "\n"]))
@settings(max_examples=80, deadline=None)
def test_a_gate_never_loses_a_finding(parts: list[str], glue: str) -> None:
    text = glue.join(parts)
    assert set(GATED.find(text)) == set(OPEN.find(text))


def test_gates_agree_on_the_shipped_rows(invented: list[dict[str, Any]]) -> None:
    for row in invented:
        assert set(GATED.find(row["text"])) == set(OPEN.find(row["text"]))
