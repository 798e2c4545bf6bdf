"""De-identification over the wire: the same as here, in order, whatever else the records hold."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Pointer, Purpose, RawExample, Role, Speaker
from recollect.services.client import ServiceClient, connect, error_from
from recollect.services.commands.deid import apply
from recollect.services.deid_client import (
    DeidCall,
    PolicyText,
    Record,
    Result,
    deidentified,
    list_policies,
)
from recollect.services.deid_engines import Engines
from recollect.services.deid_files import Applied, apply_rows, apply_through
from recollect.services.deid_limits import (
    LONGEST_ID,
    LONGEST_NAME,
    LONGEST_POLICY,
    MOST_CHARACTERS,
    MOST_KNOWN_VALUES,
    MOST_RECORDS,
)
from recollect.services.deid_remote import remote_rows
from recollect.services.deid_rows import RowLayout, RowOptions
from recollect.services.deid_service import MOST_CALLS
from recollect.services.ingestion import register, send
from recollect.services.privacy import Deidentifier, Policy, scan_bytes
from recollect.services.privacy.policy import load_policy
from recollect.v1 import audit_pb2, store_pb2
from recollect.v1 import deid_pb2 as wire
from recollect.v1.deid_pb2_grpc import DeidServiceServicer, add_DeidServiceServicer_to_server

from .conftest import Run, Service

pytestmark = pytest.mark.slow

POLICY = "gdpr-pseudonymous"
NAME = "Rosalind Achterberg"
MAIL = "rosa.acht@mail.example.com"
SECRET = "Zebediah Quillfeather-Oakenshaw"
SECRET_MAIL = "zeb.quillfeather@mail.example.com"


def data_of(address: str) -> Path:
    return Path(address.removeprefix("unix:")).parent


@pytest.fixture(scope="module")
def here(address: str) -> Deidentifier:
    """The engine in this process, under the service's key."""
    key = (data_of(address) / "keys" / "surrogate.key").read_bytes()
    return Deidentifier(load_policy(POLICY), key)


def text(content: str, record_id: str = "") -> Record:
    return Record.of_text(content, record_id)


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


def test_a_speaker_that_is_none_is_refused_and_not_repeated(client: ServiceClient) -> None:
    records = [
        wire.RawRecord(id="1", messages=[store_pb2.Message(speaker=NAME, content="hello")]),
        wire.RawRecord(id="2", messages=[store_pb2.Message(speaker="user", content="hello")]),
    ]
    _, answer, _ = client.deid.Deidentify(iter([HEADER, group(records)]), timeout=60)
    first, second = answer.results.results
    assert first.refused.reason == "INPUT_UNKNOWN_SPEAKER"
    assert first.refused.where == "messages[0]"
    assert NAME not in str(first)
    assert second.deidentified.messages[0].speaker == "user"


HEADER = wire.DeidentifyRequest(header=wire.DeidentifyHeader(policy_name=POLICY))


def group(records: Sequence[wire.RawRecord]) -> wire.DeidentifyRequest:
    return wire.DeidentifyRequest(records=wire.RawRecords(records=records))


@pytest.mark.parametrize(
    "policy",
    [
        *("nothing", "", "../privacy/policies/strict", "/etc/passwd", "strict.yaml"),
        PolicyText("entities: [PERSON"),
        PolicyText("- PERSON"),
        PolicyText("{1: 2}"),
        PolicyText("except: 5"),
        PolicyText("entities: [[PERSON]]"),
        PolicyText("entities: [NOBODY]"),
        PolicyText("nothing: 1"),
        PolicyText("{a: &a [1], b: *a}"),
        PolicyText("!!python/object:os.system {}"),
        PolicyText("regex_timeout_seconds: 1e9"),
        PolicyText("regex_timeout_seconds: .nan"),
        PolicyText("chunk_characters: 100000000"),
        PolicyText("max_characters: 100000000"),
        PolicyText(json.dumps({"phone_regions": ["US"] * 100})),
        PolicyText("# " + "x" * LONGEST_POLICY),
    ],
    ids=str,
)
def test_a_policy_that_is_none_is_refused_before_a_record_is_sent(
    client: ServiceClient, policy: str | PolicyText
) -> None:
    with pytest.raises(RecollectError) as caught:
        DeidCall(client, policy=policy)
    assert caught.value.reason is Reason.POLICY_INVALID
    assert caught.value.where
    assert caught.value.fix


def test_a_call_sets_no_field_of_a_policy_that_was_not_looked_at_for_it() -> None:
    key = bytes(32)
    engines = Engines(Deidentifier(Policy(), key), key)
    harmless = {
        *("name", "version", "entities", "operators", "score_threshold", "tagger_threshold"),
        *("phone_regions", "propagate", "max_characters", "chunk_characters", "chunk_overlap"),
        "regex_timeout_seconds",
    }
    assert harmless <= Policy.model_fields.keys()
    for name in Policy.model_fields.keys() - harmless:
        with pytest.raises(RecollectError) as caught:
            engines.of(wire.DeidentifyHeader(policy_yaml=f"{name}: {{model: /etc}}"))
        assert caught.value.where == f"policy.{name}"
        assert "configuration" in caught.value.message


def test_a_policy_of_ones_own_is_the_same_in_json_and_in_yaml(client: ServiceClient) -> None:
    yaml = "name: clinic\nversion: '3'\nentities: all\nexcept: [ORGANIZATION]\n"
    yaml += "operators: {PERSON: tag}\ntagger_threshold: 0.25\n"
    values = {"name": "clinic", "version": "3", "entities": "all", "except": ["ORGANIZATION"]}
    values |= {"operators": {"PERSON": "tag"}, "tagger_threshold": 0.25}  # type: ignore[dict-item]
    for sent in (yaml, json.dumps(values)):
        with closing(DeidCall(client, policy=PolicyText(sent))) as call:
            assert call.opening.policy.fingerprint == Policy.from_mapping(values).fingerprint
            call.send([text(f"My name is {NAME}.")])
            (result,) = call.receive()
            call.finish()
        assert result.messages[0].content == "My name is [PERSON]."


def test_the_policies_are_listed_and_each_can_be_asked_for(client: ServiceClient) -> None:
    policies = list_policies(client)
    names = [one.policy.name for one in policies]
    assert names == sorted(names)
    assert POLICY in names
    (own,) = [one.policy for one in policies if one.is_own]
    for one in policies:
        with closing(DeidCall(client, policy=one.policy.name)) as call:
            assert call.opening.policy.fingerprint == one.policy.fingerprint
    with closing(DeidCall(client)) as call:
        assert call.opening.policy.fingerprint == own.fingerprint
        assert call.opening.detectors.keys() >= {"presidio-analyzer", "recollect", "tagger"}


def test_a_policy_that_the_service_was_given_is_listed_beside_those_that_ship() -> None:
    own = Deidentifier(Policy(name="strict", score_threshold=0.9), bytes(32))
    listed = Engines(own, bytes(32)).policies()
    assert [(policy.name, is_own) for policy, is_own in listed if is_own] == [("strict", True)]
    assert [policy.name for policy, _ in listed].count("strict") == 2


def test_an_engine_is_kept_until_eight_others_were_asked_for() -> None:
    key = bytes(32)
    engines = Engines(Deidentifier(Policy(), key), key)

    def asked(number: int) -> Deidentifier:
        sent = f"{{version: '{number}', entities: [EMAIL_ADDRESS]}}"
        return engines.of(wire.DeidentifyHeader(policy_yaml=sent))

    first = asked(0)
    others = [asked(number) for number in range(1, 8)]
    assert asked(0) is first
    asked(8)
    assert asked(0) is first
    assert asked(1) is not others[0]


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "INPUT_MALFORMED"),
        ([group([])], "INPUT_MALFORMED"),
        ([HEADER, HEADER], "INPUT_MALFORMED"),
        ([HEADER, wire.DeidentifyRequest()], "INPUT_MALFORMED"),
        ([HEADER, group([wire.RawRecord()] * (MOST_RECORDS + 1))], "INPUT_TOO_LARGE"),
    ],
)
def test_requests_out_of_order_or_bounds_are_typed_refusals(
    client: ServiceClient, requests: list[wire.DeidentifyRequest], reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(client.deid.Deidentify(iter(requests), timeout=60))
    assert error_from(caught.value).reason.name == reason


def test_a_message_over_the_limit_ends_its_call_and_no_other(client: ServiceClient) -> None:
    with closing(DeidCall(client)) as other:
        record = wire.RawRecord(
            messages=[store_pb2.Message(speaker="text", content=MAIL[:8] * (1 << 21))] * 2
        )
        with pytest.raises(grpc.RpcError) as caught:
            list(client.deid.Deidentify(iter([HEADER, group([record])]), timeout=60))
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert MAIL[:8] not in str(caught.value.details())
        other.send([text(MAIL)])
        (result,) = other.receive()
        assert MAIL not in result.messages[0].content
        other.finish()


def ledger_of(client: ServiceClient) -> list[dict[str, Any]]:
    answers = client.audit.ListEntries(
        audit_pb2.ListEntriesRequest(kind="records_deidentified"), timeout=60
    )
    return [json.loads(answer.body_json) for answer in answers]


def test_calls_that_are_given_up_half_way_are_on_record_and_leave_their_place(
    client: ServiceClient,
) -> None:
    before = len(ledger_of(client))
    for _ in range(MOST_CALLS + 2):
        endless = (text(f"step {n}") for n in itertools.count())
        with closing(deidentified(client, endless)) as results:
            next(results)
    assert len(list(deidentified(client, [text("one"), text("two")]))) == 2
    deadline = time.monotonic() + 60
    # The service ends a call after its client has left.
    while len(entries := ledger_of(client)[before:]) < MOST_CALLS + 3:
        assert time.monotonic() < deadline, len(entries)
        time.sleep(0.05)
    assert len(entries) == MOST_CALLS + 3
    whole = [entry for entry in entries if entry["is_whole"]]
    assert [entry["num_records"] for entry in whole] == [2]
    assert whole[0]["num_characters"] == 6
    assert all(entry["num_records"] > 0 for entry in entries)


def test_more_calls_than_there_is_room_for_are_refused_and_later_let_in(
    client: ServiceClient,
) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_CALLS):
            stack.enter_context(closing(DeidCall(client)))
        with pytest.raises(RecollectError) as caught:
            DeidCall(client)
        assert caught.value.reason is Reason.SERVER_BUSY
        # What does not de-identify goes on.
        assert list_policies(client)


def test_a_deadline_ends_a_call(client: ServiceClient) -> None:
    endless = (text(f"I am {NAME}, step {n}") for n in itertools.count())
    with pytest.raises(RecollectError) as caught:
        for _ in deidentified(client, endless, seconds=0.5):
            pass
    assert caught.value.reason is Reason.DEADLINE_PASSED


class Liar(DeidServiceServicer):
    """Answers with the results of a group in another order, or with one too few of its messages."""

    def __init__(self, answers: Sequence[wire.DeidentifyResponse]) -> None:
        self._answers = answers

    def Deidentify(self, request_iterator: Any, context: Any) -> Iterator[wire.DeidentifyResponse]:
        yield from self._answers

    def ListPolicies(self, request: Any, context: Any) -> wire.ListPoliciesResponse:
        return wire.ListPoliciesResponse()


def result(record_id: str, num_messages: int = 1) -> wire.RecordResult:
    message = wire.DeidentifiedMessage(speaker="text", content="a")
    return wire.RecordResult(
        id=record_id,
        deidentified=wire.DeidentifiedRecord(messages=[message] * num_messages),
    )


OPENING = wire.DeidentifyResponse(opening=wire.DeidentifyOpening(key_id="0"))


def answer(*results: wire.RecordResult) -> wire.DeidentifyResponse:
    return wire.DeidentifyResponse(results=wire.RecordResults(results=results))


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [answer(result("0"), result("1"))],
        [OPENING],
        [OPENING, answer(result("0"))],
        [OPENING, answer(result("1"), result("0"))],
        [OPENING, answer(result("0"), result("1", 2))],
        [OPENING, answer(result("0"), result("1"))],
        [
            OPENING,
            answer(result("0"), result("1"), result("2")),
            wire.DeidentifyResponse(summary=wire.DeidentifySummary(num_records=3)),
        ],
    ],
)
def test_a_service_that_answers_out_of_order_is_not_believed(
    answers: list[wire.DeidentifyResponse],
) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_DeidServiceServicer_to_server(Liar(answers), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with connect(f"127.0.0.1:{port}") as client, pytest.raises(RecollectError) as caught:
            list(deidentified(client, [text("a", "0"), text("b", "1")]))
        assert caught.value.reason is Reason.INTERNAL
    finally:
        server.stop(None)


def stand_ins(client: ServiceClient, policy: str | None = None) -> tuple[str, str, str]:
    """Id of the key, stand-ins of a person alone, and in a record that ingestion sees too."""
    with closing(DeidCall(client, policy=policy)) as call:
        call.send([text(f"My name is {SECRET}."), text(f"Write to {SECRET_MAIL} please")])
        name, mail = (one.messages[0].content for one in call.receive())
        call.finish()
    return call.opening.key_id, name, mail


def ingest(client: ServiceClient, content: str) -> None:
    register(
        client,
        name="s",
        role=Role.TASK,
        purpose=Purpose.TRAIN,
        licence="CC0-1.0",
        legal_basis="consent",
    )
    row = RawExample(
        messages=tuple(text(content).messages), pointer=Pointer(file="rows.jsonl", row=1)
    )
    *_, last = send(client, "s", [row])
    assert last.done and last.num_stored == 1


@pytest.mark.faults
def test_stand_ins_are_those_of_the_store_also_after_a_crash_and_no_text_is_kept(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with Service(data) as service, connect(service.address) as client:
        ingest(client, f"Write to {SECRET_MAIL} please")
        before = stand_ins(client)
        named = PolicyText(f"{{name: {SECRET}, version: '1', entities: [PERSON]}}")
        (done,) = deidentified(client, [text(f"I am {SECRET}", SECRET)], policy=named)
        assert SECRET not in done.messages[0].content
        (found,) = client.store.Search(
            store_pb2.SearchRequest(source="s", text="write", limit=1), timeout=60
        ).results
        entries = ledger_of(client)
        with closing(DeidCall(client)) as call, pytest.raises(RecollectError) as caught:
            service.kill()
            call.send([text("anything")])
            call.receive()
        assert caught.value.reason is Reason.SERVER_UNAVAILABLE
    assert [message.content for message in found.messages] == [before[2]]
    assert SECRET.split()[0] not in before[1]
    assert [(e["num_records"], e["is_whole"]) for e in entries] == [(2, True), (1, True)]
    assert entries[0]["policy"].startswith("conversations ")
    assert entries[1]["policy"] == ""
    with Service(data) as service, connect(service.address) as client:
        assert stand_ins(client) == before
        assert stand_ins(client, POLICY)[0] == before[0]
    assert scan_bytes(data, [SECRET, SECRET_MAIL, *SECRET.split()]) == []


def write_rows(path: Path, num_rows: int) -> Path:
    rows: list[Any] = [
        {"id": n, "text": f"I am {NAME} of order {n}-1234567, {MAIL}", "customer": "zarquon"}
        for n in range(num_rows)
    ]
    rows[3] = {"nothing": 1}
    rows[5] = {"turns": [{"role": "agent", "content": f"Hello {NAME}"}, {"content": "zarquon"}]}
    rows[6] = {"turns": [{"role": "agent"}]}
    lines = [json.dumps(row) for row in rows]
    lines[7:9] = ["{", "\ufeff", '{"text": "\\ud800"}', ""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def options_of(address: str, layout: RowLayout) -> RowOptions:
    """The same under the service's key, for this process."""
    key = (data_of(address) / "keys" / "surrogate.key").read_bytes()
    return RowOptions(policy=load_policy(POLICY), key=key, **asdict(layout))


def quarantine_of(path: Path) -> bytes:
    return path.with_name(f"{path.name}.quarantine.jsonl").read_bytes()


def test_a_file_comes_out_as_it_does_here(recollect: Run, address: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", 200)
    layout = RowLayout(spans=True, identifiers=("customer",), subject="id")
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    done = apply_rows(source, here, options_of(address, layout))
    more = ("--spans", "--identifier", "customer", "--subject", "id", "--json")
    told = recollect("deid", "apply", source, there, "--server", address, *more)
    assert told.returncode == 0, told.stderr
    body = json.loads(told.stdout)
    assert (body["num_rows"], body["num_written"]) == (done.num_rows, done.num_written)
    assert (body["findings"], body["quarantined"]) == (done.findings, done.quarantined)
    assert body["policy"]["fingerprint"] == load_policy(POLICY).fingerprint
    assert there.read_bytes() == here.read_bytes()
    assert quarantine_of(there) == quarantine_of(here)
    assert len(quarantine_of(there).splitlines()) == 5
    assert NAME.encode() not in there.read_bytes()


class Stopped(Exception):
    pass


def test_a_file_that_was_cut_off_goes_on_and_another_policy_begins_anew(
    address: str, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "in.jsonl", 300)
    layout, target = RowLayout(), tmp_path / "out.jsonl"
    apply_rows(source, tmp_path / "whole.jsonl", options_of(address, layout))

    def cut_off(done: Applied) -> None:
        if done.num_rows >= 128:
            raise Stopped

    def groups_of(policy: str) -> list[int]:
        """Rows that were done after each group."""
        told: list[int] = []
        with remote_rows(address, policy, layout) as engine:
            apply_through(source, target, engine, tell=lambda done: told.append(done.num_rows))
        return told

    with remote_rows(address, POLICY, layout) as engine, pytest.raises(Stopped):
        apply_through(source, target, engine, tell=cut_off)
    assert not target.exists()
    assert groups_of(POLICY)[0] == 192
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert quarantine_of(target) == quarantine_of(tmp_path / "whole.jsonl")
    with remote_rows(address, POLICY, layout) as engine, pytest.raises(Stopped):
        apply_through(source, target, engine, tell=cut_off)
    assert groups_of("strict")[0] == 64
    assert b"[PERSON]" in target.read_bytes().splitlines()[0]


@pytest.mark.parametrize(
    ("option", "value"), [("key_file", Path("k.key")), ("workers", 2)], ids=["key", "workers"]
)
def test_a_key_or_processes_of_ones_own_are_refused_with_a_service(
    address: str, tmp_path: Path, option: str, value: Any
) -> None:
    source = write_rows(tmp_path / "in.jsonl", 10)
    with pytest.raises(RecollectError) as caught:
        apply(source, tmp_path / "out.jsonl", server=address, **{option: value})
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert caught.value.where == f"--{option.replace('_', '-')}"
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_policy_in_a_file_is_sent_as_it_is(address: str, tmp_path: Path) -> None:
    file = tmp_path / "clinic.yaml"
    file.write_text("name: clinic\nversion: '3'\noperators: {'*': tag}\n", encoding="utf-8")
    with remote_rows(address, str(file), RowLayout()) as engine:
        assert engine.policy.fingerprint == load_policy(str(file)).fingerprint
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RecollectError) as caught, remote_rows(address, str(file), RowLayout()):
        pass
    assert caught.value.reason is Reason.POLICY_INVALID
    assert caught.value.where == str(file)
