"""Residual audit: what identifiers are left in stored examples, by a second, independent look.

Importing this package is cheap; Presidio is loaded with `detector`.
"""

from .judgement import Judged, Verdict, judge, touched
from .outcome import Outcome, Recapture, Stratum, Survivor
from .sampling import Sample, draw_sample
from .tally import ResidualTally

__all__ = [
    "Judged",
    "Outcome",
    "Recapture",
    "ResidualTally",
    "Sample",
    "Stratum",
    "Survivor",
    "Verdict",
    "draw_sample",
    "judge",
    "touched",
]
