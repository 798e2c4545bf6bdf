"""Calls for de-identification: what they may ask, how they end, and who is not believed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import ExitStack, closing
from typing import Any

import grpc
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.client import ServiceClient, connect, error_from
from recollect.services.deid_client import (
    DeidCall,
    PolicyText,
    deidentified,
    list_policies,
)
from recollect.services.deid_engines import Engines
from recollect.services.deid_limits import (
    LONGEST_POLICY,
    MOST_RECORDS,
)
from recollect.services.deid_service import MOST_CALLS
from recollect.services.privacy import Deidentifier, Policy
from recollect.v1 import deid_pb2 as wire
from recollect.v1 import store_pb2
from recollect.v1.deid_pb2_grpc import DeidServiceServicer, add_DeidServiceServicer_to_server

from .deid_records import MAIL, NAME, POLICY, ledger_of, text

pytestmark = pytest.mark.slow

HEADER = wire.DeidentifyRequest(header=wire.DeidentifyHeader(policy_name=POLICY))


def group(records: Sequence[wire.RawRecord]) -> wire.DeidentifyRequest:
    return wire.DeidentifyRequest(records=wire.RawRecords(records=records))


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
        PolicyText("text_timeout_seconds: 1e9"),
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
        *("caseless_threshold", "person_threshold"),
        *("phone_regions", "propagate", "max_characters", "chunk_characters", "chunk_overlap"),
        *("regex_timeout_seconds", "text_timeout_seconds"),
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
