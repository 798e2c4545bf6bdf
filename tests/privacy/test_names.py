from __future__ import annotations

import pytest

from recollect.services.privacy.names import PersonRecognizer

RECOGNIZER = PersonRecognizer(5.0)


def names(text: str) -> set[str]:
    """The longest names found: shorter ones inside them are left out."""
    found = {text[r.start : r.end] for r in RECOGNIZER.analyze(text, ["PERSON"])}
    return {name for name in found if not any(name != other and name in other for other in found)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My name is Ottoline Marchetti and I", "Ottoline Marchetti"),
        ("my name is will", "will"),
        ("my name is rajesh kumar, pls help", "rajesh kumar"),
        ("Thank you, Ms. Krishnan. I understand", "Krishnan"),
        ("Dr. Imogen Vasquez-Lund has left", "Imogen Vasquez-Lund"),
        ("I spoke with Priya Sharma yesterday", "Priya Sharma"),
        ("Hi Grace, thanks", "Grace"),
        ("Regards,\nWijtze Okafor", "Wijtze Okafor"),
        ("her neighbour, Jarek Olumide, saw it", "Jarek Olumide"),
        ("Natalia's clips", "Natalia"),
        ("it was Virgil van Dijk who", "Virgil van Dijk"),
        ("call me Bea", "Bea"),
        ("ask priya sharma", "priya sharma"),
        ("signed Delphine O'Shaughnessy", "Delphine O'Shaughnessy"),
    ],
)
def test_a_name_is_found_whole(text: str, expected: str) -> None:
    assert expected in names(text)


@pytest.mark.parametrize(
    "text",
    [
        "Will it rain in May? I hope so.",
        "Dear Customer, your order is on its way",
        "Thank you, Sir",
        "this is UNACCEPTABLE and I'm SO angry",
        "My name is wrong on the card",
        "near MG Road in San Diego",
        "April 12, Monday morning",
        "I'm Happy with it",
    ],
)
def test_what_is_no_name_is_left_alone(text: str) -> None:
    assert names(text) == set()
