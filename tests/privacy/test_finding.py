from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy.finding import Finding, settle

TEXT = "abcde 12345 fghij 67890 klmno"


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    start = draw(st.integers(0, len(TEXT) - 1))
    return Finding(
        entity_type=draw(st.sampled_from("ABC")),
        start=start,
        end=draw(st.integers(start + 1, len(TEXT))),
        score=draw(st.sampled_from([0.4, 0.7, 1.0])),
    )


@given(st.lists(findings(), max_size=8))
def test_settled_findings_are_disjoint_and_in_order(found: list[Finding]) -> None:
    settled = settle(found, TEXT)
    assert all(a.end <= b.start for a, b in pairwise(settled))


@given(st.lists(findings(), max_size=8))
def test_settled_findings_cover_each_digit_that_was_covered(found: list[Finding]) -> None:
    def digits(items: list[Finding]) -> set[int]:
        return {i for f in items for i in range(f.start, f.end) if TEXT[i].isdigit()}

    assert digits(settle(found, TEXT)) == digits(found)


def test_the_longer_finding_wins_and_overlapping_ones_of_one_type_become_one() -> None:
    whole = Finding(entity_type="A", start=0, end=11, score=0.5)
    part = Finding(entity_type="B", start=6, end=11, score=1.0)
    more = Finding(entity_type="A", start=6, end=17, score=0.4)
    assert settle([part, whole], TEXT) == [whole]
    assert settle([whole, more], TEXT) == [Finding(entity_type="A", start=0, end=17, score=0.5)]


@given(
    st.text(alphabet="ab1 ,", min_size=1, max_size=40),
    st.lists(
        st.tuples(st.integers(0, 39), st.integers(1, 12), st.sampled_from(["A", "B", "CODE"])),
        max_size=25,
    ),
)
def test_neighbours_alone_decide_as_all_winners_would(
    text: str, drawn: list[tuple[int, int, str]]
) -> None:
    findings = [
        Finding(entity_type=kind, start=start, end=min(start + size, len(text)), score=0.5)
        for start, size, kind in drawn
        if start < len(text)
    ]
    settled = settle(findings, text)
    covered = {i for f in findings for i in range(f.start, f.end)}
    kept = [i for f in settled for i in range(f.start, f.end)]
    assert len(kept) == len(set(kept))
    assert settled == sorted(settled, key=lambda f: f.start)
    assert {i for i in covered if text[i].isdigit()} <= set(kept) <= covered
