"""What identifies together with a name: found by patterns, and only where somebody is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import load_policy
from recollect.services.privacy.quasi_patterns import QuasiPatternRecognizer, caseless

RECOGNIZER = QuasiPatternRecognizer(timeout=5.0)
DEIDENTIFIER = Deidentifier(load_policy("gdpr-pseudonymous"), bytes(range(32)))


def found(text: str) -> set[tuple[str, str]]:
    results = RECOGNIZER.analyze(text, [])
    return {(r.entity_type, text[r.start : r.end]) for r in results}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("seen on Thursday 14th March 2002 at home", "DATE_TIME", "Thursday 14th March 2002"),
        ("heard on 5, 6 and 19 October 2004", "DATE_TIME", "5, 6 and 19 October 2004"),
        ("on the 3rd of june she left", "DATE_TIME", "the 3rd of june"),
        ("March 5, 1990 was cold", "DATE_TIME", "March 5, 1990"),
        ("in September 1996 he", "DATE_TIME", "September 1996"),
        ("until the end of 2005 it", "DATE_TIME", "the end of 2005"),
        ("in the summer of 1998, she", "DATE_TIME", "the summer of 1998"),
        ("between 1994-96 he", "DATE_TIME", "1994-96"),
        ("dated 12.03.1988, was", "DATE_TIME", "12.03.1988"),
        ("at 11.40 p.m. on", "DURATION", "11.40 p.m."),
        ("for nineteen years and six months he", "DURATION", "nineteen years and six months"),
        ("within thirty days of", "DURATION", "thirty days"),
        ("the child, aged six, was", "AGE", "six"),
        ("Endicott, 58, was let go", "AGE", "58"),
        ("my nan turned 90 today", "AGE", "90"),
        ("she came on Sunday with", "DATE_TIME", "Sunday"),
        ("a 31-year-old man", "AGE", "31-year-old"),
        ("the debt of UAH 4,311.20 remained", "QUANTITY", "UAH 4,311.20"),
        ("paid 12,500 Polish zlotys in", "QUANTITY", "12,500 Polish zlotys"),
        ("with 54% of the votes", "QUANTITY", "54%"),
        ("application no. 12345/67 against", "CODE", "12345/67"),
        ("Khasra No. 417/2, situated", "CODE", "417/2"),
        ("the Tarnobrzeg Regional Court held", "ORGANIZATION", "Tarnobrzeg Regional Court"),
        ("the Supreme Court of Häme ruled", "ORGANIZATION", "Supreme Court of Häme"),
        ("examined S. on three occasions", "PERSON", "S."),
        ("statement of M.K. and others", "PERSON", "M.K."),
        ("a history of depression since", "DEMOGRAPHIC", "depression"),
        ("Dr Eeva Lehti, a child psychiatrist at", "DEMOGRAPHIC", "child psychiatrist"),
        ("worked as a claims adjuster for", "DEMOGRAPHIC", "claims adjuster"),
        ("a Ugandan citizen who", "DEMOGRAPHIC", "Ugandan citizen"),
    ],
)
def test_each_kind_is_found_in_the_words_of_courts_and_clerks(
    text: str, kind: str, value: str
) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Article 6 § 1 of the Convention and Rule 39 of the Rules of Court",
        "Protocol No. 1 and section 12 of the Act",
        "The Court notes that the Government contest this.",
        "the U.S. and the U.K. signed",
        "It may march on, and she may well be there.",
    ],
)
def test_what_every_judgment_says_is_nobodys(text: str) -> None:
    assert found(text) == set()


def test_they_count_only_where_somebody_is_named() -> None:
    sums = "Tom worked for three hours in 1998 and earned $45. How much is that an hour?"
    assert {f.stage for f in DEIDENTIFIER.find(sums)} <= {"tagger", "pattern", "document"}
    told = "Olumide Brzezicki worked there for nineteen years and earned UAH 4,311.20."
    values = {told[f.start : f.end] for f in DEIDENTIFIER.find(told)}
    assert {"nineteen years", "UAH 4,311.20"} <= values


@given(st.text(max_size=300))
def test_spans_lie_within_the_text(text: str) -> None:
    for result in RECOGNIZER.analyze(text, []):
        assert 0 <= result.start < result.end <= len(text)


@pytest.mark.parametrize(
    "unit",
    [
        "5, ",
        "A ",
        "of ",
        "Court of ",
        "1 and ",
        "two ",
        "A.",
        "aged ",
        "no. 1/",
        "1,000 ",
        "x, a b ",
    ],
)
def test_no_pattern_runs_into_its_limit(unit: str) -> None:
    # It would raise TimeoutError, and the text be quarantined.
    RECOGNIZER.analyze(unit * (20_000 // len(unit)), [])


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("HE HAD WORKED AS A CLAIMS ADJUSTER FOR 18 WEEKS.", "DURATION", "18 WEEKS"),
        ("HE HAD WORKED AS A CLAIMS ADJUSTER FOR 18 WEEKS.", "DEMOGRAPHIC", "CLAIMS ADJUSTER"),
        ("AT AROUND 9 P.M. ON FEBRUARY 6 1982 IT RAINED", "DURATION", "9 P.M."),
        ("THE APPEAL TO THE LINZ REGIONAL COURT FAILED", "ORGANIZATION", "LINZ REGIONAL COURT"),
        ("the appeal to the linz regional court failed", "ORGANIZATION", "linz regional court"),
        ("they paid about eleven pounds in september 1996", "DATE_TIME", "september 1996"),
        ("she moved to a flat in bezrukov street with him", "LOCATION", "bezrukov street"),
        ("Heard.\nSHE WAS DIVORCED AND A NURSE IN LEEDS", "DEMOGRAPHIC", "NURSE"),
    ],
)
def test_capitals_tell_nothing_where_there_are_none_or_nothing_else(
    text: str, kind: str, value: str
) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    ["this is the street where we live, in the road ahead", "WE WALKED DOWN THE STREET TODAY"],
)
def test_a_street_without_a_name_is_none(text: str) -> None:
    assert not [kind for kind, _ in found(text) if kind == "LOCATION"]


@given(st.text(alphabet="aA ßİ\n.", max_size=60))
def test_places_stay_where_letters_change_case(text: str) -> None:
    for change in (str.lower, str.title):
        calm = caseless(text, change)
        assert calm is None or (len(calm), calm.count("\n")) == (len(text), text.count("\n"))
