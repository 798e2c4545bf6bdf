from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy import ENTITY_TYPES, Deidentifier, Policy
from recollect.services.privacy.operators import replacement
from recollect.services.privacy.policy import Operator, load_policy, shipped_policies


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


def test_the_shipped_policies_are_named_as_their_files_are() -> None:
    names = {policy.name for policy in shipped_policies()}
    assert names == {"conversations", "gdpr-pseudonymous", "hipaa-safe-harbor", "strict"}
    assert {load_policy(name).name for name in names} == names


def test_the_default_policy_is_the_one_called_conversations() -> None:
    assert load_policy("conversations").fingerprint == Policy().fingerprint


def test_types_are_taken_away_from_all_or_from_the_default() -> None:
    assert Policy.model_validate({"except": ["URL"]}).entities == Policy().entities - {"URL"}
    every = Policy.model_validate({"entities": "all", "except": ["URL"]})
    assert every.entities == ENTITY_TYPES - {"URL"}


def test_operators_are_by_type_with_a_star_for_the_rest() -> None:
    policy = Policy.from_mapping(
        {"entities": "all", "except": ["AGE"], "operators": {"*": "tag", "PERSON": "mask"}}
    )
    assert policy.operator("PERSON") is Operator.MASK
    assert policy.operator("URL") is Operator.TAG
    assert policy.entities == ENTITY_TYPES - {"AGE"}
    assert Policy().operator("URL") is Operator.SURROGATE


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("entities: [HAT]", "policy.entities"),
        ("operators: {HAT: tag}", "policy.operators"),
        ("operators: {PERSON: burn}", "policy.operators.PERSON"),
        ("tagger_threshold: 0", "policy.tagger_threshold"),
        ("except: 5", "policy"),
        ("{entities: [[PERSON]], except: [URL]}", "policy.entities"),
        ("{entities: 7, except: [URL]}", "policy"),
        ("except: URL", "policy"),
        ("- a list", "mine.yaml"),
        ("a: [", "mine.yaml"),
    ],
)
def test_a_policy_file_that_is_wrong_is_refused(content: str, where: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(RecollectError) as caught:
        load_policy(str(path))
    assert caught.value.reason is Reason.POLICY_INVALID
    assert str(caught.value.where).endswith(where)


@pytest.mark.parametrize(
    ("operator", "entity", "value", "expected"),
    [
        (Operator.TAG, "PERSON", "Rosa", "[PERSON]"),
        (Operator.MASK, "PERSON", "Rosa A.", "**** *."),
        (Operator.DROP, "PERSON", "Rosa", ""),
        (Operator.GENERALISE, "DATE_TIME", "3 May 1964", "1964"),
        (Operator.GENERALISE, "DATE_TIME", "3 May", "[DATE_TIME]"),
        (Operator.GENERALISE, "AGE", "34 years old", "30-39"),
        (Operator.GENERALISE, "AGE", "94", "90+"),
        (Operator.GENERALISE, "AGE", "six", "0-9"),
        (Operator.GENERALISE, "AGE", "ninety-one", "90+"),
        (Operator.GENERALISE, "AGE", "quite old", "[AGE]"),
        (Operator.GENERALISE, "PERSON", "Rosa", "[PERSON]"),
    ],
)
def test_operators_without_a_key(
    operator: Operator, entity: str, value: str, expected: str
) -> None:
    assert replacement(operator, entity, value) == expected


def test_safe_harbor_keeps_years_and_bands_of_ages_alone() -> None:
    deidentifier = Deidentifier(load_policy("hipaa-safe-harbor"), bytes(range(32)))
    text = "Mr Olumide Brzezicki, aged 94, was admitted on 3 May 2019."
    out = deidentifier.preview(text).text
    assert "90+" in out and "2019" in out
    assert not any(part in out for part in ("Olumide", "Brzezicki", "94", "3 May"))
