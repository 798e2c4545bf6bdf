"""Measuring: layouts of labelled text, what counts as found, and the bounds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy import Finding
from recollect.services.privacy.evaluation import (
    PERTURBATIONS,
    LabelledSpan,
    LabelledText,
    Rate,
    measure,
    perturbed,
    read_labelled,
)

TEXT = "Rosa met Tom. Rosa left."


def labelled(*spans: LabelledSpan, text: str = TEXT) -> LabelledText:
    return LabelledText(text_id="t", text=text, spans=spans)


def finding(start: int, end: int) -> Finding:
    return Finding(entity_type="X", start=start, end=end, score=1.0)


ROSA = LabelledSpan(entity_type="PERSON", start=0, end=4, entity_id="rosa")
ROSA_AGAIN = LabelledSpan(entity_type="PERSON", start=14, end=18, entity_id="rosa")
TOM = LabelledSpan(entity_type="PERSON", start=9, end=12, identifier="quasi")


def test_an_entity_counts_only_if_all_its_mentions_are_covered() -> None:
    rows = [labelled(ROSA, TOM, ROSA_AGAIN)]
    half = measure(rows, lambda _: [finding(0, 4), finding(9, 12)])
    assert (half.recall.num_hits, half.recall.num_all) == (2, 3)
    assert (half.direct.num_hits, half.direct.num_all) == (0, 1)
    assert (half.quasi.num_hits, half.quasi.num_all) == (1, 1)
    assert half.missed == [("t", "PERSON", "Rosa")]
    whole = measure(rows, lambda _: [finding(0, 4), finding(9, 12), finding(14, 18)])
    assert whole.direct.value == 1.0


def test_a_mention_covered_but_for_one_letter_is_missed() -> None:
    assert measure([labelled(ROSA)], lambda _: [finding(0, 3)]).recall.num_hits == 0


def test_two_findings_may_cover_a_mention_together() -> None:
    assert measure([labelled(ROSA)], lambda _: [finding(0, 2), finding(2, 4)]).recall.value == 1.0


def test_precision_and_over_masking_count_letters_and_digits() -> None:
    # "Rosa met" of "Rosa met Tom. Rosa left.": four letters of gold, three of others.
    measured = measure([labelled(ROSA)], lambda _: [finding(0, 8)])
    assert (measured.precision.num_hits, measured.precision.num_all) == (4, 7)
    assert (measured.over_masked.num_hits, measured.over_masked.num_all) == (3, 14)
    assert measured.surplus == []
    assert measure([labelled(ROSA)], lambda _: [finding(5, 8)]).surplus == [("t", "X", "met")]


def test_what_annotators_would_not_mask_is_not_asked_for() -> None:
    span = LabelledSpan(entity_type="ORG", start=0, end=4, identifier="none")
    assert measure([labelled(span)], lambda _: []).recall.num_all == 0


@given(st.integers(0, 60), st.integers(1, 60))
def test_the_bounds_hold_the_share(hits: int, more: int) -> None:
    rate = Rate(hits, hits + more)
    assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0


def test_the_bounds_are_those_of_clopper_and_pearson() -> None:
    # No miss in 3,000: at most 1 - 0.025^(1/3000) are missed.
    assert Rate(0, 3_000).high == pytest.approx(1 - 0.025 ** (1 / 3_000), rel=1e-9)
    assert Rate(0, 3_000).low == 0.0
    assert Rate(3_000, 3_000).high == 1.0


LAYOUTS = {
    "spans": '{"id": "a", "text": "Rosa met Tom.", "spans": '
    '[{"entity_type": "PERSON", "start": 0, "end": 4}, '
    '{"label": "PERSON", "start": 9, "end": 12}]}',
    "presidio": json.dumps(
        [
            {
                "full_text": "Rosa met Tom.",
                "spans": [
                    {"entity_type": "PERSON", "start_position": 0, "end_position": 4},
                    {"entity_type": "PERSON", "start_position": 9, "end_position": 12},
                ],
            }
        ]
    ),
    "conll": "Rosa B-PERSON\nmet O\nTom B-PERSON\n. O\n",
    "conll of four columns": "-DOCSTART- -X- O O\n\nRosa NN x I-PERSON\nmet VB x O\n"
    "Tom NN x I-PERSON\n. . x O\n",
    "standoff": json.dumps(
        [
            {
                "doc_id": "a",
                "text": "Rosa met Tom.",
                "annotations": {
                    "one": {
                        "entity_mentions": [
                            {
                                "entity_type": "PERSON",
                                "start_offset": start,
                                "end_offset": end,
                                "entity_id": name,
                                "identifier_type": "DIRECT",
                            }
                            for start, end, name in ((0, 4, "r"), (9, 12, "t"))
                        ]
                    }
                },
            }
        ]
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_alike(layout: str, tmp_path: Path) -> None:
    for packed in (False, True):
        path = tmp_path / "labelled"
        raw = LAYOUTS[layout].encode()
        path.write_bytes(gzip.compress(raw) if packed else raw)
        (found,) = read_labelled(path)
        assert found.text == "Rosa met Tom."
        mentions = [(found.text[s.start : s.end], s.entity_type) for s in found.spans]
        assert mentions == [("Rosa", "PERSON"), ("Tom", "PERSON")]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "labelled"),
        ("[{]", "labelled:1"),
        ('{"text": "a", "spans": []}\n{"text": ', "labelled:2"),
        ('{"text": "a"}', "labelled:1"),
        ('{"text": 3, "spans": []}', "labelled:1"),
        ('{"text": "a", "spans": [{"entity_type": "X", "start": 0, "end": 2}]}', "labelled:1"),
        ('{"text": "a", "spans": [{"entity_type": "X", "start": 1, "end": 1}]}', "labelled:1"),
        ('[{"text": "a", "annotations": {"one": {}}}]', "labelled[0]"),
        ("Rosa PERSON\n", "labelled:1"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    content: str, where: str, tmp_path: Path
) -> None:
    path = tmp_path / "labelled"
    path.write_text(content)
    with pytest.raises(RecollectError) as caught:
        read_labelled(path)
    assert caught.value.reason is Reason.INPUT_MALFORMED
    assert str(caught.value.where).endswith(where)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        read_labelled(tmp_path / "none")
    assert caught.value.reason is Reason.INPUT_NOT_FOUND


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(text=st.text(min_size=8, max_size=60), cut=st.integers(0, 7))
def test_labels_move_along_with_perturbed_text(name: str, text: str, cut: int) -> None:
    row = labelled(LabelledSpan(entity_type="X", start=cut, end=8), text=text)
    (changed,) = perturbed([row], name)
    alone = labelled(LabelledSpan(entity_type="X", start=0, end=8 - cut), text=text[cut:8])
    for span in changed.spans:
        assert 0 <= span.start < span.end <= len(changed.text)
    if name not in {"typing errors", "confusables"}:
        (expected,) = perturbed([alone], name)
        (span,) = changed.spans
        assert changed.text[span.start : span.end] == expected.text
