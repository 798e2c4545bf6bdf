"""De-identifies records through a service: any number of them, a few groups held at a time.

    with connect("unix:recollect-data/recollect.sock") as client:
        for result in deidentified(client, records, policy="gdpr-pseudonymous", spans=True):
            ...

A call that breaks is not made again: whoever sends raw text decides whether to send it twice.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import grpc

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Message, Speaker
from ..v1 import deid_pb2 as wire
from ..v1 import store_pb2
from .client import CALL_SECONDS, JOB_SECONDS, ServiceClient, error_from
from .deid_limits import LONGEST_ID, MOST_RECORDS
from .policy_version import PolicyVersion

_GROUP_RECORDS = 64
_AHEAD = 4
"""Groups under way: one is worked on while the next ones travel."""
_REQUEST_BYTES = 1 << 20
_MOST_RECORD_BYTES = 15 << 20
"""A message must fit into the service's limit of 16 MiB with its envelope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is to be de-identified as one: raw text."""

    messages: Sequence[Message]
    record_id: str = ""
    """Your name for it, which comes back with the result."""
    known_values: Sequence[str] = ()
    """What names its person or account: looked for in its text."""
    subject: str | None = None
    """Whom it is about: dates and ages of one subject are moved alike."""

    @classmethod
    def of_text(cls, text: str, record_id: str = "") -> Record:
        """A record of one plain text."""
        return cls(messages=[Message(speaker=Speaker.TEXT, content=text)], record_id=record_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """An identifier: characters `start` up to `end` of a message as it was sent."""

    start: int
    end: int
    entity_type: str
    score: float
    stage: str
    surrogate: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a record."""

    record_id: str
    messages: Sequence[Message] = ()
    """With surrogates; none where it was refused."""
    spans: Sequence[Sequence[Span]] = ()
    """Of each message; empty unless asked for."""
    findings: Mapping[str, int]
    """How many were replaced, by type."""
    refused: RecollectError | None = None
    """Why it was not de-identified."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What de-identifies the records of a call: with all of it equal, equal results."""

    policy: PolicyVersion
    detectors: Mapping[str, str]
    """Versions by name."""
    key_id: str
    """Stands for the key of the surrogates."""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy of your own, as YAML or JSON."""

    text: str


_Sent = tuple[str, int]
"""Name of a record, and how many messages it has."""


def deidentified(
    client: ServiceClient,
    records: Iterable[Record],
    *,
    policy: str | PolicyText | None = None,
    spans: bool = False,
    seconds: float = JOB_SECONDS,
) -> Generator[Result, None, None]:
    """A result for each record, in order.

    Args:
        client: of the service.
        records: read a few groups ahead of the results.
        policy: a name, one of your own, or None for what the service ingests with.
        spans: whether to tell where what was found.
        seconds: deadline of all of it.

    Raises:
        RecollectError: POLICY_INVALID, SERVER_BUSY, SERVER_UNAVAILABLE, DEADLINE_PASSED, or
            whatever else ends the call; what is wrong with one record stands in its result.
    """
    rest = iter(records)
    with closing(DeidCall(client, policy=policy, spans=spans, seconds=seconds)) as call:
        while group := list(islice(rest, _GROUP_RECORDS)):
            call.send(group)
            if call.is_full:
                yield from call.receive()
        while call.num_waiting:
            yield from call.receive()
        call.finish()


class DeidCall:
    """One call, under way: groups of records are sent, and their results received in order."""

    def __init__(
        self,
        client: ServiceClient,
        *,
        policy: str | PolicyText | None = None,
        spans: bool = False,
        seconds: float = JOB_SECONDS,
    ) -> None:
        """Opens it and waits until the service says what it will de-identify by.

        Raises:
            RecollectError: as `deidentified`; no record was sent.
        """
        self._requests: queue.SimpleQueue[wire.DeidentifyRequest | None] = queue.SimpleQueue()
        self._under_way: deque[list[Result | _Sent]] = deque()
        """Of each record its result, where it was refused here, or else what was sent."""
        self._results: deque[wire.RecordResult] = deque()
        self._num_sent = 0
        self._requests.put(wire.DeidentifyRequest(header=_header(policy, spans=spans)))
        self._call = client.deid.Deidentify(iter(self._requests.get, None), timeout=seconds)
        self._answers = iter(self._call)
        try:
            opening = self._next_part("opening").opening
        except BaseException:
            self.close()
            raise
        self.opening = Opening(
            policy=PolicyVersion(
                name=opening.policy.name,
                version=opening.policy.version,
                fingerprint=opening.policy.fingerprint,
            ),
            detectors={one.name: one.version for one in opening.detectors},
            key_id=opening.key_id,
        )

    @property
    def num_waiting(self) -> int:
        """Groups whose results were not received yet."""
        return len(self._under_way)

    @property
    def is_full(self) -> bool:
        """Whether results should be received before more is sent, so that memory stays flat."""
        return len(self._under_way) >= _AHEAD

    def send(self, records: Sequence[Record]) -> None:
        """Sends a group of records; returns before they have arrived."""
        group: list[Result | _Sent] = []
        request, num_bytes = wire.DeidentifyRequest(), 0
        for record in records:
            try:
                packed = _to_wire(record)
            except RecollectError as error:
                group.append(Result(record_id=record.record_id, findings={}, refused=error))
                continue
            sent = request.records.records
            is_over = num_bytes + packed.ByteSize() > _REQUEST_BYTES
            if sent and (is_over or len(sent) >= MOST_RECORDS):
                self._requests.put(request)
                request, num_bytes = wire.DeidentifyRequest(), 0
            request.records.records.append(packed)
            self._num_sent += 1
            num_bytes += packed.ByteSize()
            group.append((record.record_id, len(packed.messages)))
        if request.records.records:
            self._requests.put(request)
        self._under_way.append(group)

    def receive(self) -> list[Result]:
        """Results of the oldest group that waits, in the order of its records.

        Raises:
            RecollectError: what ended the call.
        """
        group = self._under_way.popleft()
        return [one if isinstance(one, Result) else self._result(one) for one in group]

    def finish(self) -> None:
        """Ends the call, once everything was received: then the service has it on record.

        Raises:
            RecollectError: what ended the call.
        """
        self._requests.put(None)
        summary = self._next_part("summary").summary
        if self._results or summary.num_records != self._num_sent:
            raise _disorder("the service has not de-identified as many records as were sent")

    def close(self) -> None:
        """Gives the call up, if it is still under way."""
        self._requests.put(None)
        self._call.cancel()  # type: ignore[no-untyped-call]  # not in the stubs

    def _result(self, sent: _Sent) -> Result:
        while not self._results:
            self._results.extend(self._next_part("results").results.results)
        told = self._results.popleft()
        result = _from_wire(told)
        is_whole = result.refused is not None or len(result.messages) == sent[1]
        if result.record_id != sent[0] or not is_whole:
            raise _disorder("a result is not that of the next record")
        return result

    def _next_part(self, kind: str) -> wire.DeidentifyResponse:
        try:
            response = next(self._answers)
        except StopIteration:
            raise _disorder(f"the service ended the call without its {kind}") from None
        except grpc.RpcError as error:
            raise error_from(error) from None
        if response.WhichOneof("part") != kind:
            raise _disorder(f"the service does not give its {kind}")
        return response


def list_policies(client: ServiceClient) -> Sequence[wire.PolicySummary]:
    """The policies that a call may name."""
    return client.deid.ListPolicies(wire.ListPoliciesRequest(), timeout=CALL_SECONDS).policies


def _header(policy: str | PolicyText | None, *, spans: bool) -> wire.DeidentifyHeader:
    if isinstance(policy, PolicyText):
        return wire.DeidentifyHeader(policy_yaml=policy.text, with_spans=spans)
    if policy is None:
        return wire.DeidentifyHeader(with_spans=spans)
    return wire.DeidentifyHeader(policy_name=policy, with_spans=spans)


def _to_wire(record: Record) -> wire.RawRecord:
    try:
        packed = wire.RawRecord(
            id=record.record_id,
            messages=[
                store_pb2.Message(speaker=m.speaker.value, content=m.content)
                for m in record.messages
            ],
            known_values=record.known_values,
            subject=record.subject or "",
        )
    except UnicodeEncodeError:
        raise RecollectError(
            Reason.INPUT_ENCODING, "a text of the record cannot be written as UTF-8"
        ) from None
    if len(record.record_id) > LONGEST_ID:
        raise RecollectError(
            Reason.INPUT_TOO_LARGE, f"an id has at most {LONGEST_ID} characters", where="id"
        )
    if packed.ByteSize() > _MOST_RECORD_BYTES:
        raise RecollectError(
            Reason.INPUT_TOO_LARGE,
            f"the record takes {packed.ByteSize():,} bytes; at most {_MOST_RECORD_BYTES:,} fit",
        )
    return packed


def _from_wire(result: wire.RecordResult) -> Result:
    if result.WhichOneof("outcome") != "deidentified":
        told = result.refused
        metadata = {"message": told.message, "where": told.where}
        error = RecollectError.from_metadata(told.reason, metadata)
        return Result(record_id=result.id, findings={}, refused=error)
    done = result.deidentified
    return Result(
        record_id=result.id,
        messages=[Message(speaker=Speaker(m.speaker), content=m.content) for m in done.messages],
        spans=[[_span(span) for span in message.spans] for message in done.messages],
        findings={found.entity_type: found.count for found in done.findings},
    )


def _span(span: wire.Span) -> Span:
    return Span(
        start=span.start,
        end=span.end,
        entity_type=span.entity_type,
        score=span.score,
        stage=span.stage,
        surrogate=span.surrogate,
    )


def _disorder(problem: str) -> RecollectError:
    return RecollectError(
        Reason.INTERNAL, f"{problem}.", fix="Compare the versions of service and client."
    )
