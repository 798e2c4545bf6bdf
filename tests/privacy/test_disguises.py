"""Disguises that an attacker tried: what a reader sees, a recognizer sees."""

import pytest

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.policy import load_policy

from .conftest import KEY

DEIDENTIFIER = Deidentifier(Policy(), KEY)
INVISIBLE = "\ufe0f\ufe00\x07\x08\x7f\x80\x1f\u034f\u3164\u2800\u1160\uffa0\u180b\u17b4\U000e0100"


def _left(text: str, known: tuple[str, ...] = ()) -> str:
    return DEIDENTIFIER.explain([text], known)[0].text


@pytest.mark.parametrize("character", INVISIBLE)
@pytest.mark.parametrize(
    "value", ["4539 5780 1276 4442", "219-09-9999", "+44 20 7946 0958", "rosa.acht@quokkamail.org"]
)
def test_what_nothing_is_drawn_for_hides_nothing(value: str, character: str) -> None:
    disguised = value[:6] + character + value[6:]
    out = _left(f"card or so: {disguised} ok")
    assert disguised not in out and value[7:] not in out


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Contact _rosa.achterberg@quokkamail.org_ today", "achterberg"),
        ("host _81.2.69.142_ is down", "81.2.69"),
        ("id _123e4567-e89b-42d3-a456-426614174000_", "e89b"),
        ("f card=4539+5780+1276+4442&phone=%2B44+20+7946+0958", "5780"),
        ("f card=4539+5780+1276+4442&phone=%2B44+20+7946+0958", "7946"),
        ("f card=4539%205780%201276%204442", "5780"),
        ("the card ٤٥٣٩ ٥٧٨٠ ١٢٧٦ ٤٤٤٢ ok", "٥٧٨٠"),
        ("Authorization: Bearer abcdefgh12345678abcdefgh", "abcdefgh"),
        ("use glpat-abcdefghij0123456789", "abcdefghij"),
        ("curl -u rosa:Zebra9xx http", "Zebra9"),
        ("we live at 740 Park Avenue, Leeds", "Park"),
        ("we live at 10 Main Street, Leeds", "Main"),
    ],
)
def test_what_is_written_otherwise_is_replaced(text: str, gone: str) -> None:
    assert gone in text and gone not in _left(text)


@pytest.mark.parametrize(
    "text",
    [
        "snake_case _private __init__ a_b",
        "a=b+c; x = y+1 and 2+2=4",
        "100%20 off and 5%30",
        "a_ _b",
    ],
)
def test_what_is_no_disguise_stays(text: str) -> None:
    assert _left(text) == text


@pytest.mark.parametrize("written", ["A\u200bB-12345", "AB\u201112345", "AB 12345", "ab-12345_old"])
def test_a_known_value_is_found_in_disguise(written: str) -> None:
    assert "12345" not in _left(f"your reference {written} is here", ("AB-12345",))


@pytest.mark.parametrize("offset", [0, 19_000, 19_900, 20_100])
def test_a_long_key_is_replaced_whole_over_the_pieces_of_a_text(offset: int) -> None:
    line = "MIIEowIBAAKCAQEAx7Qz8kLr2vN1pYw5TzUu9bGf3XcD4eHj6KmRa0SnVtPqWy\n"
    key = "-----BEGIN PRIVATE KEY-----\n" + line * 25 + "-----END PRIVATE KEY-----"
    text = ("the cat sat. " * 2000)[:offset] + key + " the cat sat." * 100
    assert line[:20] not in _left(text)


@pytest.mark.parametrize("count", [300, 3_000])
def test_messages_and_findings_keep_their_places(count: int) -> None:
    previews = DEIDENTIFIER.explain(["hi Rosa, rosa@mail.example.net"] * count)
    assert len({p.text for p in previews}) == 1
    assert all(len(p.replacements) == 2 for p in previews)


def test_the_oldest_have_no_year_of_birth() -> None:
    policy = Deidentifier(load_policy("hipaa-safe-harbor"), KEY)
    out = policy.preview(
        "Mrs Rosa Acht, born 12/03/1925, aged ninety-nine, came on 3 May 2024."
    ).text
    assert "1925" not in out and "90+" in out and "2024" in out
    assert "1971" in policy.preview("Mrs Rosa Acht, born 12/03/1971, came on 3 May 2024.").text


def test_tags_never_keep_a_row_out() -> None:
    strict = Deidentifier(load_policy("strict"), KEY)
    for text in ("NHS no 943 476 5919", "IBAN DE89 3704 0044 0532 0130 00, Germany"):
        assert not any(map(str.isdigit, strict.explain([text])[0].text))
