"""The log: a line for each thing that happened, on standard error.

What others log may hold anything, an exception of a parser the very text that it choked on. So of
what is not ours nothing is told but who logged it, how bad it is, where, and the exception's type.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

Form = Literal["text", "json"]
OURS = "recollect"
_log = logging.getLogger(__name__)


def tell(event: str, level: int = logging.INFO, **fields: str | int | float) -> None:
    """Logs an event; nobody may put into a field what a client wrote."""
    _log.log(level, event, extra={"fields": fields})


@contextmanager
def logging_as(form: Form, level: str) -> Iterator[None]:
    """Logs to standard error, in place of what did so before.

    Args:
        form: how a line is written.
        level: the least that is told: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(form))
    root = logging.getLogger()
    before, threshold = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(threshold)


class _Lines(logging.Formatter):
    """Writes a record as one line."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **_said(record),
        }
        if self._form == "json":
            return json.dumps(told, ensure_ascii=True)
        time, level, event, *fields = told.values()
        names = list(told)[3:]
        pairs = (f"{name}={json.dumps(value)}" for name, value in zip(names, fields, strict=True))
        return " ".join((str(time), f"{level:7}", str(event), *pairs))


def _said(record: logging.LogRecord) -> dict[str, Any]:
    if record.name == OURS or record.name.startswith(f"{OURS}."):
        return {"event": record.getMessage(), **getattr(record, "fields", {})}
    said = {"event": "logged", "logger": record.name, "at": f"{record.filename}:{record.lineno}"}
    if record.exc_info and record.exc_info[0]:
        said["exception"] = record.exc_info[0].__name__
    return said
