"""The ledger: the append-only record from which the control plane's state is rebuilt."""

from .entry import JSON, Entry, canonical_json
from .kind import Kind
from .ledger import LOCK_FILE, Ledger
from .lock import FolderLock

__all__ = [
    "JSON",
    "LOCK_FILE",
    "Entry",
    "FolderLock",
    "Kind",
    "Ledger",
    "canonical_json",
]
