"""The shadow: what cannot be seen, or looks like ASCII, hides nothing from a recognizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.shadow import shadow_of

DEIDENTIFIER = Deidentifier(Policy(), bytes(32))


@given(st.text())
def test_every_span_of_the_shadow_leads_back_to_its_characters(text: str) -> None:
    shadow = shadow_of(text)
    for place in range(len(shadow.text)):
        start, end = shadow.span(place, place + 1)
        assert end == start + 1
        assert shadow_of(text[start:end]).text == shadow.text[place]


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_is_its_own_shadow(text: str) -> None:
    assert shadow_of(text).text == text


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
        ("iban GB33BUKB\u200b20201555555555 ok", "20201555555555"),
    ],
)
def test_an_identifier_in_disguise_is_replaced(text: str, kept: str) -> None:
    assert kept not in DEIDENTIFIER.preview(text).text
