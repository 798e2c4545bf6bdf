"""Lines: the bounded reading of plain and gzipped bytes, never more than one line in memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from ...mixer.errors import Reason, RecollectError
from .limits import IntakeLimits

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
_DISCARDED_AT_ONCE = 64 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of an input as bytes, with its newline."""

    number: int
    offset: int
    """Bytes before it in the (unpacked) input."""
    content: bytes
    too_large: bool = False
    """Whether it exceeds the limit; its content is then left out."""


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked if it is gzipped.

    Raises:
        RecollectError: INPUT_NOT_FOUND if it cannot be opened or read, INPUT_MALFORMED if its gzip
            packing is broken.
    """
    problem: RecollectError | None = None
    try:
        with path.open("rb") as packed:
            if packed.peek(2)[:2] == GZIP_MAGIC:
                with gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="rb") as unpacked:
                    yield io.BufferedReader(cast(io.RawIOBase, unpacked))
            else:
                yield packed
    except EOFError:
        problem = _broken(path, "the gzip file is truncated")
    except (gzip.BadGzipFile, zlib.error):
        problem = _broken(path, "the gzip file is damaged")
    except OSError as failure:
        problem = RecollectError(
            Reason.INPUT_NOT_FOUND,
            f"the file cannot be read ({failure.strerror or type(failure).__name__}).",
            where=path.name,
        )
    if problem:
        raise problem


def _broken(path: Path, message: str) -> RecollectError:
    return RecollectError(
        Reason.INPUT_MALFORMED, f"{message}.", where=path.name, fix="Copy or download it again."
    )


def read_lines(stream: io.BufferedReader, limits: IntakeLimits) -> Iterator[Line]:
    """Every line; of a line beyond the limit, that it is there."""
    number, offset = 0, 0
    while content := stream.readline(limits.max_row_bytes + 1):
        number += 1
        too_large = len(content) > limits.max_row_bytes
        num_bytes, ended = len(content), content.endswith(b"\n")
        if too_large:
            content = b""
        elif number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        yield Line(number=number, offset=offset, content=content, too_large=too_large)
        offset += num_bytes
        while not ended and (rest := stream.readline(_DISCARDED_AT_ONCE)):
            offset, ended = offset + len(rest), rest.endswith(b"\n")


def decode(line: Line, file: str, limits: IntakeLimits) -> str | RecollectError:
    """The line as text, or why it is none.

    The error is returned, not raised inside the except block: a UnicodeDecodeError carries the
    bytes, and would stay reachable as the context of whatever is raised while it is handled.
    """
    if line.too_large:
        return too_large(f"{file}:{line.number}", limits)
    try:
        return line.content.decode("utf-8")
    except UnicodeDecodeError as failure:
        position = failure.start
    return RecollectError(
        Reason.INPUT_ENCODING,
        f"the byte at offset {line.offset + position} of the (unpacked) input is not UTF-8.",
        where=f"{file}:{line.number}",
        fix="Convert the file to UTF-8, for example with iconv.",
    )


def too_large(where: str, limits: IntakeLimits) -> RecollectError:
    """The error for a row beyond the limit."""
    return RecollectError(
        Reason.INPUT_TOO_LARGE,
        f"the row is longer than {limits.max_row_bytes} bytes.",
        where=where,
        fix="Split it, or raise max_row_bytes.",
    )
