"""The connection to the service: a lazy channel per process, deadlines, one error tree.

A trainer outlives its server: what fails because the server is away is tried again for a stated
time, and what it asks for does not depend on who answers, so nothing is lost or doubled by asking
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any, NamedTuple, TypeVar

import grpc

from ..mixer.errors import Reason, RecollectError
from ..mixer.measures import Measures
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from ..v1 import mix_pb2, mix_pb2_grpc, stream_pb2, stream_pb2_grpc
from ..v1.connection import Credentials
from ..v1.envelope import DamagedMessage, Envelope, is_whole, opened
from ..v1.failure import code_of
from .channels import CHANNEL_OPTIONS as CHANNEL_OPTIONS  # its users know them from here
from .channels import Channels
from .measuring import read_measures
from .outage import Outage, closed, translated
from .outage import Patience as Patience  # its users know it from here
from .silence import Listener
from .tally import SourceTally
from .tracing import Journeys

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


class Client:
    """The service, as a trainer sees it. May be used by several threads, pickled, and forked."""

    def __init__(
        self, address: str, *, patience: Patience, credentials: Credentials | None = None
    ) -> None:
        self.address = address
        self.patience = patience
        self.credentials = credentials or Credentials()
        self._channels = Channels(address, self.credentials)
        self._begin()

    def _begin(self) -> None:
        self._closing = Event()
        self._reached = Event()
        self._journeys = Journeys()

    def __getstate__(self) -> dict[str, object]:
        # What waits in this process is not waited for in another.
        names = ("address", "patience", "credentials", "_channels")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._begin()

    def close(self) -> None:
        """Ends every call of this process, also those that other threads wait for."""
        self._closing.set()
        self._channels.close()

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
        return self._call(streamed, request, at_once_s=self.patience.deadline_s)

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
            opened_at, asked = step, self._channels.asked
            span = self._journeys.fetch(request)
            with translated():
                stream = _fetching(self._open())(
                    request, timeout=self.patience.deadline_s, metadata=span.metadata
                )
            heard = Listener(stream, first_s=outage.wait_s, next_s=self.patience.silence_s)
            try:
                for message in heard:
                    try:
                        frame = opened(message)
                    except DamagedMessage:
                        outage.damaged(step)
                        self._channels.move_on(asked)
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
                if heard.fell_silent:
                    self._channels.renew(asked)
                    self._channels.move_on(asked)
                    outage.silent(heard.waits_s)
                # A slow trainer outlives the deadline of its stream: no outage, if steps did come.
                elif not (code_of(error) == grpc.StatusCode.DEADLINE_EXCEEDED and step > opened_at):
                    outage.wait_or_raise(error, others=self._channels.move_on(asked))
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
        with translated():
            return self._channels.open()

    def _outage(self) -> Outage:
        return Outage(
            self._channels.addresses,
            self.patience,
            self._closing,
            credentials=self.credentials,
            reached=self._reached,
        )

    def _call(
        self,
        method: Callable[[grpc.Channel], Callable[..., Response]],
        request: object,
        *,
        at_once_s: float | None = None,
    ) -> Response:
        """Makes a call until it is answered or its deadline has passed, in all.

        Every call of this client may be repeated: the service records nothing twice.

        Args:
            method: the method of a channel.
            request: what to ask.
            at_once_s: how long it may take; a little at first if left out, then more and more.
        """
        outage = self._outage()
        while True:
            asked = self._channels.asked
            wait_s = at_once_s or outage.wait_s
            try:
                with translated():
                    # Asked for again each time: certificates may have changed meanwhile.
                    answer = method(self._open())(request, timeout=wait_s)
            except grpc.RpcError as error:
                others = self._channels.move_on(asked)
                if code_of(error) is grpc.StatusCode.DEADLINE_EXCEEDED:
                    self._channels.renew(asked)
                    outage.silent(wait_s)
                else:
                    outage.wait_or_raise(error, others=others)
            else:
                if answer is not None and is_whole(answer):
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
