"""Outages: how long a trainer waits for its service, and what a failed call means to it.

A service that is away may come back; one that this client cannot trust, or that cannot trust it,
will not by waiting.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

import grpc

from ..mixer.errors import DOMAIN, Reason, RecollectError
from ..v1.connection import Credentials, Unreachable, why_unreachable
from ..v1.failure import AWAY, GARBLED, attached_info, code_of, error_info

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
MOST_BAD_ANSWERS = 5
"""Answers in a row that may be damaged or cut off before a trainer gives up."""

_ADVICE = {
    Reason.SERVER_UNAVAILABLE.name: "Start it with `recollect serve` and train again: the run "
    "resumes where it was.",
    Reason.DEADLINE_PASSED.name: "Look at its load and its log, or allow more time, then resume "
    "the training.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the client waits for the service."""

    deadline_s: float = 120.0
    """Deadline of one call; for a stream, of its STEPS_PER_STREAM steps. The first call for a plan
    may have to build token caches."""
    outage_s: float = 60.0
    """How long a server may be away before the client gives up."""
    silence_s: float = 20.0
    """How long to wait for what usually takes milliseconds before it is asked for again, over a new
    connection."""


@contextmanager
def translated() -> Iterator[None]:
    """Makes our error of what keeps a channel from being opened or a token from being sent."""
    try:
        yield
    except Unreachable as error:
        raise RecollectError.from_metadata(error.reason, error.metadata) from None


class Outage:
    """The time since the server was last heard of."""

    def __init__(
        self,
        addresses: Sequence[str],
        patience: Patience,
        closing: Event,
        *,
        credentials: Credentials,
        reached: Event,
    ) -> None:
        self._addresses = addresses
        self._address = ",".join(addresses)
        self._patience = patience
        self._closing = closing
        self._credentials = credentials
        self._reached = reached
        """Whether the client has ever been answered."""
        self._forget()

    def _forget(self) -> None:
        self._began: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._num_bad = 0
        self._num_away = 0
        self._silent_s = 0.0

    def over(self) -> None:
        """The server has answered."""
        self._reached.set()
        self._forget()

    @property
    def wait_s(self) -> float:
        """How long to wait for the next answer: twice as long after each silence.

        The first call for a plan may have to build token caches, which goes on meanwhile.
        """
        left_s = self._patience.deadline_s - self._silent_s
        return max(0.0, min(self._patience.silence_s + self._silent_s, left_s))

    def silent(self, waited_s: float) -> None:
        """Notes that nothing was heard for a while.

        Raises:
            RecollectError: DEADLINE_PASSED when that was so for the deadline of a call, in all.
        """
        self._silent_s += waited_s
        if self._silent_s >= self._patience.deadline_s:
            raise RecollectError(
                Reason.DEADLINE_PASSED,
                "the service is there, but did not answer in time.",
                where=self._address,
                fix=_ADVICE[Reason.DEADLINE_PASSED.name],
            )

    def damaged(self, step: int) -> None:
        """Waits a little before a frame is asked for again that changed on its way.

        Raises:
            RecollectError: FRAME_DAMAGED when that happens again and again.
        """
        self._wait_or_give_up(
            RecollectError(
                Reason.FRAME_DAMAGED,
                f"What arrived of step {step} is not what was sent.",
                where=self._address,
                fix="Look for a faulty proxy or memory on the way, or use TLS.",
            )
        )

    def ended_early(self, step: int) -> None:
        """Waits a little before a stream is opened again that ended too early.

        Raises:
            RecollectError: BATCH_DIFFERS when that happens again and again.
        """
        self._wait_or_give_up(
            RecollectError(
                Reason.BATCH_DIFFERS,
                f"The server ended its answer without sending step {step}.",
                where=self._address,
            )
        )

    def unanswered(self) -> None:
        """Waits a little before a call is made again that ended well, but not with its answer.

        A connection that changes bytes can change an answer, or lose it and leave the status that
        follows it; gRPC gives None then.

        Raises:
            RecollectError: FRAME_DAMAGED when that happens again and again.
        """
        self._wait_or_give_up(
            RecollectError(
                Reason.FRAME_DAMAGED,
                "A call ended well, and its answer did not arrive as it was sent.",
                where=self._address,
                fix="Look for a faulty proxy or memory on the way, or use TLS.",
            )
        )

    def _wait_or_give_up(self, error: RecollectError) -> None:
        self._num_bad += 1
        if self._num_bad >= MOST_BAD_ANSWERS:
            raise error
        self._pause(self._patience.outage_s)

    def wait_or_raise(self, error: grpc.RpcError, *, others: int = 0) -> None:
        """Waits a little if asking again can help; raises what the error means otherwise.

        Args:
            error: what a call ended with.
            others: further addresses of the service, which are asked at once, one after another.
        """
        code = code_of(error)
        if code in GARBLED and attached_info(error, DOMAIN) is None:
            self._wait_or_give_up(from_rpc_error(error, self._address))
            return
        if code not in AWAY or self._closing.is_set():
            raise from_rpc_error(error, self._address) from _cause(error)
        now = time.monotonic()
        if self._began is None:
            self._began = now
            # A client that never got an answer is told at once what waiting cannot mend; one that
            # did may be in the middle of a change of certificates.
            if not self._reached.is_set():
                self._require_trust()
        remaining_s = self._patience.outage_s - (now - self._began)
        if remaining_s <= 0:
            self._require_trust()
            raise from_rpc_error(error, self._address) from _cause(error)
        self._num_away += 1
        if self._num_away == others + 1:
            self._tell()
        if self._num_away % (others + 1) == 0:
            self._pause(remaining_s)

    def _tell(self) -> None:
        # Whoever waits should not take it for a hang.
        log.warning(
            "the service at %s does not answer: asking again for up to %.0f s",
            self._address,
            self._patience.outage_s,
        )

    def _pause(self, at_most_s: float) -> None:
        # Spread out: the ranks of a run lose their server together and must not return together.
        pause_s = self._pause_s * random.uniform(0.5, 1)
        if self._closing.wait(min(pause_s, at_most_s)):
            raise closed(self._address)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _require_trust(self) -> None:
        """Raises TLS_MISMATCH or CERTIFICATE_REFUSED where the two cannot trust one another."""
        with translated():
            # One that can be trusted, or is only away, may be the one that serves next.
            found = [why_unreachable(each, self._credentials) for each in self._addresses]
            if all(found) and found[0] is not None:
                raise found[0]


def from_rpc_error(error: grpc.RpcError, address: str) -> RecollectError:
    """The error that the service meant, or what a broken connection means to a trainer."""
    info = error_info(error, domain=DOMAIN, where=address, advice=_ADVICE)
    return RecollectError.from_metadata(info.reason, info.metadata)


def _cause(error: grpc.RpcError) -> grpc.RpcError | None:
    """What to show beside what an error means: nothing where the service itself said it."""
    return error if attached_info(error, DOMAIN) is None else None


def closed(address: str) -> RecollectError:
    """What those are told who still wait when a client is closed."""
    return RecollectError(
        Reason.SERVER_UNAVAILABLE, "The client was closed.", where=address, fix="Connect again."
    )
