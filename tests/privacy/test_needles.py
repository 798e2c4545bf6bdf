"""Needles: what stands in bytes is found in every spelling, and nothing else is."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy.needles import Needles, all_found, lowered, spellings

VALUES = ["Lorna Tirkortal", "vonjenhak@gmx.de", "Åse Gelkesbok", "4724516708733300", "Bo7"]
letters = st.text(alphabet="abAB12 é@", min_size=1, max_size=14)


def places(needles: Needles, content: bytes) -> set[int]:
    return {place for place, _ in needles.found(lowered(content))}


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    "spell",
    [
        str.encode,
        lambda v: v.swapcase().encode(),
        lambda v: json.dumps({"text": v}).encode(),
        lambda v: json.dumps(json.dumps(v)).encode(),
        lambda v: quote(v).encode(),
        lambda v: repr(v.replace(" ", "\n")).encode(),
        lambda v: v.replace(" ", "\r\n").encode(),
        lambda v: b64encode(f"x{v}".encode()),
        lambda v: b64encode(f"xy{v} z".encode()),
        lambda v: urlsafe_b64encode(f"xyz{v}".encode()),
        lambda v: b64encode(v.upper().encode()),
        lambda v: b64encode(v.encode("utf-16-le")),
    ],
)
def test_a_value_is_found_in_every_spelling(place: int, spell: object) -> None:
    assert callable(spell)
    content = b"\x00\xff ahead of it: " + spell(VALUES[place]) + b" and behind \xfe"
    assert places(Needles(VALUES), content) == {place}


@given(st.lists(letters, min_size=1, max_size=20), st.lists(letters, max_size=30))
def test_what_is_found_is_what_a_plain_search_finds(values: list[str], text: list[str]) -> None:
    content = lowered("".join(text).encode())
    # A number within a longer number is another number, which a plain search does not know.
    values = [value for value in values if not value.isdigit()]
    found = {place for place, spelling in Needles(values).found(content) if not spelling}
    assert found == {n for n, value in enumerate(values) if value.lower().encode() in content}


@given(st.binary(max_size=200), st.integers(1, 64))
def test_blocks_hide_nothing(content: bytes, size: int) -> None:
    content += b" lorna tirkortal bo7 " + content
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    assert {0, 4} <= {place for place, _ in all_found(blocks, Needles(VALUES))}


def test_a_long_number_within_a_longer_one_is_another() -> None:
    needles = Needles(VALUES)
    assert places(needles, b"17247245167087333009") == set()
    assert places(needles, b"card4724516708733300.") == {3}


def test_short_values_have_no_base64_as_it_stands_somewhere_by_chance() -> None:
    assert [spelling for _, spelling in spellings("Bo")] == [""]
    assert spellings("") == {}
