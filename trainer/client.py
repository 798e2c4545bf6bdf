"""The connection to the service: a lazy channel per process, deadlines, one error tree.

A trainer outlives its server: what fails because the server is away is tried again for a stated
time, and what it asks for does not depend on who answers, so nothing is lost or doubled by asking
again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

import grpc

from ..mixer.errors import DOMAIN, Reason, RecollectError
from ..mixer.measures import Measures
from ..mixer.plan import Plan
from ..mixer.sealing import read_plan
from ..v1 import mix_pb2, mix_pb2_grpc, stream_pb2, stream_pb2_grpc
from ..v1.failure import AWAY, code_of, error_info
from .measuring import read_measures
from .tally import SourceTally

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

STEPS_PER_STREAM = 256
"""A stream is re-opened after so many steps, so that a load balancer can move it."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

_ADVICE = {
    Reason.SERVER_UNAVAILABLE.name: "Start it with `recollect serve` and train again: the run "
    "resumes where it was.",
    Reason.DEADLINE_PASSED.name: "Look at its load and its log, or allow more time, then resume "
    "the training.",
}

Response = TypeVar("Response")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the client waits for the service."""

    deadline_s: float = 120.0
    """Deadline of one call; for a stream, of its STEPS_PER_STREAM steps. The first call for a plan
    may have to build token caches."""
    outage_s: float = 60.0
    """How long a server may be away before the client gives up."""


def connect(address: str, *, patience: Patience | None = None) -> Client:
    """A client of the service at `host:port` or `unix:path`; connects when first used.

    Raises:
        RecollectError: CONFIG_INVALID when the address is neither.
    """
    return Client(address, patience=patience or Patience())


class Client:
    """The service, as a trainer sees it. May be used by several threads, pickled, and forked."""

    def __init__(self, address: str, *, patience: Patience) -> None:
        self.address = _check_address(address)
        self.patience = patience
        self._channels: dict[int, grpc.Channel] = {}
        self._closing = Event()

    def __getstate__(self) -> dict[str, object]:
        # A channel cannot cross into another process: that one opens its own.
        return {"address": self.address, "patience": self.patience}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _channels={}, _closing=Event())

    def close(self) -> None:
        """Ends every call of this process, also those that other threads wait for."""
        self._closing.set()
        channel = self._channels.pop(os.getpid(), None)
        if channel is not None:
            channel.close()

    def plan(self, plan_id: str) -> Plan:
        """The sealed plan, checked against its id, with the measures that it needs.

        Raises:
            RecollectError: PLAN_UNKNOWN; PLAN_TAMPERED when it is not the plan of that id;
                MEASURES_DIFFER when its measures are not those that it was sealed with.
        """
        request = mix_pb2.GetPlanRequest(plan_id=plan_id)
        stub = mix_pb2_grpc.MixServiceStub(self._open())
        plan = read_plan(self._call(stub.GetPlan, request).plan_json)
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
        stub = mix_pb2_grpc.MixServiceStub(self._open())
        request = mix_pb2.GetMeasuresRequest(plan_id=plan_id, source=source)

        def received(request: mix_pb2.GetMeasuresRequest, timeout: float) -> Measures:
            answers = stub.GetMeasures(request, timeout=timeout)
            return read_measures(answer.payload for answer in answers)

        # A stream that broke begins anew: measures are small beside what is trained on.
        return self._call(received, request)

    def fetch(
        self,
        plan_id: str,
        first_step: int,
        num_steps: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        with_annotations: bool = False,
    ) -> Iterator[stream_pb2.FetchResponse]:
        """Frames of `num_steps` steps, from a stream that is re-opened where it broke.

        Raises:
            RecollectError: SERVER_UNAVAILABLE, DEADLINE_PASSED, and what the service refuses.
        """
        step, end = first_step, first_step + num_steps
        outage = _Outage(self.address, self.patience, self._closing)
        while step < end:
            request = stream_pb2.FetchRequest(
                plan_id=plan_id,
                first_step=step,
                num_steps=min(STEPS_PER_STREAM, end - step),
                rank=rank,
                world_size=world_size,
                with_annotations=with_annotations,
            )
            opened_at = step
            stream = self._stream().Fetch(request, timeout=self.patience.deadline_s)
            try:
                for frame in stream:
                    _check_step(frame.step, step)
                    outage.over()
                    step += 1
                    yield frame
            except grpc.RpcError as error:
                # A slow trainer outlives the deadline of its stream: no outage, if steps did come.
                if not (code_of(error) == grpc.StatusCode.DEADLINE_EXCEEDED and step > opened_at):
                    outage.wait_or_raise(error)
            else:
                _check_progress(step, opened_at)
            finally:
                stream.cancel()  # type: ignore[no-untyped-call]

    def ack(
        self,
        run_id: str,
        *,
        step: int,
        rank: int,
        world_size: int,
        digest: bytes,
        counts: Mapping[str, SourceTally],
    ) -> None:
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
        self._call(self._stream().Ack, request)

    def start_run(
        self, run_id: str, plan_id: str, *, base_digest: str, settings_json: str = "{}"
    ) -> int:
        """Records or finds the run; returns the first step that not every rank acknowledged."""
        request = stream_pb2.StartRunRequest(
            run_id=run_id, plan_id=plan_id, base_digest=base_digest, settings_json=settings_json
        )
        return self._call(self._stream().StartRun, request).first_step

    def finish_run(
        self, run_id: str, *, tuned_digest: str, measurements: Sequence[stream_pb2.Measurement] = ()
    ) -> None:
        """Records what was measured, and that the run ended."""
        request = stream_pb2.FinishRunRequest(
            run_id=run_id, measurements=measurements, tuned_digest=tuned_digest
        )
        self._call(self._stream().FinishRun, request)

    def _stream(self) -> stream_pb2_grpc.StreamServiceStub:
        return stream_pb2_grpc.StreamServiceStub(self._open())

    def _open(self) -> grpc.Channel:
        process = os.getpid()
        if self._closing.is_set():
            raise _closed(self.address)
        if process not in self._channels:
            # Two threads may both get here: one channel stays, the other never connects.
            channel = grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)
            if self._channels.setdefault(process, channel) is not channel:
                channel.close()
        return self._channels[process]

    def _call(self, call: Callable[..., Response], request: object) -> Response:
        # Every call of this client may be repeated: the service records nothing twice.
        outage = _Outage(self.address, self.patience, self._closing)
        while True:
            try:
                return call(request, timeout=self.patience.deadline_s)
            except grpc.RpcError as error:
                outage.wait_or_raise(error)


class _Outage:
    """The time since the server was last heard of."""

    def __init__(self, address: str, patience: Patience, closing: Event) -> None:
        self._address = address
        self._patience = patience
        self._closing = closing
        self.over()

    def over(self) -> None:
        """The server has answered."""
        self._began: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def wait_or_raise(self, error: grpc.RpcError) -> None:
        """Waits a little if asking again can help; raises what the error means otherwise."""
        if code_of(error) not in AWAY or self._closing.is_set():
            raise from_rpc_error(error, self._address) from error
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        remaining_s = self._patience.outage_s - (now - self._began)
        if remaining_s <= 0:
            raise from_rpc_error(error, self._address) from error
        if self._closing.wait(min(self._pause_s, remaining_s)):
            raise _closed(self._address)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def from_rpc_error(error: grpc.RpcError, address: str) -> RecollectError:
    """The error that the service meant, or what a broken connection means to a trainer."""
    info = error_info(error, domain=DOMAIN, where=address, advice=_ADVICE)
    return RecollectError.from_metadata(info.reason, info.metadata)


def _closed(address: str) -> RecollectError:
    return RecollectError(
        Reason.SERVER_UNAVAILABLE, "The client was closed.", where=address, fix="Connect again."
    )


def _check_step(received: int, expected: int) -> None:
    if received != expected:
        raise RecollectError(
            Reason.BATCH_DIFFERS, f"The server sent step {received} in place of step {expected}."
        )


def _check_progress(step: int, opened_at: int) -> None:
    if step == opened_at:
        raise RecollectError(
            Reason.BATCH_DIFFERS, f"The server ended its answer without sending step {step}."
        )


def _check_address(address: str) -> str:
    if re.fullmatch(r"unix:.+|(\[[0-9a-fA-F:]+\]|[^:/\s]+):\d{1,5}", address) is None:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{address!r:.80} is not an address.",
            where="address",
            fix="Write host:port, such as 127.0.0.1:7431, or unix:/path/of/socket.",
        )
    return address
