"""The ledger: the append-only record from which the control plane's state is rebuilt."""

from .entry import JSON, Entry, canonical_json
from .kind import Kind
from .ledger import Ledger

__all__ = [
    "JSON",
    "Entry",
    "Kind",
    "Ledger",
    "canonical_json",
]
