"""JSON lines: one object a line; and the parsing of one JSON object without ever quoting it."""

from __future__ import annotations

import io
import json

from ...mixer.errors import Reason, RecollectError
from .limits import IntakeLimits
from .lines import decode, read_lines
from .row import BadRow, Row, Rows

_MESSAGES = (
    "Expecting value",
    "Expecting property name enclosed in double quotes",
    "Expecting ',' delimiter",
    "Expecting ':' delimiter",
    "Illegal trailing comma before end of object",
    "Illegal trailing comma before end of array",
    "Unterminated string starting at",
    "Invalid control character",
    "Invalid \\escape",
    "Invalid \\uXXXX escape",
    "Extra data",
)
"""What the JSON parser says of a failure, without the character that it may add."""


def read_jsonl(stream: io.BufferedReader, file: str, limits: IntakeLimits) -> Rows:
    """The object on each line; blank lines are passed over."""
    for line in read_lines(stream, limits):
        text = decode(line, file, limits)
        if isinstance(text, str):
            text = text.rstrip("\r\n")
            if not text.strip():
                continue
            yield parse_row(text, file, number=line.number, line=line.number)
        else:
            yield BadRow(number=line.number, error=text)


def parse_row(text: str, file: str, *, number: int, line: int, column: int = 1) -> Row | BadRow:
    """The JSON object in a text that starts at a line and column, or what is wrong with it."""
    value = parse_json(text, file, line=line, column=column)
    if isinstance(value, RecollectError):
        return BadRow(number=number, error=value)
    if not isinstance(value, dict):
        error = _malformed("a row must be a JSON object", file, line, column)
        return BadRow(number=number, error=error)
    return Row(number=number, columns=value)


def parse_json(text: str, file: str, *, line: int, column: int = 1) -> object | RecollectError:
    """The JSON value of a text, or the error that says where it breaks.

    A JSONDecodeError holds the whole document, so the error is made after it is gone.
    """
    message = "the row is nested too deeply or holds a number too long to read"
    try:
        value: object = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as failure:
        message = next((known for known in _MESSAGES if failure.msg.startswith(known)), "not JSON")
        column = failure.colno + (column - 1 if failure.lineno == 1 else 0)
        line += failure.lineno - 1
    except UnicodeEncodeError:
        message = "the row holds half of a surrogate pair, which is not text"
    except (ValueError, RecursionError):
        pass
    return _malformed(message, file, line, column)


def _malformed(message: str, file: str, line: int, column: int) -> RecollectError:
    return RecollectError(
        Reason.INPUT_MALFORMED,
        f"{message}.",
        where=f"{file}:{line}:{column}",
        fix="Correct the row, or skip bad rows.",
    )
