"""Plain text: each run of lines between blank lines is one example.

A paragraph rather than a file, because a file has no bound; whoever wants longer documents writes
them as rows with a `text` column.
"""

from __future__ import annotations

import io

from .limits import IntakeLimits
from .lines import decode, read_lines, too_large
from .row import BadRow, Row, Rows

TEXT_COLUMN = "text"


def read_text(stream: io.BufferedReader, file: str, limits: IntakeLimits) -> Rows:
    """A row with the one column `text` for each paragraph, numbered by its first line."""
    paragraph: list[str] = []
    first, num_bytes = 1, 0
    for line in read_lines(stream, limits):
        text = decode(line, file, limits)
        if not isinstance(text, str):
            yield BadRow(number=line.number, error=text)
        elif text.strip():
            if not paragraph:
                first, num_bytes = line.number, 0
            num_bytes += len(line.content)
            paragraph.append(text.rstrip("\r\n"))
            if num_bytes > limits.max_row_bytes:
                yield BadRow(number=first, error=too_large(f"{file}:{first}", limits))
                paragraph = []
        elif paragraph:
            yield Row(number=first, columns={TEXT_COLUMN: "\n".join(paragraph)})
            paragraph = []
    if paragraph:
        yield Row(number=first, columns={TEXT_COLUMN: "\n".join(paragraph)})
