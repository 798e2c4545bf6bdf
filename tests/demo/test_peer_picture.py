import re
from fractions import Fraction
from xml.etree import ElementTree

import pytest

from recollect.mixer.peer_rules import RULES
from recollect.services.demo.peer_picture import HIDDEN, NUM_DRAWN, peer_picture

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture() -> ElementTree.Element:
    return ElementTree.fromstring(peer_picture())


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def test_every_rule_has_a_band_and_ours_comes_first(picture: ElementTree.Element) -> None:
    names = [rule.name for rule in RULES if rule.name not in HIDDEN]
    shown = [text for text in texts(picture) if text in names]
    assert sorted(shown) == sorted(names)
    assert shown[0] == "Recollect"


def test_every_batch_is_drawn_once(picture: ElementTree.Element) -> None:
    columns = [path.get("d") or "" for path in picture.iter(f"{SVG}path")]
    for right, wrong in zip(columns[::2], columns[1::2], strict=True):
        assert (right + wrong).count("M") == NUM_DRAWN


def test_ours_is_drawn_without_a_wrong_batch_or_rank(picture: ElementTree.Element) -> None:
    paths = list(picture.iter(f"{SVG}path"))
    assert paths[1].get("class") == "wrong"
    assert paths[1].get("d") == ""


def test_the_picture_stands_alone_and_describes_itself(picture: ElementTree.Element) -> None:
    assert picture.find(f"{SVG}title") is not None
    assert picture.find(f"{SVG}desc") is not None
    addresses = re.findall(r"https?://[^\"<]*", peer_picture())
    assert addresses == ["http://www.w3.org/2000/svg"]


def test_a_mix_that_a_package_refuses_says_so_in_its_band() -> None:
    rare = (Fraction(199, 200), Fraction(1, 200))
    written = texts(ElementTree.fromstring(peer_picture(rare, rarest_name="<rare> & co")))
    assert "Raises: a source would get no row of a batch" in written
    assert any("<Rare> & co".lower() in text.lower() for text in written)


def test_many_ranks_are_cut_off_and_the_picture_says_so() -> None:
    written = texts(ElementTree.fromstring(peer_picture(world_size=32)))
    assert any("the first 16 of 32 ranks" in text for text in written)
