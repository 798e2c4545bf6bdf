"""What files of courts hold beside names and dates: ranks, illnesses, short names, numbers."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from recollect.services.privacy import Deidentifier
from recollect.services.privacy.bridges import bridged, whole_codes, with_first_names
from recollect.services.privacy.finding import Finding
from recollect.services.privacy.occurrences import occurrences
from recollect.services.privacy.policy import load_policy
from recollect.services.privacy.quasi_bodies import is_court_file
from recollect.services.privacy.quasi_patterns import _RULES, QuasiPatternRecognizer
from recollect.services.privacy.quasi_people import IN_COURT
from recollect.services.privacy.quasi_rule import words_of

RECOGNIZER = QuasiPatternRecognizer(timeout=5.0)
DEIDENTIFIER = Deidentifier(load_policy("gdpr-pseudonymous"), bytes(range(32)))
COURT = "The applicant appealed against the judgment; the court heard the prosecutor. "


def found(text: str) -> set[tuple[str, str]]:
    results = RECOGNIZER.analyze(text, [])
    return {(r.entity_type, text[r.start : r.end]) for r in results}


def finding(kind: str, text: str, value: str) -> Finding:
    start = text.index(value)
    return Finding(entity_type=kind, start=start, end=start + len(value), score=0.9)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("the statement of Captain Orhan Yel on", "DEMOGRAPHIC", "Captain"),
        ("struck by prison officer Dunmore, who", "DEMOGRAPHIC", "prison officer"),
        ("struck by prison officer Dunmore, who", "PERSON", "Dunmore"),
        ("read by Canon Birdwell, then", "PERSON", "Birdwell"),
        ("had a severe muscular dystrophy since", "DEMOGRAPHIC", "severe muscular dystrophy"),
        ("chronic pancreatitis was noted", "DEMOGRAPHIC", "chronic pancreatitis"),
        ("sustained a fractured wrist when", "DEMOGRAPHIC", "fractured wrist"),
        ("is a Netherlands national who", "DEMOGRAPHIC", "Netherlands national"),
        ("a citizen of the United Kingdom and Colonies", "DEMOGRAPHIC",
         "citizen of the United Kingdom and Colonies"),
        ("a man of Yazidi origin who", "DEMOGRAPHIC", "Yazidi origin"),
        ("an Arabic-speaking interpreter", "DEMOGRAPHIC", "Arabic-speaking"),
        ("was by then almost blind and", "DEMOGRAPHIC", "almost blind"),
        ("his third wife, the", "DEMOGRAPHIC", "third wife"),
        ("the Restitution Authority (the NPRA) said", "ORGANIZATION", "NPRA"),
        ('the border service (hereinafter "VKPT")', "ORGANIZATION", "VKPT"),
        ("transferred to Prison no. 13 in", "ORGANIZATION", "Prison no. 13"),
        ("by Messrs. Bright, Penny & Co. of", "ORGANIZATION", "Bright, Penny & Co."),
        ("the Chief Constable of Staffordshire wrote", "ORGANIZATION",
         "Chief Constable of Staffordshire"),
        ("held in cell no. 4 of", "LOCATION", "cell no. 4"),
        ("sold apartment no. 2, a", "LOCATION", "apartment no. 2"),
        ("who entered Sweden that day", "LOCATION", "Sweden"),
        ("known as \"Kapetan\" in", "PERSON", "Kapetan"),
        ("a novel, \u201cThe Low Bridge\u201d, which", "ORGANIZATION", "The Low Bridge"),
        ("his children, aged seven, four and two, were", "AGE", "four"),
        ("his children, aged seven, four and two, were", "AGE", "two"),
        ("a heart surgeon, 65, and former", "AGE", "65"),
        ("Mrs Borg, now 84, and her", "AGE", "84"),
        ("the twins, then ten weeks old, were", "AGE", "ten weeks old"),
        ("for 412,000 new Romanian lei (RON), that", "QUANTITY",
         "412,000 new Romanian lei (RON)"),
        ("fined 30,000 Icelandic krónur (ISK) a", "QUANTITY", "30,000 Icelandic krónur (ISK)"),
        ("paid £9 14s. 6d. a week", "QUANTITY", "£9 14s. 6d."),
        ("a share of 3/8 each", "QUANTITY", "3/8"),
        ("parcels 107 and 615 at", "CODE", "107 and 615"),
        ("Ms Yel (emp. 30418) asked", "CODE", "30418"),
        ("a lorry registered 4471 LMK struck", "CODE", "4471 LMK"),
        ("the last four of the card are 3381, Ms Yel", "CODE", "3381"),
        ("Ms Yel (head of sales) and", "DEMOGRAPHIC", "head of sales"),
        ("our CFO, Ms Yel", "DEMOGRAPHIC", "CFO"),
        ("a senior product designer at", "DEMOGRAPHIC", "senior product designer"),
        ("he was a Tory voter until", "DEMOGRAPHIC", "Tory voter"),
        ("Ms Yel, 34 yo, asked", "AGE", "34 yo"),
        ("M, 34, asked", "AGE", "34"),
        ("in her early 40s and", "AGE", "40s"),
        ("in his thirties and", "AGE", "thirties"),
        ("served on Christmas Eve 2003 by", "DATE_TIME", "Christmas Eve 2003"),
        ("on Mother's Day 2007 the", "DATE_TIME", "Mother's Day 2007"),
    ],
)  # fmt: skip
def test_each_is_found(text: str, kind: str, value: str) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "a private matter, in general, of minor interest",
        "The hydrogen bond (the second one) holds (see below).",
        "They went home for a day and a night; every wing of it was cold.",
        "A new unit and a plain room in an open house",
        "my own subject of interest, and its origin",
        "He is broken-hearted, and the disease-free plants grew.",
    ],
)
def test_the_same_words_say_nothing_of_anybody_elsewhere(text: str) -> None:
    assert found(text) == set()


def test_in_a_file_of_a_court_a_capital_tells_a_name() -> None:
    text = f"{COURT}He was seen aboard the Monarch Star near Zygiada, as Article 6 and Rule 39 say."
    values = {value for _, value in found(text)}
    assert {"Monarch Star", "Zygiada"} <= values
    assert not {value for value in values if value.startswith(("Article", "Rule"))}
    assert not found("He was seen aboard the Monarch Star near Zygiada.")


def test_a_line_of_capitals_tells_no_names() -> None:
    text = f"{COURT}\nIN 1998, HE CAME, AND 12 WENT, AS THEY HAD SAID, HOME."
    assert not [value for kind, value in found(text) if kind in {"ORGANIZATION", "LOCATION"}]


def test_a_file_of_a_court_is_known_by_its_words() -> None:
    assert is_court_file(words_of(COURT))
    assert is_court_file(words_of(COURT.upper()))
    assert not is_court_file(words_of("My appeal was about the tennis court, thanks."))


def test_trades_count_there_with_the_words_before_them() -> None:
    assert ("DEMOGRAPHIC", "prison governor") in found(f"{COURT}He met the prison governor.")
    assert not found("He met the prison governor.")


WRITTEN = Path(__file__).parents[2] / "bench" / "data"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("the fifth of March", "DATE_TIME"), ("thirtieth of June", "DATE_TIME"),
        ("spring 2011", "DATE_TIME"), ("summer of '69", "DATE_TIME"),
        ("the late eighties", "DATE_TIME"), ("last Tuesday", "DATE_TIME"),
        ("Sept 11", "DATE_TIME"), ("10-10-'81", "DATE_TIME"), ("week 34", "DATE_TIME"),
        ("Thanksgiving", "DATE_TIME"), ("noon", "DATE_TIME"), ("half past nine", "DURATION"),
        ("3 o'clock", "DURATION"), ("09h00", "DURATION"), ("0900 hrs", "DURATION"),
        ("21:30", "DURATION"),
    ],
)  # fmt: skip
def test_dates_and_times_in_words_are_found_and_become_others(written: str, kind: str) -> None:
    text = f"Ms Rosalind Yel was seen there, {written}, by Mr Orhan Kurt."
    assert (kind, written) in found(text)
    told = {r.original: r.surrogate for r in DEIDENTIFIER.preview(text).replacements}
    assert told[written] != written
    # Of the same form: as many words, of the same signs.
    assert len(told[written].split()) == len(written.split()) or written == "Thanksgiving"


def test_in_a_file_of_a_court_what_somebody_is_stands_behind_the_verb() -> None:
    value = ("DEMOGRAPHIC", "journeyman plasterer")
    assert value in found(f"{COURT}He was a journeyman plasterer and lived there.")
    assert value not in found("He was a journeyman plasterer and lived there.")


@pytest.mark.parametrize("text", ["the second of them", "a week of rain", "half of three", "1h5"])
def test_words_of_time_alone_are_none(text: str) -> None:
    assert not found(f"He wrote {text} down.")


def test_a_day_has_a_nought_before_it_only_where_it_had_one() -> None:
    text = "Ms Rosalind Yel came on the 14th."
    told = {r.original: r.surrogate for r in DEIDENTIFIER.preview(text).replacements}
    assert not told["14th"].startswith("0")


def test_what_a_rule_is_not_tried_on_it_finds_nothing_in() -> None:
    texts = [
        json.loads(line)["text"]
        for path in sorted(WRITTEN.glob("written_*_dev.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(texts) > 200
    for rule in (*_RULES, *IN_COURT):
        passed_over = [text for text in texts if not rule.may_match(words_of(text))]
        assert not [s for text in passed_over for s in rule.spans(text, 0, 5.0)], rule.pattern


@pytest.mark.parametrize(
    ("text", "first", "second", "kind", "whole"),
    [
        ("the National Authority for Property Restitution said", "National Authority",
         "Property Restitution", "ORGANIZATION", "National Authority for Property Restitution"),
        ("Ms Bernardette Bianchi née Zammit came", "Bernardette Bianchi", "Zammit", "PERSON",
         "Bernardette Bianchi née Zammit"),
    ],
)  # fmt: skip
def test_small_words_within_a_name_are_bridged(
    text: str, first: str, second: str, kind: str, whole: str
) -> None:
    (one,) = bridged([finding(kind, text, first), finding(kind, text, second)], text)
    assert (one.entity_type, text[one.start : one.end]) == (kind, whole)


def test_a_date_and_its_time_of_day_are_one() -> None:
    text = "Ms Rosalind Yel came on Thursday 6 November 2025 at 14:40, for two hours on 7 May 2025."
    told = {r.original: r.surrogate for r in DEIDENTIFIER.preview(text).replacements}
    new = told["Thursday 6 November 2025 at 14:40"]
    day, _, clock = new.rpartition(" at ")
    # The day of the week is the date's own, as it was.
    assert datetime.strptime(day, "%A %d %B %Y").strftime("%A") == day.split()[0]
    assert datetime.strptime(clock, "%H:%M")
    assert "two hours" in told


def test_two_people_stay_two() -> None:
    text = "Mr Orhan Yel and Ms Ada Kurt"
    two = [finding("PERSON", text, "Orhan Yel"), finding("PERSON", text, "Ada Kurt")]
    assert bridged(two, text) == two


def test_a_code_is_whole_with_what_hangs_together_with_it() -> None:
    text = "(class: UP/I-553-05/07; no. e-391). 5. On"
    codes = [finding("CODE", text, "I-553-05/07"), finding("CODE", text, "391")]
    values = [text[f.start : f.end] for f in whole_codes(codes, text)]
    assert values == ["UP/I-553-05/07", "e-391"]


def test_a_first_name_that_is_a_word_belongs_to_the_surname_behind_it() -> None:
    text = "Rose Smith came, and Will Sarah come? A rose Smith grew."
    surname, first = finding("PERSON", text, "Smith"), finding("PERSON", text, "Sarah")
    values = [text[f.start : f.end] for f in with_first_names([surname, first], text)]
    assert values == ["Rose Smith", "Sarah"]


def test_a_family_is_found_by_the_name_of_one_of_them() -> None:
    text = "Ms Rosalind Yel sold it. In 1995 the Yels left, as the Yelsons did."
    again = occurrences(text, [finding("PERSON", text, "Rosalind Yel")])
    assert [text[f.start : f.end] for f in again] == ["Rosalind Yel", "Rosalind", "Yel", "Yels"]


def test_an_initial_is_not_found_in_a_small_word() -> None:
    text = "The witness A. said that a man with an axe saw Ms Rosalind Quillfeather."
    spans = [text[f.start : f.end] for f in DEIDENTIFIER.find(text)]
    assert "a" not in spans


def test_stand_ins_keep_what_the_words_around_say() -> None:
    text = (
        f"{COURT}Captain Orhan Yel, a Netherlands national, came on the night of 12 May 1998 to "
        "Police Station no. 5 and paid about 412,000 new Romanian lei (RON)."
    )
    preview = DEIDENTIFIER.preview(text)
    told = {r.original: r.surrogate for r in preview.replacements}
    assert told["the night of 12 May 1998"].startswith("the night of ")
    assert told["Netherlands national"].endswith(" national")
    assert told["Police Station no. 5"].startswith("Police Station no. ")
    assert told["about 412,000 new Romanian lei (RON)"].startswith("about ")
    assert told["Captain"][0].isupper()
    assert all(new != old for old, new in told.items())


def test_a_night_is_moved_with_the_day_that_it_is_of() -> None:
    text = f"{COURT}Ms Rosalind Yel fell on 12 May 1998; on the night of 12 May 1998 she died."
    told = {r.original: r.surrogate for r in DEIDENTIFIER.preview(text).replacements}
    assert told["the night of 12 May 1998"] == f"the night of {told['12 May 1998']}"
