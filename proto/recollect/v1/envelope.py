"""The envelope of a message of steps, written and read without copying the rows to and fro.

A generated class copies a payload when it is set, when it is encoded, when it is parsed and every
time it is looked at; half a MiB each time is what both sides of a stream would do most of the day.
Here the encoding of protocol buffers is written around the payload and looked through to it. Any
other reader or writer of the contract understands and is understood. Unlike the stubs beside it,
this module is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import xxhash
from google.protobuf.message import DecodeError, Message

from .stream_pb2 import AckResponse, FetchResponse, StartRunResponse, StepFrame

ALIGNMENT = 64
"""Where a payload begins in its message, so that the columns in it are aligned in memory."""
ENOUGH_ALIGNED = 8
"""What the columns of a payload need; one that begins elsewhere is copied."""

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
"""Kinds of field that take so many bytes."""
_LONGEST_VARINT = 63
"""Bits, as a number has at most 64."""
_STEPS, _PAYLOAD, _PADDING = (
    FetchResponse.DESCRIPTOR.fields_by_name[name].number << 3 | _BYTES
    for name in ("steps", "payload", "padding")
)

Octets: TypeAlias = bytes | bytearray | memoryview


class DamagedMessage(Exception):
    """A message is not what was sent."""


class Envelope(NamedTuple):
    """A message of steps whose checksum was compared."""

    steps: Sequence[StepFrame]
    """What it says of each."""
    payload: Octets
    """The rows of all: an Arrow IPC stream, in the memory of the message."""


def enclosed(steps: Iterable[StepFrame], payload: Octets) -> bytes:
    """The encoding of a FetchResponse, the payload last."""
    encoded = [step.SerializeToString(deterministic=True) for step in steps]
    parts: list[Octets] = []
    for step in encoded:
        parts += (bytes((_STEPS,)), _varint(len(step)), step)
    checksum = _checksum(encoded, payload)
    parts.append(FetchResponse(checksum=checksum).SerializeToString(deterministic=True))
    opening = bytes((_PAYLOAD,)) + _varint(len(payload))
    num_before = sum(map(len, parts)) + 2 + len(opening)
    num_zeros = -num_before % ALIGNMENT
    parts += (bytes((_PADDING, num_zeros)), bytes(num_zeros), opening, payload)
    return b"".join(parts)


def opened(message: bytes) -> Envelope:
    """Reads an encoded FetchResponse.

    Raises:
        DamagedMessage: it is none, or its checksum is not that of its steps and payload.
    """
    try:
        found = _spans(message)
        # All but the payload, which may stand anywhere.
        rest = FetchResponse.FromString(message[: found.field] + message[found.last :])
    except (DecodeError, IndexError) as error:
        raise DamagedMessage(type(error).__name__) from error
    payload = memoryview(message)[found.first : found.last]
    if rest.checksum != _checksum((message[slice(*span)] for span in found.steps), payload):
        raise DamagedMessage("another checksum")
    is_aligned = found.first % ENOUGH_ALIGNED == 0
    return Envelope(rest.steps, payload if is_aligned else bytes(payload))


Answer = TypeVar("Answer", AckResponse, StartRunResponse)


def signed(answer: Answer) -> Answer:
    """An answer with the checksum of what it says, which a trainer goes by for ever after."""
    answer.checksum = _checksum_without(answer)
    return answer


def is_whole(answer: object) -> bool:
    """Whether an answer is what was sent, as far as it has a checksum."""
    if not isinstance(answer, AckResponse | StartRunResponse):
        return True
    return bool(answer.checksum == _checksum_without(answer))


def _checksum_without(answer: Message) -> int:
    said = type(answer)()
    said.CopyFrom(answer)
    said.ClearField("checksum")
    return xxhash.xxh3_64_intdigest(said.SerializeToString(deterministic=True))


def checksum_of(steps: Iterable[StepFrame], payload: Octets) -> int:
    """XXH3 (64 bits) of the steps, each in its deterministic encoding, and of the payload.

    TCP's own checksum misses what a broken proxy changes, and a Unix socket has none.
    """
    return _checksum([step.SerializeToString(deterministic=True) for step in steps], payload)


def _checksum(encoded_steps: Iterable[bytes], payload: Octets) -> int:
    found = xxhash.xxh3_64(b"".join(encoded_steps))
    found.update(payload)
    return found.intdigest()


class _Spans(NamedTuple):
    """Where the parts of a message stand."""

    steps: list[tuple[int, int]]
    field: int
    """Where the field of the payload begins: its tag, its length, itself."""
    first: int
    last: int


def _spans(message: bytes) -> _Spans:
    steps: list[tuple[int, int]] = []
    payloads: list[tuple[int, int, int]] = []
    place = 0
    while place < len(message):
        field = place
        tag, place = _read_varint(message, place)
        kind = tag & 7
        if kind == _BYTES:
            length, first = _read_varint(message, place)
            place = first + length
            if tag == _STEPS:
                steps.append((first, place))
            elif tag == _PAYLOAD:
                payloads.append((field, first, place))
        elif kind == _VARINT:
            _, place = _read_varint(message, place)
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise IndexError("a kind of field that there is not here")
    if place > len(message) or len(payloads) > 1:
        raise IndexError("a field that is cut off, or too many")
    return _Spans(steps, *(payloads[0] if payloads else (place, place, place)))


def _varint(value: int) -> bytes:
    """Seven bits to a byte, lowest first; all but the last have the eighth bit set."""
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while True:
        octet = message[place]
        place += 1
        value |= (octet & 127) << shift
        if octet < 128:
            return value, place
        shift += 7
        if shift > _LONGEST_VARINT:
            raise IndexError("a number that does not end")
