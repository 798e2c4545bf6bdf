"""The catalog: a DuckDB file that answers auditors' questions about what the store holds.

It is a cache: whatever is wrong with it, it is made again from the segments. It holds no text,
since what is deleted from a DuckDB file can stay in its bytes. Only the questions below can be
asked; there is no way in for free-form SQL, and the connection can reach no file but its own.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..durable import make_folder, storage
from .manifest import SegmentManifest
from .segment import read_table
from .snapshot import Snapshot
from .store import ReplayStore

VERSION = 1
"""Changes whenever the tables do; a file of another version is made again."""

_CONFIG = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": "256MB",
    "threads": "1",
}
_JAIL = ("SET python_enable_replacements = false", "SET lock_configuration = true")
_TABLES = (
    "CREATE TABLE origin (version INTEGER, snapshot_id VARCHAR)",
    "CREATE TABLE segments (segment_id VARCHAR, source VARCHAR, num_examples BIGINT,"
    " num_characters BIGINT, num_bytes BIGINT, sha256 VARCHAR)",
    "CREATE TABLE examples (example_id VARCHAR, source VARCHAR, segment_id VARCHAR, pointer_file"
    " VARCHAR, pointer_row BIGINT, subject VARCHAR, policy VARCHAR, is_synthetic BOOLEAN,"
    " num_characters BIGINT)",
    "CREATE TABLE findings (example_id VARCHAR, source VARCHAR, entity_type VARCHAR, count BIGINT)",
)
_COLUMNS = (
    "example_id",
    "pointer_file",
    "pointer_row",
    "subject",
    "policy",
    "lineage",
    "num_characters",
    "findings",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCount:
    """What the catalog counts in one source."""

    source: str
    num_examples: int
    num_characters: int
    num_subjects: int
    num_synthetic: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingTotal:
    """What was replaced in one source, of one type, under all policies."""

    source: str
    entity_type: str
    num_examples: int
    """Examples with at least one."""
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where an example came from."""

    example_id: str
    source: str
    segment_id: str
    pointer_file: str
    pointer_row: int
    policy: str


class Catalog:
    """The questions that auditors ask, answered for one snapshot."""

    def __init__(self, store: ReplayStore) -> None:
        """Opens `cache/catalog.duckdb`; nothing is read before the first question."""
        self.path = store.folder / "cache" / "catalog.duckdb"
        self._store = store
        self._mutex = threading.Lock()

    def rebuild(self) -> None:
        """Makes the file anew from the segments.

        Raises:
            RecollectError: STORAGE_CORRUPT where a segment is damaged; STORAGE_FULL.
        """
        with self._mutex:
            self._rebuild(self._store.snapshot())

    def count_examples(self) -> list[SourceCount]:
        """Examples, characters and subjects of every source that has any, sorted by name."""
        rows = self._ask(
            "SELECT source, count(*), sum(num_characters)::BIGINT, count(DISTINCT subject),"
            " count(*) FILTER (is_synthetic) FROM examples GROUP BY source ORDER BY source"
        )
        return [
            SourceCount(
                source=source,
                num_examples=num_examples,
                num_characters=num_characters,
                num_subjects=num_subjects,
                num_synthetic=num_synthetic,
            )
            for source, num_examples, num_characters, num_subjects, num_synthetic in rows
        ]

    def count_findings(self) -> list[FindingTotal]:
        """What was replaced, by source and entity type."""
        rows = self._ask(
            "SELECT source, entity_type, count(*), sum(count)::BIGINT FROM findings"
            " GROUP BY source, entity_type ORDER BY source, entity_type"
        )
        return [
            FindingTotal(
                source=source, entity_type=entity_type, num_examples=num_examples, count=count
            )
            for source, entity_type, num_examples, count in rows
        ]

    def origins_of_subject(self, subject: str) -> list[Origin]:
        """Every example about a subject, named by its pseudonym."""
        return self._origins("subject = ?", [subject])

    def origins_in_file(self, pointer_file: str) -> list[Origin]:
        """Every example that came from an input of this name."""
        return self._origins("pointer_file = ?", [pointer_file])

    def origin_of(self, example_id: str) -> list[Origin]:
        """Where an example came from; empty where the store does not hold it."""
        return self._origins("example_id = ?", [example_id])

    def _origins(self, condition: str, values: Sequence[str]) -> list[Origin]:
        rows = self._ask(
            "SELECT example_id, source, segment_id, pointer_file, pointer_row, policy FROM examples"
            f" WHERE {condition} ORDER BY source, pointer_file, pointer_row, example_id",
            values,
        )
        return [
            Origin(
                example_id=example_id,
                source=source,
                segment_id=segment_id,
                pointer_file=pointer_file,
                pointer_row=pointer_row,
                policy=policy,
            )
            for example_id, source, segment_id, pointer_file, pointer_row, policy in rows
        ]

    def _ask(self, question: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        snapshot = self._store.snapshot()
        with self._mutex:
            if not self._is_current(snapshot):
                self._rebuild(snapshot)
            with _connect(self.path, read_only=True) as connection:
                return connection.execute(question, list(values)).fetchall()

    def _is_current(self, snapshot: Snapshot) -> bool:
        if not self.path.is_file():
            return False
        try:
            with _connect(self.path, read_only=True) as connection:
                rows = connection.execute("SELECT version, snapshot_id FROM origin").fetchall()
        except duckdb.Error:
            return False
        return rows == [(VERSION, snapshot.snapshot_id)]

    def _rebuild(self, snapshot: Snapshot) -> None:
        draft = self.path.with_suffix(".draft")
        with storage(self.path):
            make_folder(self.path.parent)
            _remove(draft)
            try:
                with _connect(draft, read_only=False) as connection:
                    self._fill(connection, snapshot)
                _remove(self.path)
                os.replace(draft, self.path)
            except duckdb.IOException as error:
                # DuckDB passes the error on as text only.
                full = os.strerror(errno.ENOSPC) in str(error)
                raise OSError(errno.ENOSPC if full else errno.EIO, "DuckDB") from error
            finally:
                _remove(draft)

    def _fill(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        for statement in _TABLES:
            connection.execute(statement)
        for manifest in snapshot.segments:
            _insert(connection, manifest, read_table(self._store.folder, manifest, _COLUMNS))
        connection.execute("INSERT INTO origin VALUES (?, ?)", [VERSION, snapshot.snapshot_id])


def _insert(
    connection: duckdb.DuckDBPyConnection, manifest: SegmentManifest, table: pa.Table
) -> None:
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
        [
            manifest.segment_id,
            manifest.source,
            manifest.num_examples,
            manifest.num_characters,
            manifest.num_bytes,
            manifest.sha256,
        ],
    )
    connection.register("arriving", table)
    connection.execute(
        "INSERT INTO examples SELECT example_id, ?, ?, pointer_file, pointer_row, subject, policy,"
        " lineage IS NOT NULL, num_characters FROM arriving",
        [manifest.source, manifest.segment_id],
    )
    connection.execute(
        "INSERT INTO findings SELECT example_id, ?, finding.entity_type, finding.count"
        " FROM (SELECT example_id, unnest(findings) AS finding FROM arriving)",
        [manifest.source],
    )
    connection.unregister("arriving")


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), read_only=read_only, config=dict(_CONFIG))
    for statement in _JAIL:
        connection.execute(statement)
    return connection


def _remove(path: Path) -> None:
    for victim in (path, path.with_name(path.name + ".wal")):
        with suppress(FileNotFoundError):
            victim.unlink()
