"""Guardrails: what a model is measured on before and after a run, each row streamed once.

A guardrail is a sealed plan over held-out sources (`purpose: evaluate`, `on_exhaustion: stop`), so
it comes through the same checked stream as what is trained on, and the ledger knows its plan.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Purpose
from ...mixer.packing import Packing
from ...mixer.plan import Plan
from ..loader import ReplayLoader
from ..model import require_rows
from .likelihood import mean_losses, pooled
from .measurement import Measurement
from .refusals import refused

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NLL = "nll"
REFUSAL_RATE = "refusal_rate"
VERSION = 1

Figures = dict[tuple[str, str], float]
"""(metric, subject) → value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guardrails:
    """The evaluation plans of a run, by the name of what they measure."""

    likelihood: Mapping[str, str] = field(default_factory=dict)
    """Subject → plan id, for the loss per supervised token."""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Subject → plan id, for the share of prompts that is refused."""

    def to_json(self) -> dict[str, dict[str, str]]:
        """The plan ids by metric and subject."""
        return {NLL: dict(self.likelihood), REFUSAL_RATE: dict(self.refusals)}


def evaluate(
    model: PreTrainedModel,
    guardrails: Guardrails,
    *,
    open_tokenizer: Callable[[], PreTrainedTokenizerBase],
    open_plan: Callable[[str], ReplayLoader],
    report: Callable[[str], None] = lambda subject: None,
) -> Figures:
    """Measures a model on every guardrail."""
    figures: Figures = {}
    for subject, plan_id in guardrails.likelihood.items():
        report(subject)
        with open_plan(plan_id) as loader:
            loader.plan.require(Purpose.EVALUATE)
            require_rows(model, loader.plan)
            names = [source.name for source in loader.plan.sources]
            figures[NLL, subject] = pooled(mean_losses(model, loader, names).values())
    for subject, plan_id in guardrails.refusals.items():
        report(subject)
        with open_plan(plan_id) as loader:
            loader.plan.require(Purpose.EVALUATE)
            require_rows(model, loader.plan)
            _require_prompts(loader.plan)
            names = [source.name for source in loader.plan.sources]
            marks = refused(model, open_tokenizer(), loader, names).values()
            asked = [mark for marks_of_source in marks for mark in marks_of_source]
            figures[REFUSAL_RATE, subject] = sum(asked) / max(1, len(asked))
    return figures


def _require_prompts(plan: Plan) -> None:
    """A prompt is what a row begins with, so every row has to be one example."""
    if plan.mix.packing is not Packing.NONE:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"the rows of plan {plan.plan_id[:12]} are packs; refusals are measured on prompts, "
            "one to a row.",
            where="packing",
            fix="Seal the evaluation mix with packing: none.",
        )


def compare(before: Figures, after: Figures) -> list[Measurement]:
    """Pairs the figures of before and after."""
    return [
        Measurement(metric=metric, subject=subject, before=before[metric, subject], after=value)
        for (metric, subject), value in after.items()
    ]


def read_baseline(path: Path, guardrails: Guardrails, base_digest: str) -> Figures | None:
    """The figures of the base model that an earlier run kept; None if there is no such file.

    Raises:
        RecollectError: `CONFIG_INVALID` if they are of another model or of other plans.
    """
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        known = (kept["version"], kept["base_digest"], kept["plans"])
        figures = {(f["metric"], f["subject"]): float(f["value"]) for f in kept["figures"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(path, f"cannot be read ({type(error).__name__})") from error
    if known != (VERSION, base_digest, guardrails.to_json()):
        raise _unusable(path, "is of another base model or of other evaluation plans")
    return figures


def write_baseline(path: Path, figures: Figures, guardrails: Guardrails, base_digest: str) -> None:
    """Keeps the figures of the base model for other runs; whole or not at all."""
    kept = {
        "version": VERSION,
        "base_digest": base_digest,
        "plans": guardrails.to_json(),
        "figures": [{"metric": m, "subject": s, "value": v} for (m, s), v in figures.items()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _unusable(path: Path, why: str) -> RecollectError:
    return RecollectError(
        Reason.CONFIG_INVALID,
        f"The baseline {why}.",
        where=str(path),
        fix="Delete it or name another file with --baseline; it is measured anew then.",
    )
