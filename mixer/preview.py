"""Previews: what a plan would serve, computed in closed form and not by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .example import Role
from .mix import OnExhaustion
from .permutation import permutation_of
from .plan import Plan

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePreview:
    """What one source contributes to a plan."""

    source: str
    role: Role
    share: Fraction
    num_examples: int
    num_rows: int
    """Rows it will serve."""
    epochs: float
    """Passes over the source: rows divided by examples."""
    max_repeats: int
    """Most often that one example is served."""
    exhaustion_step: int
    """First step in which it repeats or ends the plan, or -1 if it does neither."""
    num_tokens: int
    """Tokens it will serve, of rows cut to the length of the mix."""
    num_truncated: int
    """Rows that will be cut."""
    num_supervised_tokens: int
    """Tokens with a loss, or 0 if none were given."""


def preview(
    plan: Plan,
    tokens: Mapping[str, Integers],
    supervised_tokens: Mapping[str, Integers] | None = None,
) -> list[SourcePreview]:
    """What each source contributes, in the order of the mix.

    Args:
        plan: a sealed plan.
        tokens: tokens of every example of a source, before they are cut to the length of a row.
        supervised_tokens: those of them that carry a loss, after cutting.
    """
    num_rows = plan.schedule.served(plan.num_positions).tolist()
    return [
        _preview(plan, index, rows, tokens, supervised_tokens or {})
        for index, rows in enumerate(num_rows)
    ]


def served_total(plan: Plan, index: int, values: Integers | npt.NDArray[np.bool_]) -> int:
    """Sum over all rows that a source serves of a number that each of its examples has."""
    source = plan.sources[index]
    num_rows = int(plan.schedule.served(plan.num_positions)[index])
    epochs, rest = divmod(num_rows, source.num_examples)
    whole = epochs * int(np.sum(values, dtype=np.int64))
    order = permutation_of(plan.mix.seed, source.name, epochs, source.num_examples)
    partial = order.forward(np.arange(rest, dtype=np.int64))
    return whole + int(np.sum(values[partial], dtype=np.int64))


def exhaustion_step(plan: Plan, index: int) -> int:
    """First step in which a source starts anew or ends the plan, or -1 if it does neither."""
    source = plan.sources[index]
    position = plan.schedule.position_of(index, source.num_examples)
    if position < plan.num_positions:
        return position // plan.mix.batch_size
    ends = position == plan.num_positions and source.on_exhaustion is OnExhaustion.STOP
    return plan.num_steps - 1 if ends else -1


def _preview(
    plan: Plan,
    index: int,
    num_rows: int,
    tokens: Mapping[str, Integers],
    supervised_tokens: Mapping[str, Integers],
) -> SourcePreview:
    source = plan.sources[index]
    none = np.zeros(source.num_examples, dtype=np.int64)
    lengths = np.asarray(tokens.get(source.name, none))
    longest = plan.mix.max_length
    return SourcePreview(
        source=source.name,
        role=source.role,
        share=source.share,
        num_examples=source.num_examples,
        num_rows=num_rows,
        epochs=num_rows / source.num_examples,
        max_repeats=-(-num_rows // source.num_examples),
        exhaustion_step=exhaustion_step(plan, index),
        num_tokens=served_total(plan, index, np.minimum(lengths, longest)),
        num_truncated=served_total(plan, index, lengths > longest),
        num_supervised_tokens=served_total(
            plan, index, np.asarray(supervised_tokens.get(source.name, none))
        ),
    )
