from __future__ import annotations

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Speaker
from recollect.services.intake import ColumnMapping, Layout


def test_yaml_is_read_and_everything_may_be_left_out() -> None:
    mapping = ColumnMapping.from_yaml("layout: pairs\nspeakers: {System: assistant}\n")
    assert mapping.layout == Layout.PAIRS
    assert ColumnMapping.from_yaml("") == ColumnMapping()


def test_given_spellings_win_over_the_usual_ones_in_any_case() -> None:
    mapping = ColumnMapping.from_dict(
        {"speakers": {" SYSTEM": "assistant"}, "drop_speakers": ["X"]}
    )
    assert mapping.speakers_by_label["system"] == Speaker.ASSISTANT
    assert mapping.speakers_by_label["x"] is None
    assert mapping.speakers_by_label["human"] == Speaker.USER


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("layouts: pairs", "mapping.layouts"),
        ("layout: nothing", "mapping.layout"),
        ("version: 2", "mapping.version"),
        ("speakers: {a: text}", "mapping.speakers.a"),
        ("prompt: q", "mapping"),
        ("{text: a, dialogue: b}", "mapping"),
        ("- a", "mapping"),
        ("a: [", "mapping:1:5"),
    ],
)
def test_broken_mapping_is_one_error_that_names_the_field(text: str, where: str) -> None:
    with pytest.raises(RecollectError) as caught:
        ColumnMapping.from_yaml(text)
    assert caught.value.reason == Reason.CONFIG_INVALID
    assert caught.value.where == where
