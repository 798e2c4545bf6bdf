"""The channels to a service: to each of its addresses, opened when they are first needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from ..mixer.errors import Reason, RecollectError
from ..v1.connection import ADDRESS_ADVICE, Credentials, addresses_of, open_channel

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


class _Line(NamedTuple):
    """Whose channel it is, and to where."""

    process: int
    address: str


@dataclass(frozen=True, slots=True)
class _Opened:
    """A channel, and what the certificate files were when it was opened."""

    channel: grpc.Channel
    stamp: object


class Channels:
    """The channels of one client. May be used by several threads, pickled, and forked."""

    def __init__(self, address: str, credentials: Credentials) -> None:
        """Opens nothing yet.

        Args:
            address: of the service; several, with commas between them.
            credentials: what to show and whom to trust.

        Raises:
            RecollectError: CONFIG_INVALID when an address is none.
        """
        self.addresses = _check_addresses(address)
        self._credentials = credentials
        self._begin()

    def _begin(self) -> None:
        self.asked = self.addresses[0]
        """The address that is asked now."""
        self.opened: dict[_Line, _Opened] = {}
        self._retired: dict[_Line, grpc.Channel] = {}

    def __getstate__(self) -> dict[str, object]:
        # A channel cannot cross into another process: that one opens its own.
        return {"addresses": self.addresses, "_credentials": self._credentials}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._begin()

    def close(self) -> None:
        """Closes those of this process, and with them every call."""
        for line in [_Line(os.getpid(), address) for address in self.addresses]:
            opened = self.opened.pop(line, None)
            retired = self._retired.pop(line, None)
            for channel in (opened.channel if opened else None, retired):
                if channel is not None:
                    channel.close()

    def open(self) -> grpc.Channel:
        """The channel to the address that is asked now."""
        stamp = self._credentials.stamp()
        line = _Line(os.getpid(), self.asked)
        opened = self.opened.get(line)
        if opened is None or opened.stamp != stamp:
            opened = self._reopened(line, stamp)
        return opened.channel

    def move_on(self, asked: str) -> int:
        """Asks the next address from now on, if `asked` is the one that was; how many others."""
        # Two threads that fail together move on once.
        if self.asked == asked:
            place = self.addresses.index(asked) + 1
            self.asked = self.addresses[place % len(self.addresses)]
        return len(self.addresses) - 1

    def renew(self, address: str) -> None:
        """Lets the next call open a new channel to an address: this one may have lost its way."""
        line = _Line(os.getpid(), address)
        opened = self.opened.pop(line, None)
        if opened is not None:
            self._retire(line, opened)

    def _retire(self, line: _Line, opened: _Opened) -> None:
        """Closes a channel with the next one but this: streams of other threads may be open."""
        older = self._retired.pop(line, None)
        self._retired[line] = opened.channel
        if older is not None:
            older.close()

    def _reopened(self, line: _Line, stamp: object) -> _Opened:
        """A new channel, in place of one whose certificate files were replaced.

        A channel of gRPC cannot take a new certificate in Python. Streams that are open go on over
        the channel that they have; only the next change but one ends them, and they are re-opened
        at their step. There is no lock here, which a fork could find taken.
        """
        channel = open_channel(line.address, self._credentials, options=CHANNEL_OPTIONS)
        fresh = _Opened(channel, stamp)
        before = self.opened.pop(line, None)
        quicker = before if before is not None and before.stamp == stamp else None
        # Two threads may both get here: one channel stays, the other never connects.
        opened = self.opened.setdefault(line, quicker or fresh)
        if opened is not fresh:
            channel.close()
        if before is not None and before is not opened:
            self._retire(line, before)
        return opened


def _check_addresses(given: str) -> tuple[str, ...]:
    try:
        return addresses_of(given)
    except ValueError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID, str(error), where="address", fix=ADDRESS_ADVICE
        ) from None
