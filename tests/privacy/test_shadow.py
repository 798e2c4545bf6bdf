"""The shadow: what cannot be seen, or looks like ASCII, hides nothing from a recognizer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.shadow import shadow_of

DEIDENTIFIER = Deidentifier(Policy(), bytes(32))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\\&%=")))
def test_every_span_of_the_shadow_leads_back_to_its_characters(text: str) -> None:
    shadow = shadow_of(text)
    for place in range(len(shadow.text)):
        start, end = shadow.span(place, place + 1)
        assert end == start + 1
        # What it is by itself, or what it passes for beside a Latin letter.
        character = text[start:end]
        looks = {shadow_of(character).text, shadow_of(f"a{character}").text[1:]}
        assert shadow.text[place] in looks


@given(
    st.text(
        alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\&%=_")
    )
)
def test_ascii_is_its_own_shadow(text: str) -> None:
    assert shadow_of(text).text == text


@given(st.text())
def test_a_json_string_is_read_as_what_it_says(text: str) -> None:
    escaped = json.dumps(text, ensure_ascii=False)
    shadow = shadow_of(escaped)
    for place in range(len(shadow.text)):
        start, end = shadow.span(place, place + 1)
        assert 0 <= start < end <= len(escaped)


def test_an_identifier_behind_an_escape_is_found() -> None:
    text = json.dumps("Write to:\nrosa@mail.example.com\nRosalind Achterberg")
    out = DEIDENTIFIER.preview(text).text
    assert "rosa@mail" not in out and "Rosalind" not in out
    assert json.loads(out).count("\n") == 2


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("card 4111\u00a01111\u00a01111\u00a01111 please", "1111\u00a01111"),
        ("card 4111\u20091111\u20091111\u20091111 please", "1111\u20091111"),
        ("card 4111\u20111111\u20111111\u20111111 please", "1111\u20111111"),
        ("ssn 219\u201109\u20119999", "9999"),
        ("mail jo.smith\u200b@mail.example.com now", "smith"),
        ("mail jo.smith@mail.exam\u00adple.com now", "smith"),
        ("mail jo.smith\uff20mail.example.com now", "smith"),
        ("mail j\u043e.smith@mail.ex\u0430mple.com now", "smith"),
        ("my name is R\u043esalind Acht\u0435rberg", "Acht\u0435rberg"),
        ("iban GB33BUKB\u200b20201555555555 ok", "20201555555555"),
    ],
)
def test_an_identifier_in_disguise_is_replaced(text: str, kept: str) -> None:
    assert kept not in DEIDENTIFIER.preview(text).text


@pytest.mark.parametrize(
    "text", ["\u041c\u043e\u0441\u043a\u0432\u0430 and Rome", "\u03bb is small, \u03b1 is not"]
)
def test_what_is_honestly_cyrillic_or_greek_stays_so(text: str) -> None:
    assert shadow_of(text).text == text


@given(st.text(alphabet="ab1&#;%40x=\n", max_size=40))
def test_spans_of_a_shadow_of_references_lie_apart_and_in_order(text: str) -> None:
    shadow = shadow_of(text)
    last = 0
    for place in range(len(shadow.text)):
        start, end = shadow.span(place, place + 1)
        assert last <= start < end <= len(text)
        last = end


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to rosa.acht&#64;mail.example.net &amp; wait", " &amp; wait"),
        ("write to rosa.acht&commat;mail.example.net &amp; wait", " &amp; wait"),
        ("open ?u=rosa.acht%40mail.example.net now", " now"),
        (f"{'I write to you, ' * 5}rosa.ac=\nht@mail.example.net now", " now"),
        (r"write to rosa\u002eacht\u0040mail.example.net now", " now"),
        (r"call \u002b1 \u0028202\u0029 555\u002d0143 now", " now"),
        ("call &#43;1 202&#45;555&#45;0143 &quot;now&quot;", " &quot;now&quot;"),
        ("my name is Ren&eacute; Achterberg &amp; yours?", " &amp; yours?"),
    ],
)
def test_an_identifier_as_a_web_page_or_a_mail_writes_it_is_replaced(text: str, kept: str) -> None:
    out = DEIDENTIFIER.preview(text).text
    assert out.endswith(kept)
    left = out.removesuffix(kept)
    for raw in ("acht", "555-0143", "202", "Ren", "&#", "eacute", "%40"):
        assert raw not in left


def test_a_name_is_the_same_however_its_letters_are_written() -> None:
    plain = DEIDENTIFIER.preview("my name is René Achterberg").text
    assert DEIDENTIFIER.preview("my name is Ren&eacute; Achterberg").text == plain


@pytest.mark.parametrize("text", ["R&amp;D is 50%40 off", "AT&T; &bogus; a=\nb 100%2 x=1"])
def test_what_only_looks_like_a_reference_stays(text: str) -> None:
    assert DEIDENTIFIER.preview(text).text == text
