"""Intake: reads the layouts people have into raw examples, in bounded memory."""

from .limits import IntakeLimits
from .mapping import ColumnMapping, Layout
from .reader import pointer_name, read_examples
from .report import IntakeReport, Rejection, Repair, Unusable

__all__ = [
    "ColumnMapping",
    "IntakeLimits",
    "IntakeReport",
    "Layout",
    "Rejection",
    "Repair",
    "Unusable",
    "pointer_name",
    "read_examples",
]
