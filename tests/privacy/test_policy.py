from __future__ import annotations

import pytest
from pydantic import ValidationError

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy import ENTITY_TYPES, Policy


def test_equal_policies_have_equal_fingerprints_whatever_the_order_of_entities() -> None:
    one = Policy(entities=frozenset({"PERSON", "URL"}))
    other = Policy(entities=frozenset({"URL", "PERSON"}))
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"version": "other"},
        {"entities": frozenset({"PERSON"})},
        {"score_threshold": 0.5},
        {"propagate": False},
        {"max_characters": 10},
    ],
)
def test_each_setting_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert Policy().fingerprint != Policy.model_validate(change).fingerprint


def test_dates_are_left_alone_by_default() -> None:
    assert "DATE_TIME" in ENTITY_TYPES
    assert "DATE_TIME" not in Policy().entities


def test_an_unknown_entity_type_is_refused_with_its_field() -> None:
    with pytest.raises(RecollectError) as caught:
        Policy.from_mapping({"entities": ["SHOE_SIZE"]})
    assert caught.value.reason is Reason.POLICY_INVALID
    assert caught.value.where == "policy.entities"
    assert "SHOE_SIZE" in caught.value.message


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(RecollectError) as caught:
        Policy.from_mapping({"treshold": 0.5})
    assert caught.value.where == "policy.treshold"


def test_the_overlap_must_fit_into_a_chunk() -> None:
    with pytest.raises(ValidationError, match="half of chunk_characters"):
        Policy(chunk_characters=1_000, chunk_overlap=900)
