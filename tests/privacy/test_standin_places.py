"""Where stand-ins are is kept exactly, and readable with the key alone, of its example alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.standin_places import PlaceSeal, StandIn

KEY = b"k" * 32
SEAL = PlaceSeal(KEY)
PLACES = tuple(
    StandIn(entity_type=kind, message=message, start=start, end=start + length)
    for message, start, kind, length in (
        (0, 3, "PERSON", 15),
        (0, 40, "EMAIL_ADDRESS", 19),
        (2, 0, "PERSON", 7),
    )
)

places_of = st.lists(
    st.builds(
        StandIn,
        entity_type=st.sampled_from(["PERSON", "PHONE_NUMBER", "DATE_TIME"]),
        message=st.integers(0, 5),
        start=st.integers(0, 10**6),
        end=st.integers(0, 10**6),
    ),
    max_size=20,
    unique_by=lambda one: (one.message, one.start),
)


@given(found=places_of, example_id=st.text("0123456789abcdef", min_size=32, max_size=32))
def test_what_was_sealed_is_what_is_opened(found: list[StandIn], example_id: str) -> None:
    sealed = SEAL.sealed(example_id, found)
    assert SEAL.opened(example_id, sealed) == tuple(
        sorted(found, key=lambda one: (one.message, one.start))
    )
    # Equal places, equal bytes: a segment is the same however often it is made.
    assert sealed == SEAL.sealed(example_id, found)


@pytest.mark.parametrize("what", ["another example", "another key", "a changed byte"])
def test_nothing_but_the_key_and_the_example_opens_them(what: str) -> None:
    sealed = bytearray(SEAL.sealed("a1", PLACES))
    seal, example_id = SEAL, "a1"
    if what == "another example":
        example_id = "a2"
    elif what == "another key":
        seal = PlaceSeal(b"l" * 32)
    else:
        sealed[-1] ^= 1
    with pytest.raises(RecollectError) as caught:
        seal.opened(example_id, bytes(sealed))
    assert caught.value.reason is Reason.STORAGE_CORRUPT
    assert example_id in caught.value.where


def test_equal_stand_ins_of_two_examples_have_nothing_in_common_and_the_length_is_coarse() -> None:
    one, two = SEAL.sealed("a1", PLACES), SEAL.sealed("a2", PLACES)
    assert not {one[i : i + 8] for i in range(len(one))} & {two[i : i + 8] for i in range(len(two))}
    assert len(SEAL.sealed("a1", PLACES[::2])) == len(SEAL.sealed("a1", PLACES[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["surrogate", "tag", "mask", "drop"])
def test_the_places_are_those_of_the_stand_ins_and_what_is_outside_is_as_it_was(
    operator: str,
) -> None:
    raw = (
        "Hi, I am Tobias Lindqvist, write to tobias.l@firma.example.org, Tobias!",
        "",
        "Thanks Tobias. Is 212-736-5000 still yours? We called Marta Nowak as well.",
    )
    policy = Policy.from_mapping({"operators": {"*": operator}})
    messages = [Message(speaker=Speaker.USER, content=content) for content in raw]
    clean = Deidentifier(policy, KEY).deidentify(messages)
    counted = sum(count for _, count in clean.findings)
    assert counted >= 5 and len(clean.stand_ins) == (0 if operator == "drop" else counted)
    if operator == "drop":
        return
    for number, content in enumerate(raw):
        new = clean.messages[number].content
        own = [one for one in clean.stand_ins if one.message == number]
        rest, last = [], 0
        for one in own:
            rest.append(new[last : one.start])
            last = one.end
        pattern = ".+?".join(re.escape(part) for part in [*rest, new[last:]])
        assert re.fullmatch(pattern, content, re.DOTALL)
        if operator == "tag":
            assert all(new[o.start : o.end] == f"[{o.entity_type}]" for o in own)
