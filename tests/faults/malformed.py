"""Malformed requests: what is sent to every method of the service, and what may be answered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from recollect.mixer.errors import DOMAIN, Reason
from recollect.services.rooms import SERVICES
from recollect.v1.failure import attached_info

METHODS: tuple[MethodDescriptor, ...] = tuple(
    method for service in SERVICES for method in service.methods
)
DEADLINE_SECONDS = 20.0
MOST_ANSWERS = 3
"""Answers of a stream that are read before it is hung up on."""
TEXTS = (
    *("", "\x00", "a", "../../etc/passwd", "NaN", "1e999", "-1", "{", "[]", "é" * 40, "\ud7ff"),
    *("name: x\nbatch_size: 0\n", "x" * 5000, "{a: &a [*a]}", "!!python/object:os.system {}"),
)
NUMBERS = (0, 1, 2, 3, 17, 255, 1 << 16, (1 << 31) - 1, -1, -(1 << 31))
LARGE = (*NUMBERS, (1 << 63) - 1, -(1 << 63), 1 << 40)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent: to which method, and the bytes of its messages."""

    method: MethodDescriptor
    messages: tuple[bytes, ...]

    @property
    def path(self) -> str:
        """As gRPC names it."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


class Broken(AssertionError):
    """The service crashed, or answered without a type."""


class Maker:
    """Makes requests of random bytes: valid messages with wild values, and broken encodings."""

    def __init__(self, dice: random.Random, known: Sequence[str] = ()) -> None:
        """The known texts, such as the id of a plan, lead requests deeper than others do."""
        self._dice = dice
        self._texts = (*TEXTS, *known, *known)

    def one(self) -> Asked:
        """A request to any method."""
        dice = self._dice
        method = dice.choice(METHODS)
        number = dice.randrange(4) if method.client_streaming else 1
        return Asked(method, tuple(self._message(method) for _ in range(number)))

    def _message(self, method: MethodDescriptor) -> bytes:
        dice = self._dice
        if dice.random() < 0.1:
            return dice.randbytes(dice.randrange(64))
        message = GetMessageClass(method.input_type)()
        self._fill(message, depth=0)
        encoded = message.SerializeToString()
        return self._broken(encoded) if dice.random() < 0.3 else encoded

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._dice.random() < 0.7:
                self._set(message, field, depth)

    def _set(self, message: Any, field: Any, depth: int) -> None:
        if field.is_repeated:
            held = getattr(message, field.name)
            for _ in range(self._dice.choice((0, 1, 2, 5))):
                if field.message_type is None:
                    held.append(self._value(field))
                elif depth < 3 and not field.message_type.GetOptions().map_entry:
                    self._fill(held.add(), depth + 1)
        elif field.message_type is None:
            setattr(message, field.name, self._value(field))
        elif depth < 3:
            self._fill(getattr(message, field.name), depth + 1)

    def _value(self, field: Any) -> Any:
        dice = self._dice
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return dice.randbytes(dice.choice((0, 1, 8, 32, 33)))
            case FieldDescriptor.CPPTYPE_STRING:
                return dice.choice(self._texts)
            case FieldDescriptor.CPPTYPE_BOOL:
                return dice.random() < 0.5
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return dice.choice((0.0, -1.0, 1.5, float("inf"), float("nan"), 1e-300))
            case FieldDescriptor.CPPTYPE_ENUM:
                return dice.choice((0, 1, 2, 3, 99, -1))
            case FieldDescriptor.CPPTYPE_INT64:
                return dice.choice(LARGE)
            case FieldDescriptor.CPPTYPE_INT32:
                return dice.choice(NUMBERS)
            case _:
                return abs(dice.choice(NUMBERS))

    def _broken(self, encoded: bytes) -> bytes:
        dice = self._dice
        if not encoded:
            return b"\xff"
        place = dice.randrange(len(encoded))
        match dice.randrange(4):
            case 0:
                return encoded[:place]
            case 1:
                return (
                    encoded[:place] + bytes([encoded[place] ^ 1 << dice.randrange(8)])
                ) + encoded[place + 1 :]
            case 2:
                return encoded + dice.randbytes(dice.randrange(1, 9))
            case _:
                return encoded[:place] + dice.randbytes(dice.randrange(1, 9)) + encoded[place:]


@cache
def _raw(channel: grpc.Channel, path: str, sends_many: bool, answers_many: bool) -> Any:
    """A method that takes and gives bytes."""
    kind = f"{'stream' if sends_many else 'unary'}_{'stream' if answers_many else 'unary'}"
    return getattr(channel, kind)(path)


def ask(channel: grpc.Channel, asked: Asked) -> str:
    """Sends a request; the reason that it was refused with, or OK.

    Raises:
        Broken: it was answered without a type, or not at all.
    """
    method = asked.method
    call = _raw(channel, asked.path, method.client_streaming, method.server_streaming)
    request: Any = iter(asked.messages) if method.client_streaming else asked.messages[0]
    try:
        if method.server_streaming:
            answers = call(request, timeout=DEADLINE_SECONDS)
            for _ in islice(answers, MOST_ANSWERS):
                pass
            answers.cancel()
        else:
            call(request, timeout=DEADLINE_SECONDS)
    except grpc.RpcError as error:
        return _reason(error, asked)
    return "OK"


def _reason(error: grpc.RpcError, asked: Asked) -> str:
    info = attached_info(error, DOMAIN)
    if info is None or info.reason == Reason.INTERNAL.name or info.reason not in Reason.__members__:
        sent = ", ".join(message.hex() for message in asked.messages)
        raise Broken(f"{asked.path} answered {error!r} to {sent}")
    return str(info.reason)


def requests(seed: int, number: int, known: Sequence[str] = ()) -> Iterator[Asked]:
    """So many requests of a seed."""
    maker = Maker(random.Random(seed), known)
    for _ in range(number):
        yield maker.one()
