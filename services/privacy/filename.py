"""File names, read as text: separators and endings hide identifiers from a recognizer.

`_` counts as a letter to most patterns, and `rosa@mail.example.com.jsonl` ends in no domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8} *$")
_KNOWN_ENDINGS = re.compile(
    r"(?:\.(?:arrow|bz2|csv|feather|gz|json|jsonl|log|md|ndjson|parquet|tsv|txt|xz|ya?ml|zip|zst))+$",
    re.I,
)
_MAX_ENDINGS = 2
"""As in `.jsonl.gz`."""
_SEPARATORS = ("", "_", "_-", "_-.")
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_])_(?=[^\W\d_])|(?<=[a-z])-(?=[A-Z])")


def readings(name: str) -> list[str]:
    """The name with and without its endings and separators, all as long as the name itself."""
    stems = list(_stems(name))
    spaced = (stem.translate(_to_spaces(marks)) for marks in _SEPARATORS for stem in stems)
    return list(dict.fromkeys(spaced))


def end_of_stem(name: str) -> int:
    """Where the endings of a data file begin, ".jsonl.gz": they name nobody and stay."""
    match = _KNOWN_ENDINGS.search(name)
    return match.start() if match else len(name)


def words(name: str) -> str:
    """The name with spaces between its words: how an identifier in it would be written."""
    return _BETWEEN_WORDS.sub(" ", name)


def _stems(name: str) -> Iterator[str]:
    yield name
    stem = name
    for _ in range(_MAX_ENDINGS):
        if ending := _ENDING.search(stem):
            stem = stem[: ending.start()].ljust(len(name))
            yield stem


def _to_spaces(marks: str) -> dict[int, str]:
    return {ord(mark): " " for mark in marks}
