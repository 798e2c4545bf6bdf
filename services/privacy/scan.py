"""Scan: proof after the fact. What raw values lie on a disk, and what the detector overlooks."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deidentifier import Deidentifier
from .needles import Needles, all_found

_BLOCK = 1 << 22
_GZIP = 16 + zlib.MAX_WBITS
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A raw value that lies in a file."""

    file: str
    """Path below the scanned folder."""
    value: int
    """Which of the given values, by its position: the value itself is not repeated."""
    form: str
    """`bytes`, `utf-16`, `gzip`, `parquet`, `arrow` or `zstd`: what had to be decoded to find it;
    with `escaped` or `base64` where it is spelt so."""


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

    Files are read as bytes (UTF-8 and UTF-16, escaped as in JSON or a web address, base64 at every
    alignment, spaces as line breaks); gzip, Parquet and Arrow files are decoded as well, since
    compression and dictionaries hide text from a byte scan. What is left of a damaged one is
    decoded as far as it goes.
    """
    needles = Needles(values)
    leaks: dict[Leak, None] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        name = str(path.relative_to(folder))
        for reading, blocks in _readings(path):
            for position, spelling in all_found(blocks, needles):
                form = f"{reading}, {spelling}" if spelling else reading
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
        magic = stream.read(6)
    yield "bytes", _blocks(path)
    yield "utf-16", (_narrow(block) for block in _blocks(path))
    if magic[:2] == b"\x1f\x8b":
        yield "gzip", _unzipped(path)
    if magic[:4] == b"PAR1":
        yield "parquet", _parquet_strings(path)
        yield "zstd", _zstd_frames(path)
    if magic == b"ARROW1":
        yield "arrow", _arrow_strings(path)
        yield "zstd", _zstd_frames(path)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block


def _unzipped(path: Path) -> Iterator[bytes]:
    """What a gzip file holds, of a damaged one as far as it can be read."""
    unzip = zlib.decompressobj(_GZIP)
    try:
        for block in _blocks(path):
            yield unzip.decompress(block)
            while unzip.eof and unzip.unused_data:
                rest, unzip = unzip.unused_data, zlib.decompressobj(_GZIP)
                yield unzip.decompress(rest)
    except zlib.error:
        return


def _narrow(block: bytes) -> bytes:
    """Text in UTF-16 without its zero bytes: ASCII values show whatever the byte order."""
    return block.replace(b"\x00", b"") if b"\x00" in block else b""


def _parquet_strings(path: Path) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield _joined(batch)
    except (pa.ArrowException, OSError):
        # Cut off before its end, or damaged: `_zstd_frames` reads what is whole.
        return


def _arrow_strings(path: Path) -> Iterator[bytes]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as file:
            texts = [field.name for field in file.schema if not _is_numeric(field.type)]
            for number in range(file.num_record_batches):
                yield _joined(file.get_batch(number).select(texts))
    except (pa.ArrowException, OSError):
        return


def _is_numeric(kind: Any) -> bool:
    """Whether values of an Arrow type are numbers, or lists of them: they hold no text."""
    import pyarrow as pa

    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_primitive(kind))


def _joined(batch: Any) -> bytes:
    rows = batch.to_pylist()
    return "\n".join(text for row in rows for text in _strings(row)).encode(errors="replace")


def _zstd_frames(path: Path) -> Iterator[bytes]:
    """What each frame of Zstandard within a file holds, whether or not the rest can be read."""
    import pyarrow as pa

    content = path.read_bytes()
    start = content.find(_ZSTD)
    while start >= 0:
        source = pa.BufferReader(pa.py_buffer(content)[start:])
        try:
            with pa.CompressedInputStream(source, "zstd") as stream:
                # No further than the frame goes, or what follows it would be taken for the next.
                yield stream.read(_content_size(content[start : start + 14]))
        except (pa.ArrowException, OSError):
            pass
        start = content.find(_ZSTD, start + 1)


def _content_size(header: bytes) -> int:
    """How much a frame of Zstandard says that it holds (RFC 8878, 3.1.1.1); at most a block."""
    if len(header) < 14:
        return 0
    flags = header[4]
    in_one_segment = flags >> 5 & 1
    start = 5 + (not in_one_segment) + (0, 1, 2, 4)[flags & 3]
    length = (in_one_segment, 2, 4, 8)[flags >> 6]
    size = int.from_bytes(header[start : start + length], "little")
    return min(size + (256 if length == 2 else 0), _BLOCK)


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
