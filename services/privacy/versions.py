"""Versions of what finds identifiers: with all of them equal, equal texts get equal findings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files

_PACKAGES = ("phonenumbers", "presidio-analyzer", "recollect")
"""Our own brings the patterns and the lists; the others' patterns change with their versions."""


@cache
def detector_versions() -> Mapping[str, str]:
    """Versions of packages, and SHA-256 of the tagger's weights, by name in order."""
    weights = files(__package__) / "tagger" / "model" / "tagger.npz"
    found = {name: version(name) for name in _PACKAGES}
    found["tagger"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return dict(sorted(found.items()))
