"""Recollect: keep what the model knew; never keep who said it."""

__version__ = "0.1.0"
