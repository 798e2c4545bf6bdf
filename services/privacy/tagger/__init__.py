"""Tagger: finds names, places, bodies, dates and codes by a small network that ships.

It needs NumPy alone, opens no socket and keeps nothing of what it reads. How it was made, and how
good it is, stands in `model/README.md`.
"""

from .labels import ENTITY_TYPES, KINDS
from .network import Tagger
from .spans import Span, find_spans, likelihoods

__all__ = ["ENTITY_TYPES", "KINDS", "Span", "Tagger", "find_spans", "likelihoods"]
