"""The sample that ships with the package: which file is which source, and the mixes over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Purpose, Role

DATA = Path(__file__).parent / "data"
"""Folder of the sample: train/, evaluate/, authored/ and mixes/."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleFile:
    """A file of the sample and the source that it goes to."""

    path: str
    source: str
    role: Role
    licence: str
    """Of the source: an SPDX expression that covers all files which go to it."""
    legal_basis: str
    purpose: Purpose = Purpose.TRAIN


def _both(
    name: str,
    source: str,
    role: Role,
    licence: str,
    legal_basis: str = "public",
    *,
    joined_by: str | None = None,
) -> tuple[SampleFile, SampleFile]:
    """The training half and the held-out half of a file.

    Args:
        name: of the file, without its ending.
        source: that the training half goes to.
        role: of both halves.
        licence: of the file.
        legal_basis: of both halves.
        joined_by: licence of another file that goes to the training source as well.
    """
    return (
        SampleFile(
            path=f"train/{name}.jsonl",
            source=source,
            role=role,
            licence=f"{licence} AND {joined_by}" if joined_by else licence,
            legal_basis=legal_basis,
        ),
        SampleFile(
            path=f"evaluate/{name}.jsonl",
            source=f"{source}_held_out",
            role=role,
            licence=licence,
            legal_basis=legal_basis,
            purpose=Purpose.EVALUATE,
        ),
    )


FILES: tuple[SampleFile, ...] = (
    *_both("support", "support", Role.TASK, "Apache-2.0", joined_by="MIT"),
    SampleFile(
        path="train/abcd.jsonl",
        source="support",
        role=Role.TASK,
        licence="Apache-2.0 AND MIT",
        legal_basis="public",
    ),
    *_both("self_instruct", "instructions", Role.GENERAL, "Apache-2.0"),
    *_both("gsm8k", "maths", Role.GENERAL, "MIT"),
    *_both("refusals", "refusals", Role.REFUSAL, "Apache-2.0", "own"),
    *_both("safe_completions", "safe_completions", Role.SAFE_COMPLETION, "Apache-2.0", "own"),
    *_both("counterexamples", "counterexamples", Role.COUNTEREXAMPLE, "Apache-2.0", "own"),
)
"""In the order in which the demo ingests them."""

EVALUATIONS = {
    "target": "support_held_out",
    "general": "instructions_held_out",
    "maths": "maths_held_out",
    "refusal": "refusals_held_out",
}
"""What the loss is measured on → held-out source. All but the target are guardrails."""
REFUSAL_PROMPTS = {"refusals": "refusals_held_out", "counterexamples": "counterexamples_held_out"}
"""Prompts that should be refused, and harmless ones that only look as if they should."""


def mix_text(name: str, *, seed: int) -> str:
    """A mix of the sample, with its seed replaced.

    Raises:
        RecollectError: MIX_INVALID if it does not say `seed: 0`.
    """
    path = DATA / "mixes" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    if text.count("\nseed: 0\n") != 1:
        raise RecollectError(
            Reason.MIX_INVALID,
            "the mix has no line `seed: 0` to replace, so every run would have the same seed.",
            where=str(path),
            fix="Write `seed: 0` on a line of its own.",
        )
    return text.replace("\nseed: 0\n", f"\nseed: {seed}\n")


def evaluation_mix(source: str, *, batch_size: int, max_length: int) -> str:
    """A mix that serves every row of a held-out source exactly once."""
    role = next(file.role for file in FILES if file.source == source)
    return f"""\
version: 1
name: evaluate_{source}
purpose: evaluate
unit: examples
batch_size: {batch_size}
max_length: {max_length}
seed: 0
sources:
  - {{source: {source}, role: {role.value}, share: 1, on_exhaustion: stop}}
"""
