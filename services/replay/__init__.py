"""The replay store: immutable segments, a rebuildable catalog and a vector index.

The catalog (DuckDB) and the index (FAISS) are imported from their own files, `catalog` and `index`,
so that whoever only reads and writes examples does not load them.
"""

from .manifest import SegmentManifest
from .quarantine import QuarantinedRow
from .segment import num_characters
from .snapshot import Snapshot
from .source import Source
from .store import ReplayStore, SourceSummary
from .writer import SegmentWriter

__all__ = [
    "QuarantinedRow",
    "ReplayStore",
    "SegmentManifest",
    "SegmentWriter",
    "Snapshot",
    "Source",
    "SourceSummary",
    "num_characters",
]
