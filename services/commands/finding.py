"""A finding: one thing that `recollect doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    required: bool = True
    """Whether the service cannot do without."""
