"""Subjects are alike if what is left of them is, and stand-ins tell nothing of anybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recollect.mixer.example import Example, Message, Pointer, Speaker
from recollect.services.privacy import Deidentifier, Policy, StandIn
from recollect.services.privacy.residual.quasi import AnonymityTally

SEAL = Deidentifier(Policy(), b"k" * 32).place_seal
ALIKE = (
    "I am 34 years old and I live in Leeds since 2 May 2019.",
    "Since 17 November 2019 I live in Leeds, and I am 37 years old.",
)
ALONE = "I am 71 years old and I live in Warsaw since 2 May 2019."
NOTHING = "The parcel came too late, thank you all the same."

pytestmark = pytest.mark.slow


def told(
    *texts: tuple[str, str], stand_ins: tuple[tuple[int, int], ...] | None = ()
) -> Iterator[Example]:
    """Examples of (subject, text), of which stand-ins are the same places in each."""
    for number, (subject, text) in enumerate(texts):
        example_id = f"{number:032x}"
        places = [
            StandIn(entity_type="LOCATION", message=0, start=start, end=end)
            for start, end in stand_ins or ()
        ]
        yield Example(
            example_id=example_id,
            source="chats",
            messages=(Message(speaker=Speaker.USER, content=text),),
            pointer=Pointer(file="a.jsonl", row=number),
            subject=subject or None,
            policy="1",
            findings=(),
            stand_ins=None if stand_ins is None else SEAL.sealed(example_id, places),
        )


def tally(examples: Iterator[Example]) -> AnonymityTally:
    found = AnonymityTally(SEAL.opened)
    for one in examples:
        found.take(one)
    return found


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    alike = [(f"s{number}", ALIKE[number % 2]) for number in range(6)]
    return [*alike, ("alone", ALONE), ("alone", NOTHING), ("", ALONE)]


def test_classes_are_of_subjects_with_equal_bands_years_and_places(
    texts: list[tuple[str, str]],
) -> None:
    found = tally(told(*texts)).outcome(k=5)
    assert (found.num_subjects, found.num_examples) == (7, 8)
    assert found.class_sizes == {6: 6, 1: 1}
    assert found.attributes == {"age": 7, "date": 7, "place": 7}
    assert found.num_below == 1
    assert found.examples_below == (f"{6:032x}", f"{7:032x}")
    assert tally(told(*texts)).outcome(k=7).num_below == 7


def test_stand_ins_tell_nothing_and_what_nobody_kept_the_places_of_tells_all(
    texts: list[tuple[str, str]],
) -> None:
    whole = ((0, max(map(len, (*ALIKE, ALONE)))),)
    found = tally(told(*texts, stand_ins=whole)).outcome(k=5)
    assert found.class_sizes == {7: 7}
    assert not found.attributes and not found.examples_below
    assert tally(told(*texts, stand_ins=None)).outcome(k=5).num_below == 1


def test_what_several_examples_tell_of_a_subject_is_told_together() -> None:
    apart = tally(told(("a", "I am 34 years old."), ("a", "I live in Leeds now.")))
    together = [("b", "I am 34 years old. I live in Leeds now.")]
    for one in told(*together):
        apart.take(one)
    assert apart.outcome(k=2).class_sizes == {2: 2}


def test_nothing_of_what_is_left_is_in_the_outcome(texts: list[tuple[str, str]]) -> None:
    found = tally(told(*texts)).outcome(k=5)
    body = str(found.to_body())
    assert not any(word in body for word in ("Leeds", "Warsaw", "2019", "71", "alone"))
