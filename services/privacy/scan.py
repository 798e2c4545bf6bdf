"""Scan: proof after the fact. What raw values lie on a disk, and what the detector overlooks."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deidentifier import Deidentifier

_BLOCK = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A raw value that lies in a file."""

    file: str
    """Path below the scanned folder."""
    value: int
    """Which of the given values, by its position: the value itself is not repeated."""
    form: str
    """`bytes`, `utf-16`, `gzip` or `parquet`: where in the file it was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missed:
    """Labelled spans that survive de-identification, by type."""

    num_spans: Mapping[str, int]
    num_missed: Mapping[str, int]
    spans: tuple[tuple[str, str, str], ...]
    """(row id, entity type, text) of each; only for invented data."""

    def recall(self) -> dict[str, float]:
        """Share of the labelled spans of each type that were replaced in full."""
        return {
            kind: 1 - self.num_missed.get(kind, 0) / total
            for kind, total in sorted(self.num_spans.items())
        }


def scan_bytes(folder: Path, values: Sequence[str]) -> list[Leak]:
    """Every given value that lies in a file below the folder, in any case of letters.

    Files are read as bytes (UTF-8 and UTF-16); gzip and Parquet files are decoded as well, since
    compression and dictionaries hide text from a byte scan.
    """
    leaks: dict[Leak, None] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        name = str(path.relative_to(folder))
        for form, blocks in _readings(path):
            for position in _found(blocks, values):
                leaks[Leak(file=name, value=position, form=form)] = None
    return list(leaks)


def missed(rows: Iterable[Mapping[str, Any]], deidentifier: Deidentifier) -> Missed:
    """Which labelled spans survive.

    Args:
        rows: `{"id", "text", "spans": [{"entity_type", "start", "end"}]}`, invented data only.
        deidentifier: whose findings are measured. A span counts as found if each of its letters
            and digits lies in a finding, of whichever type.
    """
    totals: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    spans: list[tuple[str, str, str]] = []
    for row in rows:
        text = str(row["text"])
        covered = _covered(text, deidentifier)
        for span in row["spans"]:
            kind, start, end = str(span["entity_type"]), int(span["start"]), int(span["end"])
            totals[kind] += 1
            if any(text[i].isalnum() and i not in covered for i in range(start, end)):
                lost[kind] += 1
                spans.append((str(row["id"]), kind, text[start:end]))
    return Missed(num_spans=totals, num_missed=lost, spans=tuple(spans))


def _covered(text: str, deidentifier: Deidentifier) -> set[int]:
    findings = (r.finding for r in deidentifier.preview(text).replacements)
    return {index for finding in findings for index in range(finding.start, finding.end)}


def _readings(path: Path) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The file's bytes, and what they hold once decoded."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    yield "bytes", _blocks(path)
    yield "utf-16", (_narrow(block) for block in _blocks(path))
    if magic[:2] == b"\x1f\x8b":
        yield "gzip", _blocks(path, opener=gzip.open)
    if magic == b"PAR1":
        yield "parquet", _parquet_strings(path)


def _blocks(path: Path, opener: Any = open) -> Iterator[bytes]:
    with opener(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            yield block


def _narrow(block: bytes) -> bytes:
    """Text in UTF-16 without its zero bytes: ASCII values show whatever the byte order."""
    return block.replace(b"\x00", b"") if b"\x00" in block else b""


def _parquet_strings(path: Path) -> Iterator[bytes]:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                yield "\n".join(_strings(row)).encode()


def _strings(item: Any) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, bytes):
        yield item.decode(errors="replace")
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _strings(value)
    elif isinstance(item, (list, tuple)):
        for value in item:
            yield from _strings(value)


def _found(blocks: Iterable[bytes], values: Sequence[str]) -> Iterator[int]:
    """Positions of the values that occur; a tail of each block is kept for values across blocks."""
    needles = [value.lower().encode() for value in values]
    # One byte more than the longest: what stands before a value tells a number from a longer one.
    longest = 1 + max((len(needle) for needle in needles), default=1)
    tail = b""
    for block in blocks:
        haystack = _lower(tail + block)
        yield from (i for i, needle in enumerate(needles) if needle and _holds(haystack, needle))
        tail = (tail + block)[-longest:]


def _holds(haystack: bytes, needle: bytes) -> bool:
    """Whether the value stands there; a number within a longer number is another number."""
    if not needle.isdigit():
        return needle in haystack
    return re.search(rb"(?<!\d)" + needle + rb"(?!\d)", haystack) is not None


def _lower(block: bytes) -> bytes:
    # Letters beyond ASCII change case by more than one byte; undecodable bytes stay as they are.
    return (
        block.decode("utf-8", errors="surrogateescape")
        .lower()
        .encode("utf-8", errors="surrogateescape")
    )
