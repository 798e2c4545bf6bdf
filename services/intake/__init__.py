"""Intake: reads the layouts people have into raw examples, in bounded memory."""

from .limits import IntakeLimits
from .mapping import ColumnMapping, Layout
from .reader import read_examples
from .report import IntakeReport, Rejection, Repair, Unusable

__all__ = [
    "ColumnMapping",
    "IntakeLimits",
    "IntakeReport",
    "Layout",
    "Rejection",
    "Repair",
    "Unusable",
    "read_examples",
]
