"""Rebuilds the caches of a data folder: only segments and ledger are truth (law 5)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from .durable import storage
from .ledger import Ledger
from .replay import ReplayStore
from .replay.catalog import Catalog
from .replay.index import open_index


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What was made anew."""

    num_examples: int
    """Examples in the catalog."""
    num_indexes: int


def rebuild_caches(folder: Path) -> Rebuilt:
    """Deletes `cache/` and makes catalog and indexes anew.

    Raises:
        RecollectError: INPUT_NOT_FOUND if the folder is none; STORAGE_LOCKED while a service runs
            over it; STORAGE_CORRUPT where a segment is damaged.
    """
    if not (folder / "ledger" / "ledger.jsonl").is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "this is no data folder: it holds no ledger",
            where=str(folder),
            fix="Name the data_folder of a service.",
        )
    ledger = Ledger.open(folder / "ledger")
    try:
        store = ReplayStore.open(folder, ledger)
        cache = folder / "cache"
        if cache.exists():
            with storage(cache):
                shutil.rmtree(cache)
        catalog = Catalog(store)
        catalog.rebuild()
        snapshot = store.snapshot()
        for source in snapshot.sources:
            open_index(store, snapshot, source)
        return Rebuilt(
            num_examples=sum(count.num_examples for count in catalog.count_examples()),
            num_indexes=len(snapshot.sources),
        )
    finally:
        ledger.close()
