"""The connection to the service: a lazy channel per process, deadlines, one error tree.

A trainer outlives its server: what fails because the server is away is tried again for a stated
time, and what it asks for does not depend on who answers, so nothing is lost or doubled by asking
again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, NamedTuple, TypeVar

import grpc

from ..mixer.errors import Reason, RecollectError
from ..mixer.measures import Measures
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from ..v1 import mix_pb2, mix_pb2_grpc, stream_pb2, stream_pb2_grpc
from ..v1.connection import Credentials, is_address, open_channel
from ..v1.envelope import DamagedMessage, Envelope, opened
from ..v1.failure import code_of
from .measuring import read_measures
from .outage import Outage, closed, translated
from .outage import Patience as Patience  # its users know it from here
from .tally import SourceTally
from .tracing import Journeys

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # The server's largest frame is 16 MiB, and a little around it.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024 + 64 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    # Some cloud gateways drop a connection that is silent for 240 s, and the server allows one
    # ping in 60 s: 210 s keeps both content.
    ("grpc.keepalive_time_ms", 210_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Pings go on while the trainer evaluates and asks for nothing.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted server is found within a second, not after minutes of growing back-off.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Two clients of one process do not share a connection, so closing one leaves the other alone.
    ("grpc.use_local_subchannel_pool", 1),
)

STEPS_PER_STREAM = 4096
"""A stream is re-opened after so many steps, so that a load balancer can move it."""

Response = TypeVar("Response")


def connect(
    address: str, *, patience: Patience | None = None, credentials: Credentials | None = None
) -> Client:
    """A client of the service at `host:port` (with TLS) or `unix:path`; connects when first used.

    Args:
        address: of the service; several, with commas between them, where it may move: the client
            asks the next one when one is away.
        patience: how long to wait for it.
        credentials: what to show and whom to trust; those of the environment if left out
            (RECOLLECT_TOKEN_FILE, RECOLLECT_CA and so on).

    Raises:
        RecollectError: CONFIG_INVALID when an address is neither.
    """
    shown = credentials or Credentials.from_environment()
    return Client(address, patience=patience or Patience(), credentials=shown)


class LedgerHead(NamedTuple):
    """How far a ledger was."""

    length: int
    """Its entries."""
    digest: bytes
    """SHA-256 of the last of them, to which those before it are chained."""


UNHEARD = LedgerHead(0, b"")
"""Of a ledger that nothing is known of."""


class _Line(NamedTuple):
    """Whose channel it is, and to where."""

    process: int
    address: str


@dataclass(frozen=True, slots=True)
class _Opened:
    """A channel, and what the certificate files were when it was opened."""

    channel: grpc.Channel
    stamp: object


class Client:
    """The service, as a trainer sees it. May be used by several threads, pickled, and forked."""

    def __init__(
        self, address: str, *, patience: Patience, credentials: Credentials | None = None
    ) -> None:
        self.address = address
        self.addresses = _check_addresses(address)
        self.patience = patience
        self.credentials = credentials or Credentials()
        self._begin()

    def _begin(self) -> None:
        self._asked = self.addresses[0]
        """The address that is asked now."""
        self._channels: dict[_Line, _Opened] = {}
        self._retired: dict[_Line, grpc.Channel] = {}
        self._closing = Event()
        self._reached = Event()
        self._journeys = Journeys()

    def __getstate__(self) -> dict[str, object]:
        # A channel cannot cross into another process: that one opens its own.
        names = ("address", "addresses", "patience", "credentials")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._begin()

    def close(self) -> None:
        """Ends every call of this process, also those that other threads wait for."""
        self._closing.set()
        for line in [_Line(os.getpid(), address) for address in self.addresses]:
            opened = self._channels.pop(line, None)
            retired = self._retired.pop(line, None)
            for channel in (opened.channel if opened else None, retired):
                if channel is not None:
                    channel.close()

    def plan(self, plan_id: str) -> Plan:
        """The sealed plan, checked against its id, with the measures that it needs.

        Raises:
            RecollectError: PLAN_UNKNOWN; PLAN_TAMPERED when it is not the plan of that id;
                MEASURES_DIFFER when its measures are not those that it was sealed with.
        """
        request = mix_pb2.GetPlanRequest(plan_id=plan_id)
        answer = self._call(lambda channel: mix_pb2_grpc.MixServiceStub(channel).GetPlan, request)
        plan = read_plan(answer.plan_json)
        if plan.plan_id != plan_id:
            raise RecollectError(
                Reason.PLAN_TAMPERED,
                f"The server answered with the plan {plan.plan_id}.",
                where=plan_id,
                fix="Do not train: the server is not to be trusted.",
            )
        return self.ready(plan)

    def ready(self, plan: Plan) -> Plan:
        """The plan, able to say its batches: with measures from the service, if it needs them."""
        if plan.rows is not None or not plan.needs_measures:
            return plan
        names = [source.name for source in plan.sources if source.measures_digest]
        return plan.with_measures({name: self._measures(plan.plan_id, name) for name in names})

    def _measures(self, plan_id: str, source: str) -> Measures:
        request = mix_pb2.GetMeasuresRequest(plan_id=plan_id, source=source)

        def streamed(channel: grpc.Channel) -> Callable[..., Measures]:
            stub = mix_pb2_grpc.MixServiceStub(channel)

            def received(request: mix_pb2.GetMeasuresRequest, timeout: float) -> Measures:
                answers = stub.GetMeasures(request, timeout=timeout)
                return read_measures(answer.payload for answer in answers)

            return received

        # A stream that broke begins anew: measures are small beside what is trained on.
        return self._call(streamed, request)

    def fetch(
        self,
        plan_id: str,
        first_step: int,
        num_steps: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        with_annotations: bool = False,
    ) -> Iterator[Envelope]:
        """Frames of `num_steps` steps, from a stream that is re-opened where it broke.

        Raises:
            RecollectError: SERVER_UNAVAILABLE, DEADLINE_PASSED, and what the service refuses.
        """
        step, end = first_step, first_step + num_steps
        outage = self._outage()
        while step < end:
            request = stream_pb2.FetchRequest(
                plan_id=plan_id,
                first_step=step,
                num_steps=min(STEPS_PER_STREAM, end - step),
                rank=rank,
                world_size=world_size,
                with_annotations=with_annotations,
            )
            opened_at, asked = step, self._asked
            span = self._journeys.fetch(request)
            with translated():
                stream = _fetching(self._open())(
                    request, timeout=self.patience.deadline_s, metadata=span.metadata
                )
            try:
                for message in stream:
                    try:
                        frame = opened(message)
                    except DamagedMessage:
                        outage.damaged(step)
                        self._move_on(asked)
                        break
                    _check_steps(frame, step, opened_at + request.num_steps)
                    outage.over()
                    step += len(frame.steps)
                    yield frame
                else:
                    # A stream that ends before its steps did was cut off by somebody on the way.
                    if step < opened_at + request.num_steps:
                        outage.ended_early(step)
            except grpc.RpcError as error:
                span.end(str(code_of(error)))
                # A slow trainer outlives the deadline of its stream: no outage, if steps did come.
                if not (code_of(error) == grpc.StatusCode.DEADLINE_EXCEEDED and step > opened_at):
                    outage.wait_or_raise(error, others=self._move_on(asked))
            finally:
                stream.cancel()
                span.end()

    def ack(
        self,
        run_id: str,
        *,
        step: int,
        rank: int,
        world_size: int,
        digest: bytes,
        counts: Mapping[str, SourceTally],
    ) -> LedgerHead:
        """Says that the optimizer has stepped on a batch; durable on return."""
        request = stream_pb2.AckRequest(
            run_id=run_id,
            step=step,
            rank=rank,
            world_size=world_size,
            digest=digest,
            counts=[
                stream_pb2.SourceCount(
                    source=source,
                    num_rows=tally.num_rows,
                    num_tokens=tally.num_tokens,
                    num_supervised_tokens=tally.num_supervised_tokens,
                )
                for source, tally in counts.items()
            ],
        )
        span = self._journeys.ack(request)
        try:
            answer = self._call(
                lambda channel: partial(_stream(channel).Ack, metadata=span.metadata), request
            )
        except RecollectError as error:
            span.end(error.reason.name)
            raise
        finally:
            span.end()
        return LedgerHead(answer.ledger_length, answer.ledger_head)

    def start_run(
        self,
        run_id: str,
        plan_id: str,
        *,
        base_digest: str,
        settings_json: str = "{}",
        ledger_head: LedgerHead | None = None,
    ) -> int:
        """Records or finds the run; returns the first step that not every rank acknowledged.

        Raises:
            RecollectError: RUN_CONFLICT if the run began with something else, or if the ledger is
                not the one whose head was given, or went on from there.
        """
        known = ledger_head or UNHEARD
        request = stream_pb2.StartRunRequest(
            run_id=run_id,
            plan_id=plan_id,
            base_digest=base_digest,
            settings_json=settings_json,
            ledger_length=known.length,
            ledger_head=known.digest,
        )
        return self._call(lambda channel: _stream(channel).StartRun, request).first_step

    def finish_run(
        self, run_id: str, *, tuned_digest: str, measurements: Sequence[stream_pb2.Measurement] = ()
    ) -> None:
        """Records what was measured, and that the run ended."""
        request = stream_pb2.FinishRunRequest(
            run_id=run_id, measurements=measurements, tuned_digest=tuned_digest
        )
        self._call(lambda channel: _stream(channel).FinishRun, request)

    def _open(self) -> grpc.Channel:
        if self._closing.is_set():
            raise closed(self.address)
        stamp = self.credentials.stamp()
        line = _Line(os.getpid(), self._asked)
        opened = self._channels.get(line)
        if opened is None or opened.stamp != stamp:
            with translated():
                opened = self._reopened(line, stamp)
        return opened.channel

    def _move_on(self, asked: str) -> int:
        """Asks the next address from now on, if `asked` is the one that was; how many others."""
        # Two threads that fail together move on once.
        if self._asked == asked:
            place = self.addresses.index(asked) + 1
            self._asked = self.addresses[place % len(self.addresses)]
        return len(self.addresses) - 1

    def _reopened(self, line: _Line, stamp: object) -> _Opened:
        """A new channel, in place of one whose certificate files were replaced.

        A channel of gRPC cannot take a new certificate in Python. Streams that are open go on over
        the channel that they have; only the next change but one ends them, and they are re-opened
        at their step. There is no lock here, which a fork could find taken.
        """
        channel = open_channel(line.address, self.credentials, options=CHANNEL_OPTIONS)
        fresh = _Opened(channel, stamp)
        before = self._channels.pop(line, None)
        quicker = before if before is not None and before.stamp == stamp else None
        # Two threads may both get here: one channel stays, the other never connects.
        opened = self._channels.setdefault(line, quicker or fresh)
        if opened is not fresh:
            channel.close()
        if before is not None and before is not opened:
            older = self._retired.pop(line, None)
            self._retired[line] = before.channel
            if older is not None:
                older.close()
        return opened

    def _outage(self) -> Outage:
        return Outage(
            self.addresses,
            self.patience,
            self._closing,
            credentials=self.credentials,
            reached=self._reached,
        )

    def _call(
        self, method: Callable[[grpc.Channel], Callable[..., Response]], request: object
    ) -> Response:
        # Every call of this client may be repeated: the service records nothing twice.
        outage = self._outage()
        while True:
            asked = self._asked
            try:
                with translated():
                    # Asked for again each time: certificates may have changed meanwhile.
                    answer = method(self._open())(request, timeout=self.patience.deadline_s)
            except grpc.RpcError as error:
                outage.wait_or_raise(error, others=self._move_on(asked))
            else:
                if answer is not None:
                    outage.over()
                    return answer
                outage.unanswered()


def _stream(channel: grpc.Channel) -> stream_pb2_grpc.StreamServiceStub:
    return stream_pb2_grpc.StreamServiceStub(channel)


def _fetching(channel: grpc.Channel) -> Callable[..., Any]:
    """Fetch, with its messages left as they are sent: `opened` reads them."""
    service = stream_pb2.DESCRIPTOR.services_by_name["StreamService"]
    fetching: Callable[..., Any] = channel.unary_stream(
        f"/{service.full_name}/Fetch",
        request_serializer=stream_pb2.FetchRequest.SerializeToString,
        response_deserializer=None,
    )
    return fetching


def _check_steps(frame: Envelope, expected: int, end: int) -> None:
    received = [item.step for item in frame.steps]
    last = expected + max(1, len(received))
    if received != list(range(expected, last)) or last > end:
        raise RecollectError(
            Reason.BATCH_DIFFERS,
            f"The server sent the steps {received!s:.80} where step {expected} was next, and "
            f"{end - 1} the last.",
        )


def _check_addresses(given: str) -> tuple[str, ...]:
    addresses = tuple(dict.fromkeys(part.strip() for part in given.split(",")))
    for address in addresses:
        if not is_address(address):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"{address!r:.80} is not an address.",
                where="address",
                fix="Write host:port, such as 127.0.0.1:7431, or unix:/path/of/socket; several "
                "with commas between them.",
            )
    return addresses
