"""Evaluation: how much a policy finds in labelled text, and how much more it hides."""

from .formats import LabelledSpan, LabelledText, read_labelled
from .measure import Measured, Rate, measure
from .perturb import PERTURBATIONS, perturbed

__all__ = [
    "PERTURBATIONS",
    "LabelledSpan",
    "LabelledText",
    "Measured",
    "Rate",
    "measure",
    "perturbed",
    "read_labelled",
]
