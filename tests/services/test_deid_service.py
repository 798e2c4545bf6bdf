"""De-identification over the wire: the same as here, in order, whatever else the records hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.client import ServiceClient
from recollect.services.deid_client import (
    PolicyText,
    Record,
    Result,
    deidentified,
)
from recollect.services.deid_limits import (
    LONGEST_ID,
    LONGEST_NAME,
    MOST_CHARACTERS,
    MOST_KNOWN_VALUES,
)
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import load_policy

from .deid_records import MAIL, NAME, POLICY, data_of, text

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here(address: str) -> Deidentifier:
    """The engine in this process, under the service's key."""
    key = (data_of(address) / "keys" / "surrogate.key").read_bytes()
    return Deidentifier(load_policy(POLICY), key)


def expected(here: Deidentifier, record: Record) -> dict[str, Any]:
    """What the engine in this process makes of a record."""
    contents = [message.content for message in record.messages]
    try:
        previews = here.explain(contents, list(record.known_values), record.subject)
    except RecollectError as error:
        return {"refused": (error.reason, error.message)}
    spans = [
        [
            (f.start, f.end, f.entity_type, f.score, f.stage, r.surrogate)
            for r in preview.replacements
            for f in [r.finding]
        ]
        for preview in previews
    ]
    return {"texts": [preview.text for preview in previews], "spans": spans}


def told(result: Result) -> dict[str, Any]:
    if result.refused is not None:
        return {"refused": (result.refused.reason, result.refused.message)}
    spans = [
        [(s.start, s.end, s.entity_type, s.score, s.stage, s.surrogate) for s in found]
        for found in result.spans
    ]
    return {"texts": [message.content for message in result.messages], "spans": spans}


FRAGMENTS = st.sampled_from(
    [
        *(f"My name is {NAME}. ", "Rosalind ", f"Write to {MAIL}, ", "born 3 May 1980 ", "\x00"),
        *("order 612345-AB, ", "call +44 20 7946 0123; ", "\n\n", "Grüße aus Köln, ", "🙂 "),
        *("how do i take the course ", "zarquon ", "9 Elm Street, Leeds LS1 4AP "),
    ]
)
CONTENTS = st.lists(FRAGMENTS, max_size=6).map("".join)
RECORDS = st.builds(
    Record,
    messages=st.lists(
        st.builds(Message, speaker=st.sampled_from(Speaker), content=CONTENTS),
        min_size=1,
        max_size=3,
    ),
    record_id=st.text(st.characters(codec="utf-8"), max_size=8),
    known_values=st.lists(st.sampled_from(["zarquon", "Leeds", "x"]), max_size=2),
    subject=st.sampled_from([None, "", "customer 17"]),
)


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(records=st.lists(RECORDS, max_size=10))
def test_every_record_has_its_result_in_order_and_as_here(
    client: ServiceClient, here: Deidentifier, records: Sequence[Record]
) -> None:
    results = list(deidentified(client, records, policy=POLICY, spans=True))
    assert [r.record_id for r in results] == [r.record_id for r in records]
    assert list(map(told, results)) == [expected(here, record) for record in records]
    for record, result in zip(records, results, strict=True):
        assert [m.speaker for m in result.messages] == [m.speaker for m in record.messages]
        assert sum(result.findings.values()) == sum(map(len, result.spans))


def test_any_number_of_records_keeps_its_order(client: ServiceClient) -> None:
    records = (text(f"customer{n}@mail.example.com", str(n)) for n in range(700))
    results = list(deidentified(client, records))
    assert [result.record_id for result in results] == [str(n) for n in range(700)]
    assert all("@" in m.content for result in results for m in result.messages)
    assert not any("customer" in m.content for result in results for m in result.messages)
    assert {tuple(result.findings.items()) for result in results} == {(("EMAIL_ADDRESS", 1),)}
    assert all(spans == [] for result in results for spans in result.spans)


def test_records_are_read_a_few_groups_ahead_and_no_further(client: ServiceClient) -> None:
    num_read = 0

    def endless() -> Iterator[Record]:
        nonlocal num_read
        for number in itertools.count():
            num_read += 1
            yield text(f"step {number}", str(number))

    with closing(deidentified(client, endless())) as results:
        for num_results, result in enumerate(itertools.islice(results, 1000), start=1):
            assert result.record_id == str(num_results - 1)
            assert num_read - num_results < 5 * 64


def test_a_bad_record_never_stops_the_rest(client: ServiceClient) -> None:
    small = PolicyText("{name: small, version: '1', max_characters: 1000}")
    speakerless = Record(messages=[])
    bad = {
        "none": (speakerless, "INPUT_MALFORMED"),
        "long": (text(f"{MAIL} " * 100), "INPUT_TOO_LARGE"),
        "huge": (text("x" * (MOST_CHARACTERS + 1)), "INPUT_TOO_LARGE"),
        "bytes": (text("é" * (8 << 20)), "INPUT_TOO_LARGE"),
        "half": (text("\ud800"), "INPUT_ENCODING"),
        "many": (
            Record(messages=[], known_values=["x"] * (MOST_KNOWN_VALUES + 1)),
            "INPUT_MALFORMED",
        ),
        "known": (
            Record(
                messages=text("a").messages,
                known_values=[f"value {n}" for n in range(MOST_KNOWN_VALUES + 1)],
            ),
            "INPUT_TOO_LARGE",
        ),
        "subject": (
            Record(messages=text("a").messages, subject="s" * (LONGEST_NAME + 1)),
            "INPUT_TOO_LARGE",
        ),
        "id" * LONGEST_ID: (text("a"), "INPUT_TOO_LARGE"),
    }
    records = []
    for name, (record, _) in bad.items():
        records += [text(f"I am {NAME}", f"before {name}"[:LONGEST_ID])]
        records += [
            Record(
                messages=record.messages,
                record_id=name,
                known_values=record.known_values,
                subject=record.subject,
            )
        ]
    records.append(text("the last one", "last"))
    results = list(deidentified(client, records, policy=small))
    assert [result.record_id for result in results] == [record.record_id for record in records]
    for result in results:
        if result.record_id in bad:
            assert result.refused is not None
            assert result.refused.reason.name == bad[result.record_id][1], result.record_id
            assert MAIL not in str(result.refused)
            assert result.messages == ()
        else:
            assert result.refused is None
            assert NAME not in result.messages[0].content
