from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.document import LONGEST_QUOTE, quote
from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.mix import Mix
from recollect.services.yaml_text import parse_yaml

MIX = {
    "name": "support",
    "batch_size": 8,
    "num_steps": 10,
    "max_length": 64,
    "sources": [{"source": "tickets", "role": "task", "share": "1"}],
}


def refusal(**changes: object) -> RecollectError:
    data: dict[str, Any] = {**MIX, **changes}
    with pytest.raises(RecollectError) as caught:
        Mix.from_mapping({key: value for key, value in data.items() if value != "absent"})
    return caught.value


def source(**changes: object) -> list[dict[str, object]]:
    return [{"source": "tickets", "role": "task", "share": "1", **changes}]


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"batch_size": "absent"}, "batch_size", "this field is missing"),
        ({"batch_sise": 8}, "batch_sise", "there is no such field; did you mean batch_size?"),
        ({"version": 2}, "version", "it must be 1; 2 was given"),
        ({"purpose": "fun"}, "purpose", "it must be one of train or evaluate; 'fun' was given"),
        ({"batch_size": "8"}, "batch_size", "it must be a whole number; '8' was given"),
        ({"batch_size": True}, "batch_size", "it must be a whole number; true was given"),
        ({"batch_size": None}, "batch_size", "it must be a whole number; nothing was given"),
        ({"batch_size": 0}, "batch_size", "it must be at least 1; 0 was given"),
        ({"batch_size": 2000000}, "batch_size", "it must be at most 1000000; 2000000 was given"),
        ({"seed": 1 << 63}, "seed", f"it must be below {1 << 63}; {1 << 63} was given"),
        ({"name": 7}, "name", "it must be text; 7 was given"),
        (
            {"name": "-x"},
            "name",
            "it must begin with a letter or digit and go on with those and . _ / - only; "
            "'-x' was given",
        ),
        (
            {"name": "x" * 200},
            "name",
            f"it may have at most 128 characters; '{'x' * 38}… was given",
        ),
        ({"sources": []}, "sources", "it must have at least 1 entries; a list of 0 was given"),
        ({"sources": {}}, "sources", "it must be a list; a mapping of 0 fields was given"),
        ({"sources": ["x"]}, "sources[0]", "it must be a mapping of fields; 'x' was given"),
        (
            {"sources": source(weight=1)},
            "sources[0].weight",
            "there is no such field; there are source, role, share, on_exhaustion, max_epochs",
        ),
        (
            {"sources": source(share="much")},
            "sources[0].share",
            "a share is a number such as 0.7, 70% or 2/3; 'much' was given",
        ),
    ],
)
def test_a_refusal_names_field_value_and_remedy(
    changes: dict[str, object], where: str, message: str
) -> None:
    error = refusal(**changes)
    assert (error.reason, error.where, error.message) == (Reason.MIX_INVALID, where, message)


def test_a_refusal_names_the_other_fields_that_are_wrong() -> None:
    error = refusal(batch_size=0, max_length="x", sources=source(share="much", weight=1))
    assert error.where == "batch_size"
    assert error.message.endswith("(also wrong: max_length, sources[0].share, sources[0].weight)")
    many = refusal(sources=[*source(), *({"role": "task", "share": "0"} for _ in range(9))])
    assert many.where == "sources[1].source"
    others = ", ".join(f"sources[{index}].source" for index in range(2, 7))
    assert many.message == f"this field is missing (also wrong: {others} and 3 more)"


def test_an_unknown_field_with_a_long_name_is_cut_in_the_path() -> None:
    error = refusal(**{"y" * 5000: 1})
    assert len(error.where) <= LONGEST_QUOTE
    assert len(error.message) < 300


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_is_quoted_in_one_short_line(value: object) -> None:
    text = quote(value)
    assert len(text) <= LONGEST_QUOTE
    assert text.isprintable()


def test_a_number_of_thousands_of_digits_can_be_quoted() -> None:
    assert quote(10**5000) == "a very long number"


def test_a_repeated_key_is_found_among_many() -> None:
    lines = "\n".join(f"k{number}: 1" for number in range(2000))
    assert parse_yaml(lines) == {f"k{number}": 1 for number in range(2000)}
    with pytest.raises(RecollectError, match="key 'k0' is given twice") as caught:
        parse_yaml(f"{lines}\nk0: 2")
    assert caught.value.where == "line 2001, column 1"


def test_words_stay_words_and_decimals_stay_as_written() -> None:
    text = "{no: on, yes: Off, true: false, share: 0.10, count: 1_000, e: 1.0e-5}"
    assert parse_yaml(text) == {
        "no": "on",
        "yes": "Off",
        True: False,
        "share": "0.10",
        "count": 1000,
        "e": "1.0e-5",
    }


@pytest.mark.parametrize("number", ["012", "0x10", "0b11", "1:30"])
def test_a_number_that_yaml_reads_otherwise_than_people_is_refused(number: str) -> None:
    with pytest.raises(RecollectError, match="plain digits") as caught:
        parse_yaml(f"seed: {number}")
    assert caught.value.where == "line 1, column 7"


@pytest.mark.parametrize("text", ["? [a]\n: 1", "? {a: 1}\n: 1", "{[a]: 1, [a]: 2}"])
def test_a_key_that_is_no_word_is_refused(text: str) -> None:
    with pytest.raises(RecollectError) as caught:
        parse_yaml(text, noun="policy", reason=Reason.POLICY_INVALID)
    assert caught.value.reason is Reason.POLICY_INVALID
