"""De-identification: raw messages become messages with surrogates, in memory, or are refused.

Importing this package is cheap; Presidio is loaded when a `Deidentifier` is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lightly import install
from .policy import ENTITY_TYPES, Policy

install()

if TYPE_CHECKING:
    from .deidentifier import Deidentified, Deidentifier, Preview
    from .finding import Finding
    from .replacing import Replacement
    from .scan import Leak, Missed, missed, scan_bytes
    from .standin_places import StandIn

__all__ = [
    "ENTITY_TYPES",
    "Deidentified",
    "Deidentifier",
    "Finding",
    "Leak",
    "Missed",
    "Policy",
    "Preview",
    "Replacement",
    "StandIn",
    "missed",
    "scan_bytes",
]

_HOMES = {
    "Deidentified": "deidentifier",
    "Deidentifier": "deidentifier",
    "Preview": "deidentifier",
    "Replacement": "replacing",
    "StandIn": "standin_places",
    "Finding": "finding",
    "Leak": "scan",
    "Missed": "scan",
    "missed": "scan",
    "scan_bytes": "scan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
