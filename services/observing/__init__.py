"""Observing: what a service tells its operators: metrics, traces and a log. Never of examples."""

from .listener import exposed
from .logs import logging_as, tell
from .metrics import Metrics
from .streams import Gathered, OpenStream, StreamMeter, StreamWatch, unseen_meter
from .watch import Watch

__all__ = [
    "Gathered",
    "Metrics",
    "OpenStream",
    "StreamMeter",
    "StreamWatch",
    "Watch",
    "exposed",
    "logging_as",
    "tell",
    "unseen_meter",
]
