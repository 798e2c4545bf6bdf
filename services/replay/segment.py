"""Segments: immutable Parquet files of de-identified examples.

A segment is small enough to be read whole: it is hashed and parsed from the same bytes, so what is
served is what was checked. Page checksums are written and verified as well; they say where the
damage is when some other tool reads the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example, Lineage, Pointer, messages_from_json, messages_to_json
from ..durable import storage
from .manifest import SegmentManifest, digest_of_ids, total_findings

VERSION = b"1"
ROW_GROUP_SIZE = 1024

SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("messages", pa.string(), nullable=False),
        pa.field("pointer_file", pa.string(), nullable=False),
        pa.field("pointer_row", pa.int64(), nullable=False),
        pa.field("subject", pa.string()),
        pa.field("policy", pa.string(), nullable=False),
        pa.field(
            "findings",
            pa.list_(pa.struct([("entity_type", pa.string()), ("count", pa.int64())])),
            nullable=False,
        ),
        pa.field(
            "lineage",
            pa.struct(
                [("teacher_digest", pa.string()), ("prompt_id", pa.string()), ("seed", pa.int64())]
            ),
        ),
        pa.field("num_characters", pa.int64(), nullable=False),
        # Added later: a segment without it is whole, and releases that do not know it pass it over.
        pa.field("stand_ins", pa.binary()),
    ],
    metadata={b"recollect.version": VERSION},
)


def num_characters(example: Example) -> int:
    """Characters of text in an example."""
    return sum(len(message.content) for message in example.messages)


def encode(examples: Sequence[Example]) -> tuple[SegmentManifest, bytes]:
    """A segment of one source, not yet written: its manifest and the bytes of its file."""
    table = pa.Table.from_pylist([_to_row(example) for example in examples], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=ROW_GROUP_SIZE,
        write_page_checksum=True,
    )
    content = sink.getvalue().to_pybytes()
    source = examples[0].source
    content_digest = digest_of_ids(example.example_id for example in examples)
    segment_id = f"{source}-{content_digest[:24]}"
    manifest = SegmentManifest(
        segment_id=segment_id,
        source=source,
        path=f"segments/{source}/{segment_id}.parquet",
        num_examples=len(examples),
        num_characters=sum(map(num_characters, examples)),
        num_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_digest=content_digest,
        policies=tuple(sorted({example.policy for example in examples})),
        findings=total_findings(example.findings for example in examples),
    )
    return manifest, content


def read_table(
    folder: Path, manifest: SegmentManifest, columns: Sequence[str] | None = None
) -> pa.Table:
    """Some columns of a segment, after its file was proven to be the one in the ledger.

    Raises:
        RecollectError: STORAGE_CORRUPT naming the segment; VERSION_UNKNOWN.
    """
    file = _open(folder, manifest)
    try:
        return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise corrupt(manifest, "has a page that cannot be read") from error


def read_examples(
    folder: Path, manifest: SegmentManifest, first: int = 0, last: int | None = None
) -> Iterator[Example]:
    """The examples in rows first … last - 1 of a segment (all by default), checked as above."""
    last = manifest.num_examples if last is None else last
    return read_rows(folder, manifest, range(first, last))


def read_rows(folder: Path, manifest: SegmentManifest, rows: Sequence[int]) -> Iterator[Example]:
    """The examples in the given rows of a segment, in ascending order, checked as above."""
    file = _open(folder, manifest)
    for group, wanted in groupby(rows, key=lambda row: row // ROW_GROUP_SIZE):
        try:
            table = file.read_row_group(group)
        except (pa.ArrowException, OSError) as error:
            raise corrupt(manifest, "has a page that cannot be read") from error
        places = [row - group * ROW_GROUP_SIZE for row in wanted]
        for row in table.take(places).to_pylist():
            yield _to_example(row, manifest.source)


def corrupt(manifest: SegmentManifest, what: str) -> RecollectError:
    """The refusal to serve a damaged segment."""
    return RecollectError(
        Reason.STORAGE_CORRUPT,
        f"segment {manifest.segment_id} {what}",
        where=manifest.path,
        fix="Restore the file from a copy.",
    )


def _open(folder: Path, manifest: SegmentManifest) -> pq.ParquetFile:
    path = folder / manifest.path
    try:
        with storage(path):
            if path.stat().st_size != manifest.num_bytes:
                raise corrupt(manifest, "does not have the size that the ledger states")
            content = path.read_bytes()
    except RecollectError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise corrupt(manifest, "is missing") from error
        raise
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise corrupt(manifest, "does not match its digest")
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    version = (file.schema_arrow.metadata or {}).get(b"recollect.version")
    if version != VERSION:
        raise RecollectError(
            Reason.VERSION_UNKNOWN,
            f"segment {manifest.segment_id} has the format version {version!r}",
            where=manifest.path,
            fix="Use the release that wrote it, or a newer one.",
        )
    return file


def _to_row(example: Example) -> dict[str, Any]:
    lineage = example.lineage
    return {
        "example_id": example.example_id,
        "messages": messages_to_json(example.messages),
        "pointer_file": example.pointer.file,
        "pointer_row": example.pointer.row,
        "subject": example.subject,
        "policy": example.policy,
        "findings": [{"entity_type": kind, "count": count} for kind, count in example.findings],
        "lineage": None
        if lineage is None
        else {
            "teacher_digest": lineage.teacher_digest,
            "prompt_id": lineage.prompt_id,
            "seed": lineage.seed,
        },
        "num_characters": num_characters(example),
        "stand_ins": example.stand_ins,
    }


def _to_example(row: dict[str, Any], source: str) -> Example:
    return Example(
        example_id=row["example_id"],
        source=source,
        messages=messages_from_json(row["messages"]),
        pointer=Pointer(file=row["pointer_file"], row=row["pointer_row"]),
        subject=row["subject"],
        policy=row["policy"],
        findings=tuple((item["entity_type"], item["count"]) for item in row["findings"]),
        lineage=None if row["lineage"] is None else Lineage(**row["lineage"]),
        stand_ins=row.get("stand_ins"),
    )
