"""Columns: values looked up by name or dotted path, and names told without telling values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_NUM_NAMES = 30

ABSENT = object()
"""What `look_up` returns where there is no such column; null is a value."""


def look_up(columns: Mapping[str, object], name: str) -> object:
    """The value of a column, or of a path with dots into nested objects."""
    if name in columns:
        return columns[name]
    head, _, rest = name.partition(".")
    inner = columns.get(head)
    return look_up(inner, rest) if rest and isinstance(inner, Mapping) else ABSENT


def leaves(value: object) -> Iterator[str]:
    """Every text and number inside a value, as text."""
    if isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, Mapping):
        yield from leaves(list(value.values()))
    elif isinstance(value, Iterable):
        for item in value:
            yield from leaves(item)
    else:
        yield str(value)


def describe(names: Iterable[str]) -> str:
    """Column names for an error message.

    A file without a header has content where names should be, so only what looks like a name is
    written out.
    """
    known = list(names)
    shown = [
        name if _NAME.fullmatch(name) else f"(a name of {len(name)} characters)"
        for name in known[:_NUM_NAMES]
    ]
    if len(known) > _NUM_NAMES:
        shown.append(f"and {len(known) - _NUM_NAMES} more")
    return ", ".join(shown) or "none"
