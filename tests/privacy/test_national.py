"""National numbers and plates: found by their shapes and cues, never quantities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from presidio_analyzer.predefined_recognizers import (
    EsNieRecognizer,
    EsNifRecognizer,
    InAadhaarRecognizer,
    ItFiscalCodeRecognizer,
    UkNinoRecognizer,
)

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.surrogates import Surrogates

from .conftest import KEY

FOUND = [
    ("NATIONAL_ID", "my NI number is AB 12 34 56 C, thanks", "AB 12 34 56 C"),
    ("NATIONAL_ID", "DNI 12345678Z", "12345678Z"),
    ("NATIONAL_ID", "mi NIE es X1234567L", "X1234567L"),
    ("NATIONAL_ID", "his code, RSSMRA85T10A562S, is wrong", "RSSMRA85T10A562S"),
    ("NATIONAL_ID", "her number is 1 85 05 78 006 084 36", "1 85 05 78 006 084 36"),
    ("NATIONAL_ID", "Rentenversicherungsnummer 65 180183 A 123", "65 180183 A 123"),
    ("NATIONAL_ID", "Steuer-ID: 12 345 678 901", "12 345 678 901"),
    ("NATIONAL_ID", "Steuernummer lautet 93815/08152", "93815/08152"),
    ("NATIONAL_ID", "Aadhaar 2345 6789 0123", "2345 6789 0123"),
    ("NATIONAL_ID", "PAN ABCPE1234F", "ABCPE1234F"),
    ("NATIONAL_ID", "Ausweisnummer L01X00T471", "L01X00T471"),
    ("NATIONAL_ID", "her card says S1234567D on it", "S1234567D"),
    ("NATIONAL_ID", "AHV 756.1234.5678.97", "756.1234.5678.97"),
    ("NATIONAL_ID", "my SIN is 046 454 286", "046 454 286"),
    ("NATIONAL_ID", "tax file number 123 456 782", "123 456 782"),
    ("USERNAME", '{"path": "C:\\\\Users\\\\rosalind\\\\x"}', "rosalind"),
    ("USERNAME", "it lies in /home/rosalind/notes.txt", "rosalind"),
    ("USERNAME", "open C:\\Users\\rosalind.a\\notes.txt", "rosalind.a"),
    ("USERNAME", "ls /Users/rosa-acht/Desktop", "rosa-acht"),
    ("EMAIL_ADDRESS", "mail rosa.acht@mail.internal today", "rosa.acht@mail.internal"),
    ("EMAIL_ADDRESS", "from rosa@localhost at noon", "rosa@localhost"),
    ("EMAIL_ADDRESS", "ask errol.b@parish.example, or", "errol.b@parish.example"),
    ("VEHICLE_PLATE", "a blue van, AB12 CDE, was seen", "AB12 CDE"),
    ("VEHICLE_PLATE", "my car reg is mh12ab1234", "mh12ab1234"),
    ("VEHICLE_PLATE", "the scooter MH 12 AB 1234 is mine", "MH 12 AB 1234"),
    ("VEHICLE_PLATE", "license plate: 7ABC123", "7ABC123"),
    ("VEHICLE_PLATE", "der Wagen M-AB 1234", "M-AB 1234"),
    ("VEHICLE_PLATE", "la Clio AB-123-CD", "AB-123-CD"),
    (
        "ADDRESS",
        "sent to Nordlys gate 3, 0999 Lindenau on",
        "Nordlys gate 3, 0999 Lindenau",
    ),
    ("ADDRESS", "at Ermis 15, Lindenau 999 63, where", "Ermis 15, Lindenau 999 63"),
    (
        "ADDRESS",
        "the goods to Hauptweg 12, 99999 Lindenau am See?",
        "Hauptweg 12, 99999 Lindenau am See",
    ),
    (
        "ADDRESS",
        "livrer au 12 bis rue de la Paix, 75002 Paris svp",
        "12 bis rue de la Paix, 75002 Paris",
    ),
    ("ADDRESS", "Calle Mayor 14, 28013 Madrid", "Calle Mayor 14, 28013 Madrid"),
    ("ADDRESS", "at Prinsengracht 263, 1016 GV Amsterdam", "Prinsengracht 263, 1016 GV Amsterdam"),
]
PATTERNS_ALONE = Deidentifier(Policy(), KEY, without=frozenset({"tagger"}))


@pytest.mark.parametrize(("kind", "text", "value"), FOUND)
def test_patterns_alone_find_the_whole_of_it(kind: str, text: str, value: str) -> None:
    found = [(f.entity_type, text[f.start : f.end]) for f in PATTERNS_ALONE.find(text)]
    assert (kind, value) in found


@pytest.mark.parametrize(
    "text",
    [
        "I put 12 plates on the table, and 3 plates more",
        "Compute 12 345 678 901 + 3",
        "about 12 345 678 people",
        "The pan is hot; I need a pan 24 cm wide.",
        "In Spring 2024 the Brigade 12 went to Decade 3",
        "he took the Avenue and came via Rome 3 years ago",
    ],
)
def test_quantities_and_words_are_none(text: str) -> None:
    kinds = {f.entity_type for f in PATTERNS_ALONE.find(text)}
    assert not kinds & {"NATIONAL_ID", "VEHICLE_PLATE", "ADDRESS"}


def _stand_in(value: str) -> str:
    return Surrogates(KEY).stand_in("NATIONAL_ID", value)


@given(st.integers(0, 99_999_999), st.sampled_from("TRWAGMYFPDXBNJZSQVHLCKE"))
def test_no_stand_in_is_a_valid_spanish_number(number: int, letter: str) -> None:
    new = _stand_in(f"{number:08d}{letter}")
    assert len(new) == 9 and new[:8].isdigit() and new[8].isalpha()
    assert not EsNifRecognizer().validate_result(new)
    assert not EsNieRecognizer().validate_result(_stand_in(f"X{number % 10**7:07d}{letter}"))


@given(st.from_regex(r"[A-Z]{2}\d{6}[A-D]", fullmatch=True))
def test_no_stand_in_is_a_british_number(value: str) -> None:
    assert UkNinoRecognizer().analyze(_stand_in(value), ["UK_NINO"]) == []


@given(st.from_regex(r"[2-9]\d{3} \d{4} \d{4}", fullmatch=True).filter(str.isascii))
def test_no_stand_in_is_an_aadhaar_number(value: str) -> None:
    new = _stand_in(value).replace(" ", "")
    assert not InAadhaarRecognizer().validate_result(new)


@given(st.from_regex(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", fullmatch=True))
def test_no_stand_in_is_an_italian_number(value: str) -> None:
    new = _stand_in(value)
    assert ItFiscalCodeRecognizer().analyze(new, ["IT_FISCAL_CODE"]) == []
