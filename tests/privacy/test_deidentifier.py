from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.occurrences import survivors
from recollect.services.privacy.standins import MAKERS

KEY = bytes(range(32))


def chat(*contents: str) -> list[Message]:
    speakers = (Speaker.USER, Speaker.ASSISTANT)
    return [Message(speaker=speakers[i % 2], content=text) for i, text in enumerate(contents)]


PEOPLE = st.sampled_from(["Rosalind Achterberg", "Rajesh Kumar", "Priya", "Will Torres", "May"])
FACTS = st.sampled_from(
    [
        "My name is {person}.",
        "order number is 502-7741936-1180254",
        "my mail is rosa.acht@mail.example.com",
        "call me on +1 202-555-0143",
        "account number 4471-0093-22",
        "I live at 12 Harbour Street, Eastmarch 560001.",
        "Thanks, {person}",
        "it is ok, May I ask again?",
        "card 4111 1111 1111 1111",
        "born on 14/03/1987",
        "nothing to see here",
        "ÀÉ ß İstanbul \U0001f600",
    ]
)


@st.composite
def dialogues(draw: st.DrawFn) -> list[Message]:
    person = draw(PEOPLE)
    lines = draw(st.lists(FACTS, min_size=1, max_size=6))
    return chat(*(line.format(person=person) for line in lines))


@given(dialogues())
@settings(max_examples=60, deadline=None)
def test_no_detected_value_is_left_in_the_output(
    deidentifier: Deidentifier, messages: list[Message]
) -> None:
    raw = "\n\n".join(message.content for message in messages)
    values = {raw[f.start : f.end]: f.entity_type for f in deidentifier.find(raw)}
    out = deidentifier.deidentify(messages)
    text = "\n\n".join(message.content for message in out.messages)
    assert not survivors(text, values)
    assert sum(count for _, count in out.findings) >= len(values)


@given(dialogues())
@settings(max_examples=30, deadline=None)
def test_the_same_messages_and_key_give_the_same_output(
    deidentifier: Deidentifier, messages: list[Message]
) -> None:
    assert deidentifier.deidentify(messages) == deidentifier.deidentify(messages)


@given(dialogues())
@settings(max_examples=30, deadline=None)
def test_speakers_and_the_number_of_messages_stay(
    deidentifier: Deidentifier, messages: list[Message]
) -> None:
    out = deidentifier.deidentify(messages).messages
    assert [m.speaker for m in out] == [m.speaker for m in messages]


@given(st.lists(st.text(max_size=60), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_text_is_either_de_identified_or_refused(
    deidentifier: Deidentifier, contents: list[str]
) -> None:
    try:
        out = deidentifier.deidentify(chat(*contents))
    except RecollectError as error:
        assert error.reason is Reason.DEIDENTIFICATION_FAILED
    else:
        assert len(out.messages) == len(contents)


def test_a_text_without_identifiers_is_unchanged(deidentifier: Deidentifier) -> None:
    messages = chat("why is the sky blue?", "Because air scatters short waves more.")
    out = deidentifier.deidentify(messages)
    assert out.messages == tuple(messages)
    assert out.findings == ()


def test_one_person_keeps_one_name_throughout(deidentifier: Deidentifier) -> None:
    out = deidentifier.deidentify(
        chat("My name is Rajesh Kumar.", "Thank you, Mr. Kumar.", "ok. Thanks, Rajesh")
    )
    first, last = out.messages[0].content.removeprefix("My name is ").removesuffix(".").split()
    assert out.messages[1].content == f"Thank you, Mr. {last}."
    assert out.messages[2].content == f"ok. Thanks, {first}"


def test_a_value_found_once_is_replaced_where_no_recognizer_sees_it(
    deidentifier: Deidentifier,
) -> None:
    out = deidentifier.deidentify(chat("order number is 77120-33", "so 77120-33, or (77120-33)?"))
    assert "77120" not in out.messages[1].content
    assert dict(out.findings)["ORDER_ID"] == 3


def test_without_propagation_other_occurrences_stay() -> None:
    alone = Deidentifier(Policy(propagate=False), KEY)
    out = alone.deidentify(chat("order number is 77120-33", "so 77120-33?"))
    assert "77120-33" in out.messages[1].content


def test_a_question_is_context_for_its_answer(deidentifier: Deidentifier) -> None:
    out = deidentifier.deidentify(chat("And your date of birth?", "July 19, 1990"))
    assert "July 19, 1990" not in out.messages[1].content


def test_a_name_that_is_a_word_is_taken_only_where_it_is_a_name(
    deidentifier: Deidentifier,
) -> None:
    out = deidentifier.deidentify(chat("My name is Mark.", "I will mark it as sent, Mark."))
    name = out.messages[0].content.removeprefix("My name is ").removesuffix(".")
    assert out.messages[1].content == f"I will mark it as sent, {name}."


@pytest.mark.parametrize(
    "text",
    [
        "I will ask in May, and hope for grace.",
        "Mark the page. Bill them later. Will it rain?",
        "The new Galaxy S23 costs 1200 dollars and ships in 24-48 hours.",
        "Preheat to 180 degrees and bake 350 grams of flour for 45 minutes.",
        "def f(x): return x[0] + 12345678  # see line 1024",
        "@property\ndef area(self) -> float: ...",
    ],
)
def test_ordinary_text_is_left_alone(deidentifier: Deidentifier, text: str) -> None:
    assert deidentifier.preview(text).text == text


def test_known_values_are_replaced_in_any_case_and_with_a_slip(deidentifier: Deidentifier) -> None:
    known = ["Thessaly Grange", "TH-99"]
    out = deidentifier.deidentify(
        chat("thessaly grange here, code th-99", "Hello Thessaly Grnge", "grange!"), known
    )
    text = " ".join(message.content for message in out.messages).lower()
    assert not re.search(r"thessaly|gra?nge|th-99", text)
    assert dict(out.findings)["KNOWN_VALUE"] == 4


def test_known_values_of_one_or_two_characters_are_passed_over(deidentifier: Deidentifier) -> None:
    messages = chat("a plan for 42 people")
    assert deidentifier.deidentify(messages, ["a", "42", ""]).messages == tuple(messages)


def test_known_values_can_be_switched_off() -> None:
    policy = Policy(entities=Policy().entities - {"KNOWN_VALUE"})
    messages = chat("about the quillfeather case")
    out = Deidentifier(policy, KEY).deidentify(messages, ["quillfeather"])
    assert out.messages == tuple(messages)


def test_a_type_that_the_policy_leaves_out_is_left_alone() -> None:
    policy = Policy(entities=frozenset({"EMAIL_ADDRESS"}))
    out = Deidentifier(policy, KEY).deidentify(chat("I am Rajesh Kumar, rk@mail.example.com"))
    assert out.messages[0].content.startswith("I am Rajesh Kumar, ")
    assert out.findings == (("EMAIL_ADDRESS", 1),)


def test_a_message_over_the_limit_is_refused_not_cut() -> None:
    with pytest.raises(RecollectError) as caught:
        Deidentifier(Policy(max_characters=10), KEY).deidentify(chat("short", "x" * 11))
    assert caught.value.reason is Reason.INPUT_TOO_LARGE
    assert caught.value.where == "messages[1]"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        Deidentifier(Policy(), b"short")
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_a_value_that_would_survive_fails_the_example(
    deidentifier: Deidentifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in that carries the original is the worst that a maker could do.
    monkeypatch.setattr(
        "recollect.services.privacy.surrogates.Surrogates.stand_in",
        lambda _self, _kind, value, _avoid=(): f"<{value}>",
    )
    with pytest.raises(RecollectError) as caught:
        deidentifier.deidentify(chat("my name is Rosalind Achterberg"))
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert "Rosalind" not in str(caught.value)


def test_an_unforeseen_exception_becomes_a_refusal_that_quotes_nothing(
    deidentifier: Deidentifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(value: str, _: object) -> str:
        raise ValueError(value)

    monkeypatch.setitem(MAKERS, "PERSON", fail)
    with pytest.raises(RecollectError) as caught:
        deidentifier.deidentify(chat("my name is Rosalind Achterberg"))
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert "Rosalind" not in str(caught.value)


def test_findings_are_counted_by_type_in_order(deidentifier: Deidentifier) -> None:
    out = deidentifier.deidentify(
        chat("order 502-7741936-1180254, a@mail.example.com and b@mail.example.com")
    )
    assert out.findings == (("EMAIL_ADDRESS", 2), ("ORDER_ID", 1))


def test_a_preview_shows_what_became_of_each_value(deidentifier: Deidentifier) -> None:
    text = "mail rosa@mail.example.com"
    preview = deidentifier.preview(text)
    (replacement,) = preview.replacements
    assert replacement.original == "rosa@mail.example.com"
    assert preview.text == f"mail {replacement.surrogate}"


@pytest.mark.parametrize(
    ("name", "identifiers"),
    [
        ("rosalind.achterberg@mail.example.com.jsonl", ["rosalind", "achterberg"]),
        ("rosa_acht@mail.example.com.jsonl.gz", ["rosa", "acht"]),
        ("chats_rosa@mail.example.com_2024.csv", ["rosa@mail.example.com"]),
        ("rosa@mail.example.com", ["rosa"]),
        ("complaint of Rosalind Achterberg.jsonl", ["rosalind", "achterberg"]),
        ("Rosalind_Achterberg_chats.csv", ["rosalind", "achterberg"]),
        ("Chats-Rosalind-Achterberg.parquet", ["rosalind", "achterberg"]),
        ("call_+12025550143.jsonl", ["2025550143"]),
    ],
)
def test_identifiers_in_the_name_of_a_file_are_replaced(
    deidentifier: Deidentifier, name: str, identifiers: list[str]
) -> None:
    clean = deidentifier.clean_name(name)
    assert not [value for value in identifiers if value in clean.lower()]


@pytest.mark.parametrize("text", ["Dear Madam, thank you.", "Yes sir", "no madam, not yet"])
def test_forms_of_address_are_nobodys_names(deidentifier: Deidentifier, text: str) -> None:
    assert deidentifier.preview(text).text == text


@pytest.mark.parametrize(
    "name",
    [
        *("support.jsonl", "train-00012-of-00099.parquet", "MultiWOZ_2.2_dialogues_001.json"),
        *("chats_2024-05-01_2024-05-31.jsonl", "gsm8k:train", "natural_questions-train.jsonl.gz"),
    ],
)
def test_the_name_of_a_file_without_identifiers_is_kept(
    deidentifier: Deidentifier, name: str
) -> None:
    assert deidentifier.clean_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["Complaints of Rosalind Wintermoor.jsonl", "rosa.wintermoor@mail.example.com.JSONL.gz"],
)
def test_the_ending_of_a_file_stays(deidentifier: Deidentifier, name: str) -> None:
    clean = deidentifier.clean_name(name)
    assert clean.partition(".jsonl")[2] == name.partition(".jsonl")[2] or clean.endswith(
        ".JSONL.gz"
    )
    assert "wintermoor" not in clean.lower() and clean.lower().count(".jsonl") == 1
