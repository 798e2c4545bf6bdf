"""`recollect deid policies`: every class of a policy, what becomes of it, and the law's classes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.cli import app
from recollect.services.privacy.policy import ENTITY_TYPES, load_policy, shipped_policies
from recollect.services.privacy.safe_harbor import POLICY_NAME, SAFE_HARBOR

NAMES = [policy.name for policy in shipped_policies()]


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["deid", "policies", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_list_names_every_policy() -> None:
    assert all(name in shown() for name in NAMES)
    assert [policy["name"] for policy in json.loads(shown("--json"))] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_tells_of_every_type_what_becomes_of_it(name: str) -> None:
    policy = load_policy(name)
    body = json.loads(shown(name, "--json"))
    assert body["operators"] == {kind: str(policy.operator(kind)) for kind in policy.entities}
    assert (body["version"], body["fingerprint"]) == (policy.version, policy.fingerprint)
    rows = dict(line.split()[:2] for line in shown(name).splitlines() if len(line.split()) > 1)
    for kind in ENTITY_TYPES:
        assert rows[kind] == (str(policy.operator(kind)) if kind in policy.entities else "kept")
    assert rows["tagger_threshold"].startswith(str(policy.tagger_threshold))
    assert ("safe_harbor" in body) == (name == POLICY_NAME)


def test_the_eighteen_classes_are_all_there_and_nothing_of_the_policy_is_left_over() -> None:
    assert [one.letter for one in SAFE_HARBOR] == list("ABCDEFGHIJKLMNOPQR")
    policy = load_policy(POLICY_NAME)
    mapped = {kind for one in SAFE_HARBOR for kind in one.entity_types}
    assert mapped == policy.entities
    # Photographs and fingerprints are no text; every other class has a type that is replaced.
    assert [one.letter for one in SAFE_HARBOR if not one.entity_types] == ["P", "Q"]
    classes = json.loads(shown(POLICY_NAME, "--json"))["safe_harbor"]
    assert [one["letter"] for one in classes] == list("ABCDEFGHIJKLMNOPQR")
    assert "45 CFR 164.514" in " ".join(shown(POLICY_NAME).split())


def test_an_unknown_policy_is_refused() -> None:
    error = CliRunner().invoke(app, ["deid", "policies", "gdpr"]).exception
    assert isinstance(error, RecollectError)
    assert error.reason is Reason.POLICY_INVALID
