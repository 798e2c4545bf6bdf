from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.intake import ColumnMapping, Repair, Unusable
from recollect.services.intake.dialogue import to_messages
from recollect.services.intake.layouts import Turn

SPEAKERS = ColumnMapping().speakers_by_label


def repaired(*turns: tuple[str, str]) -> tuple[tuple[Message, ...] | Unusable, Counter[Repair]]:
    repairs: Counter[Repair] = Counter()
    listed = [Turn(label, (content,)) for label, content in turns]
    return to_messages(listed, SPEAKERS, repairs), repairs


def test_neighbours_of_one_speaker_are_joined_by_a_newline_and_counted() -> None:
    messages, repairs = repaired(("user", "a"), ("Customer", "b"), ("agent", "c"))
    assert messages == (
        Message(speaker=Speaker.USER, content="a\nb"),
        Message(speaker=Speaker.ASSISTANT, content="c"),
    )
    assert repairs == {Repair.TURNS_MERGED: 1}


def test_turns_around_a_dropped_or_empty_one_are_joined() -> None:
    messages, repairs = repaired(
        ("agent", "hi"), ("action", "x"), ("AGENT", "there"), ("user", " "), ("bot", "!")
    )
    assert messages == (Message(speaker=Speaker.ASSISTANT, content="hi\nthere\n!"),)
    assert repairs == {
        Repair.SPEAKER_DROPPED: 1,
        Repair.EMPTY_TURN_DROPPED: 1,
        Repair.TURNS_MERGED: 2,
    }


def test_leading_assistant_turn_stays() -> None:
    messages, repairs = repaired(("assistant", "Welcome."), ("user", "Hi"))
    assert isinstance(messages, tuple) and messages[0].speaker == Speaker.ASSISTANT
    assert not repairs


def test_dialogue_without_assistant_or_text_is_unusable() -> None:
    assert repaired(("user", "Anyone?"))[0] == Unusable.NO_ASSISTANT
    assert repaired(("assistant", "\n"))[0] == Unusable.EMPTY
    assert repaired()[0] == Unusable.EMPTY


def test_part_that_is_not_text_is_dropped_and_counted() -> None:
    repairs: Counter[Repair] = Counter()
    turns = [Turn("assistant", ("a", None, "b"))]
    assert to_messages(turns, SPEAKERS, repairs) == (
        Message(speaker=Speaker.ASSISTANT, content="a\nb"),
    )
    assert repairs == {Repair.PART_DROPPED: 1}


def test_unknown_speaker_is_an_error_that_names_no_person() -> None:
    with pytest.raises(RecollectError) as caught:
        repaired(("user", "hi"), ("Crystal Minh", "x"))
    assert caught.value.reason == Reason.INPUT_UNKNOWN_SPEAKER
    assert "turn 2 is by a label of 12 characters" in str(caught.value)
    with pytest.raises(RecollectError, match="'tool'"):
        repaired(("Tool", "x"))


def test_plain_text_is_no_speaker_that_a_dialogue_may_claim() -> None:
    with pytest.raises(RecollectError):
        repaired(("text", "x"))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["user", "agent", "action", "system"]), st.text())))
def test_repaired_dialogues_alternate_and_hold_no_empty_turn(turns: list[tuple[str, str]]) -> None:
    messages, repairs = repaired(*turns)
    if isinstance(messages, tuple):
        speakers = [message.speaker for message in messages]
        assert all(one != other for one, other in pairwise(speakers))
        assert all(message.content.strip() for message in messages)
        assert len(messages) + sum(repairs.values()) == len(turns)
        assert Speaker.ASSISTANT in speakers
        assert json.dumps([message.content for message in messages])
