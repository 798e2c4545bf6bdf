"""Texts in other languages than English: their names go, their words stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.language import capitalised_parts, foreign_small_words

from .conftest import KEY

DEIDENTIFIER = Deidentifier(Policy(), KEY)


@pytest.mark.parametrize(
    ("text", "gone", "kept"),
    [
        (
            "Guten Morgen, ich heiße Friederike Sommer und warte seit gestern auf eine Antwort.",
            ("Friederike", "Sommer"),
            ("ich heiße", "und warte seit gestern auf eine"),
        ),
        (
            "Je m'appelle Amélie Durand et mon imprimante ne marche plus depuis hier.",
            ("Amélie", "Durand"),
            ("Je m'appelle", "et mon imprimante ne marche plus depuis hier."),
        ),
        (
            "Меня зовут Иван Петров, и мой принтер не работает.",
            ("Иван", "Петров"),
            ("Меня зовут", ", и мой принтер не работает."),
        ),
        (
            "¿Puede ayudarme, por favor? La impresora no funciona desde ayer.",
            (),
            ("¿Puede ayudarme, por favor? La impresora no funciona desde ayer.",),
        ),
        (
            "Il mio ordine non è ancora arrivato, può controllare per favore?",
            (),
            ("Il mio ordine non è ancora arrivato, può controllare per favore?",),
        ),
    ],
)
def test_names_go_and_words_stay(text: str, gone: tuple[str, ...], kept: tuple[str, ...]) -> None:
    out = DEIDENTIFIER.preview(text).text
    assert not [name for name in gone if name in out]
    assert not [words for words in kept if words not in out]


@pytest.mark.parametrize(
    "text",
    [
        "Hi, my printer is broken, can you help me please? I am Rosa Acht.",
        "mera refund kab aayega yaar, naam rahul verma hai",
        "Rosa Acht, Leeds",
        "send it 2 my mum pls asap thx",
        "करीब दो हफ्ते हो गए हैं",
        "",
    ],
)
def test_what_may_be_english_is_read_as_english(text: str) -> None:
    assert foreign_small_words(text) is None


@given(st.text(alphabet="aB1 ,é", max_size=30))
def test_parts_hold_every_capital_and_digit(text: str) -> None:
    parts = capitalised_parts(text, frozenset())
    covered = {i for start, end in parts for i in range(start, end)}
    assert {i for i, c in enumerate(text) if c.isupper() or c.isdigit()} <= covered
    assert [*parts] == sorted(parts)
