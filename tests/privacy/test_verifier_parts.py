"""Parts of the verifier that need no model: labels, windows, spans, uncertain passages."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy.finding import Finding
from recollect.services.privacy.policy import ENTITY_TYPES, Policy, load_policy
from recollect.services.privacy.tagging import shipped_tagger
from recollect.services.privacy.verifier.labels import _SAME, label_table
from recollect.services.privacy.verifier.spans import word_findings
from recollect.services.privacy.verifier.uncertain import sentence_starts, uncertain_passages
from recollect.services.privacy.verifier.windows import windows


@given(length=st.integers(0, 3000), size=st.integers(8, 512))
def test_each_token_is_one_windows_own_and_has_half_the_overlap_around_it(
    length: int, size: int
) -> None:
    overlap = size // 4
    every = list(windows(length, size, overlap))
    owned = [place for w in every for place in range(w.own_first, w.own_last)]
    assert owned == list(range(length))
    for window in every:
        assert 0 < len(window) <= size
        assert 0 <= window.first <= window.own_first <= window.own_last <= window.last <= length
        if window.first > 0:
            assert window.own_first - window.first >= overlap // 2
        if window.last < length:
            assert window.last - window.own_last >= overlap // 2


def test_every_type_of_the_default_table_is_one_of_ours() -> None:
    assert set(_SAME) <= ENTITY_TYPES


@pytest.mark.parametrize(
    ("label", "expected", "begins"),
    [
        ("B-PER", "PERSON", True),
        ("I-PER", "PERSON", False),
        ("E-PERSON", "PERSON", False),
        ("L-PERSON", "PERSON", False),
        ("S-LOC", "LOCATION", True),
        ("U-GPE", "LOCATION", True),
        ("M-ORG", "ORGANIZATION", False),
        ("ORG", "ORGANIZATION", False),
        ("b_per", "PERSON", None),
        ("B_PER", "PERSON", True),
        ("E-MAIL", "EMAIL_ADDRESS", False),
        ("I-TELEPHONENUM", "PHONE_NUMBER", False),
        ("private_person", "PERSON", False),
        ("NORP", "DEMOGRAPHIC", False),
    ],
)
def test_labels_of_others_become_types_of_ours(
    label: str, expected: str, begins: bool | None
) -> None:
    if begins is None:
        with pytest.raises(RecollectError, match="nothing says what the labels b_per"):
            label_table(["O", label], {}, ENTITY_TYPES)
        return
    table = label_table(["O", "B-MISC", label], {}, ENTITY_TYPES)
    assert table.types == (expected,)
    assert table.totals.tolist() == [[0.0], [0.0], [1.0]]
    assert bool(table.begins[2, 0]) is begins


def test_a_policy_says_what_labels_mean_or_that_they_mean_nobody() -> None:
    labels = ["O", "B-CALLSIGN", "I-CALLSIGN", "B-ORG", "SHOE"]
    given = {"callsign": "PERSON", "I-CALLSIGN": "CODE", "ORG": None, "SHOE": None}
    table = label_table(labels, given, ENTITY_TYPES)
    assert table.types == ("CODE", "PERSON")
    assert table.totals.sum(axis=1).tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert table.totals[1, table.types.index("PERSON")] == 1.0


@pytest.mark.parametrize(
    ("labels", "given", "wanted", "told"),
    [
        (["LABEL_0", "LABEL_1"], {}, ENTITY_TYPES, "LABEL_0, LABEL_1"),
        (["O", "B-PER"], {"PRE": "PERSON"}, ENTITY_TYPES, "PRE"),
        (["O", "B-PER"], {}, frozenset({"URL"}), "nothing that the policy replaces"),
        (["O", "B-PER"], {"PER": None}, ENTITY_TYPES, "nothing that the policy replaces"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    labels: list[str], given: dict[str, str | None], wanted: frozenset[str], told: str
) -> None:
    with pytest.raises(RecollectError) as caught:
        label_table(labels, given, wanted)
    assert caught.value.reason is Reason.POLICY_INVALID
    assert caught.value.where == "policy.verifier.labels"
    assert told in caught.value.message


def found(
    text: str, tokens: list[tuple[str, str]], subwords: str = "highest"
) -> list[tuple[str, str]]:
    """What is found where tokens, in order, have labels with certainty ("?" says one of 0.3)."""
    labels = ["O", "B-PER", "I-PER", "B-ADDRESS", "I-ADDRESS"]
    table = label_table(labels, {}, ENTITY_TYPES)
    offsets, rows, end = [], [], 0
    for token, label in tokens:
        start = text.index(token, end)
        end = start + len(token)
        offsets.append((start, end))
        row = np.zeros(len(labels), np.float32)
        row[labels.index(label.strip("?"))] = 0.3 if label.endswith("?") else 0.9
        row[0] += 1.0 - row.sum()
        rows.append(row)
    shares = np.stack(rows)
    findings = word_findings(
        text,
        offsets,
        shares @ table.totals,
        shares @ table.begins,
        table.types,
        0.5,
        "first" if subwords == "first" else "highest",
    )
    return [(text[f.start : f.end], f.entity_type) for f in findings]


def test_one_piece_of_a_word_takes_the_word_along() -> None:
    tokens = [("Ach", "O"), ("ter", "B-PER"), ("berg", "O"), ("called", "O")]
    assert found("Achterberg called", tokens) == [("Achterberg", "PERSON")]
    assert found("Achterberg called", tokens, "first") == []
    assert found("XK42Q went", [("XK", "O"), ("42", "O"), ("Q", "I-PER")]) == [("XK42Q", "PERSON")]


def test_words_of_one_finding_are_put_together_and_of_two_are_not() -> None:
    two = [("Ann", "B-PER"), ("Lee", "I-PER"), ("Bo", "B-PER"), ("Ek", "I-PER")]
    assert found("Ann Lee Bo Ek", two) == [("Ann Lee", "PERSON"), ("Bo Ek", "PERSON")]
    hyphen = [("Jean", "B-PER"), ("-", "O"), ("Luc", "I-PER")]
    assert found("Jean-Luc", hyphen) == [("Jean-Luc", "PERSON")]
    comma = [("Ann", "I-PER"), (",", "O"), ("Bo", "I-PER")]
    assert found("Ann, Bo", comma) == [("Ann", "PERSON"), ("Bo", "PERSON")]
    street = [("Elm", "B-ADDRESS"), (",", "O"), ("Ely", "I-ADDRESS")]
    assert found("Elm, Ely", street) == [("Elm, Ely", "ADDRESS")]
    lines = [("Ann", "I-PER"), ("Bo", "I-PER")]
    assert found("Ann\nBo", lines) == [("Ann\nBo", "PERSON")]
    assert found("Ann\n\nBo", lines) == [("Ann", "PERSON"), ("Bo", "PERSON")]


def test_what_is_too_unlikely_is_not_found() -> None:
    assert found("Ann left", [("Ann", "B-PER?"), ("left", "O")]) == []


def test_scripts_without_spaces_are_found_by_the_character() -> None:
    tokens = [("李", "B-PER"), ("娜", "I-PER"), ("来", "O"), ("了", "O")]
    assert found("李娜来了", tokens) == [("李娜", "PERSON")]


def test_sentences_end_at_stops_but_not_at_titles_and_initials() -> None:
    text = "Mr. J. Smith left early. Nobody saw it!\nThen 3.5 hours passed"
    parts = [text[a:b] for a, b in pairwise([*sentence_starts(text), len(text)])]
    assert parts == ["Mr. J. Smith left early. ", "Nobody saw it!\n", "Then 3.5 hours passed"]


TEXT = (
    "It was late and we waited. The parcel came from Qorvath in the end. "
    "Nobody was at home, so it went back. The number was 48213 or so.\n\n"
    "Thanks for everything."
)


def test_passages_are_the_sentences_with_a_capital_or_number_that_nothing_covers() -> None:
    passages = uncertain_passages(shipped_tagger(), TEXT, [])
    read = [TEXT[a:b] for a, b in passages]
    assert any("Qorvath" in part for part in read)
    assert any("48213" in part for part in read)
    assert not any("late and we waited" in part or "at home" in part for part in read)


def test_a_sentence_whose_words_are_covered_with_certainty_is_not_read_again() -> None:
    text = "We met Rosalind Achterberg there."
    start = text.index("Rosalind")
    whole = Finding(entity_type="PERSON", start=start, end=len(text) - 7, score=1.0)
    tagger = shipped_tagger()
    assert uncertain_passages(tagger, text, [whole]) == []
    assert uncertain_passages(tagger, text, []) == [(0, len(text))]


@given(
    st.lists(
        st.sampled_from(["Qorvath ", "48213 ", "it was. ", "late", "\n", "Mr. ", "。", "! "]),
        max_size=40,
    ).map("".join)
)
def test_passages_are_disjoint_whole_sentences_in_order(text: str) -> None:
    passages = uncertain_passages(shipped_tagger(), text, [])
    edges = {*sentence_starts(text), len(text)}
    assert all(start < end for start, end in passages)
    assert all(a[1] < b[0] for a, b in pairwise(passages))
    assert all(start in edges and end in edges for start, end in passages)


def test_a_sentence_without_end_is_read_whole() -> None:
    text = "well " * 10_000
    assert uncertain_passages(shipped_tagger(), text, []) == [(0, len(text))]


def test_a_policy_without_a_verifier_is_the_policy_it_was() -> None:
    policy = Policy(name="x", version="1", entities=frozenset({"PERSON"}))
    described = policy.model_dump(mode="json")
    assert described["verifier"] is None
    with_one = Policy.model_validate({**described, "verifier": {"model": "m"}})
    assert with_one.fingerprint != policy.fingerprint
    other = Policy.model_validate({**described, "verifier": {"model": "m", "threshold": 0.4}})
    assert other.fingerprint != with_one.fingerprint


@pytest.mark.parametrize(
    ("verifier", "where"),
    [
        ({}, "policy.verifier.model"),
        ({"model": "m", "labels": {"PER": "HUMAN"}}, "policy.verifier"),
        ({"model": "m", "threshold": 0}, "policy.verifier.threshold"),
        ({"model": "m", "only_uncertain": "maybe"}, "policy.verifier.only_uncertain"),
        ({"model": "m", "digest": "abc"}, "policy.verifier.digest"),
        ({"model": "m", "treshold": 0.4}, "policy.verifier.treshold"),
    ],
)
def test_a_verifier_that_is_written_wrong_is_refused(
    verifier: dict[str, object], where: str
) -> None:
    with pytest.raises(RecollectError) as caught:
        Policy.from_mapping({"verifier": verifier})
    assert caught.value.reason is Reason.POLICY_INVALID
    assert (caught.value.where or "").startswith(where)


def test_shipped_policies_have_no_verifier() -> None:
    for name in ("conversations", "gdpr-pseudonymous", "hipaa-safe-harbor", "strict"):
        assert load_policy(name).verifier is None
