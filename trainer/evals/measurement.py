"""One measured figure of a run, before and after it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A metric on a subject, before and after the run."""

    metric: str
    """`nll` (nats per supervised token; less is better) or `refusal_rate` (share of prompts)."""
    subject: str
    """What it was measured on, such as the name of a guardrail."""
    before: float
    after: float

    @property
    def change(self) -> float:
        """After less before: for `nll`, what was forgotten if positive, gained if negative."""
        return self.after - self.before
