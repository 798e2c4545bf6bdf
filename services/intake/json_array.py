"""A JSON array file, element by element: found by counting brackets, parsed one at a time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...mixer.errors import Reason, RecollectError
from .jsonl import parse_row
from .limits import IntakeLimits
from .lines import BYTE_ORDER_MARK, Line, decode, too_large
from .row import BadRow, Rows

_CHUNK_BYTES = 64 * 2**10
_OUTSIDE_STRING = re.compile(rb'["{}\[\],]')
_INSIDE_STRING = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


def starts_array(stream: io.BufferedReader) -> bool:
    """Whether the first thing in the stream is an array; nothing is consumed."""
    return stream.peek(1024).removeprefix(BYTE_ORDER_MARK).lstrip(_SPACE).startswith(b"[")


@dataclass(slots=True)
class _Place:
    """Where the scanner is in the file, for pointers and error messages."""

    line: int = 1
    column: int = 1
    offset: int = 0

    def pass_over(self, content: bytes) -> None:
        num_lines = content.count(b"\n")
        self.line += num_lines
        self.column = len(content) - content.rfind(b"\n") + (0 if num_lines else self.column - 1)
        self.offset += len(content)


class _Scanner:
    """Splits chunks of an array into pieces, at the ends of its elements."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._num_escaped = 0
        self.closed = False

    def split(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """Pieces of the chunk, each with whether an element ends behind it."""
        start, position = 0, self._num_escaped
        self._num_escaped = 0
        while not self.closed:
            pattern = _INSIDE_STRING if self._in_string else _OUTSIDE_STRING
            found = pattern.search(chunk, position)
            if not found:
                break
            position = found.end()
            if found[0] == b"\\":
                position += 1
                self._num_escaped = max(0, position - len(chunk))
            elif self._ends_element(found[0]):
                yield chunk[start : position - 1], True
                start = position
        yield chunk[start:], False

    def _ends_element(self, mark: bytes) -> bool:
        if mark == b'"':
            self._in_string = not self._in_string
        elif mark in b"{[":
            self._depth += 1
        elif mark == b"," or self._depth == 0:
            self.closed = mark == b"]" and self._depth == 0
            return self._depth == 0
        else:
            self._depth -= 1
        return False


def read_json_array(stream: io.BufferedReader, file: str, limits: IntakeLimits) -> Rows:
    """The objects of the array, numbered from 1."""
    place, scanner = _Place(), _Scanner()
    _enter_array(stream, place)
    held, overflowing, number = bytearray(), False, 1
    while not scanner.closed and (chunk := stream.read1(_CHUNK_BYTES)):
        for piece, ended in scanner.split(chunk):
            if overflowing:
                place.pass_over(piece)
            else:
                held += piece
            if len(held) > limits.max_row_bytes:
                yield BadRow(number=number, error=too_large(f"{file}:{place.line}", limits))
                place.pass_over(bytes(held))
                held, overflowing = bytearray(), True
            if scanner.closed and not ended:
                _check_end(bytes(held), stream, file)
                return
            if not ended:
                continue
            element = _enter_element(held, place)
            is_empty_array = scanner.closed and number == 1 and not element
            if not overflowing and not is_empty_array:
                yield from _parse(element, place, number, file, limits)
            place.pass_over(element + b",")
            held, overflowing, number = bytearray(), False, number + 1
    _enter_element(held, place)
    raise RecollectError(
        Reason.INPUT_MALFORMED, "the file ends inside its array.", where=f"{file}:{place.line}"
    )


def _enter_array(stream: io.BufferedReader, place: _Place) -> None:
    while (mark := stream.read(1)) != b"[":
        place.pass_over(mark)
    place.pass_over(b"[")


def _enter_element(held: bytearray, place: _Place) -> bytes:
    """The element without the space around it; the place moves to its first byte."""
    element = bytes(held).lstrip(_SPACE)
    place.pass_over(bytes(held[: len(held) - len(element)]))
    return element


def _check_end(rest: bytes, stream: io.BufferedReader, file: str) -> None:
    while not rest.strip(_SPACE):
        rest = stream.read1(_CHUNK_BYTES)
        if not rest:
            return
    raise RecollectError(
        Reason.INPUT_MALFORMED,
        "something follows the end of the array.",
        where=file,
        fix="Keep one array in the file, or write one object a line and call it .jsonl.",
    )


def _parse(element: bytes, place: _Place, number: int, file: str, limits: IntakeLimits) -> Rows:
    line = Line(number=place.line, offset=place.offset, content=element)
    text = decode(line, file, limits)
    if isinstance(text, RecollectError):
        yield BadRow(number=number, error=text)
    else:
        yield parse_row(text, file, number=number, line=place.line, column=place.column)
