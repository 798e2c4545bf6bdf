"""The ledger: the append-only record from which the control plane's state is rebuilt."""

from .disk import make_folder, storage, sync_folder, write_durably
from .entry import JSON, Entry, canonical_json
from .ledger import Ledger

__all__ = [
    "JSON",
    "Entry",
    "Ledger",
    "canonical_json",
    "make_folder",
    "storage",
    "sync_folder",
    "write_durably",
]
