"""Previews: what a plan would serve, worked out and not by running it.

Before anything is trained one wants to know how often each source is repeated, when it runs out,
how many tokens of it are learnt, how far its role is from its floor, and what every rank gets.
Where what is asked for follows from shares and counts alone, a plan over 10^9 examples takes no
longer than one over a thousand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .contents import Contents, Served, Totals, contents_of, served_of, totals_of
from .example import Role
from .footprint import peak_bytes
from .limit_preview import LimitPreview, preview_limits
from .outlook import Outlook, outlook
from .packing import Packing
from .plan import Plan
from .rank_preview import RankPreview, preview_ranks
from .timeline import Stage

NOTHING = Totals(num_tokens=0, num_supervised_tokens=0)
"""What a source holds of which nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePreview:
    """What one source contributes to a plan."""

    source: str
    role: Role
    share: Fraction
    """Its share at the first step."""
    num_examples: int
    rows_per_pass: int
    """Examples, or packs of them."""
    num_rows: int
    """Rows it will serve."""
    epochs: float
    """Passes over the source: rows divided by those of a pass."""
    max_repeats: int
    """Most often that one row is served."""
    exhaustion_step: int
    """First step in which it repeats or ends the plan, or -1 if it does neither."""
    num_tokens: int
    """Tokens it will serve, of rows cut to the length of the mix."""
    num_supervised_tokens: int
    num_truncated: int
    """Examples that are cut."""
    padding: float
    """Share of the slots of its rows that hold no token, where rows are packed."""
    token_share: float
    """Its part of all tokens that are served."""
    supervised_token_share: float
    is_estimate: bool
    """Whether tokens, and with shares of tokens also rows and steps, are taken from means, or the
    step is known only to within the rows of its share: `outlook.MOST_WALKED`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanPreview:
    """What a plan would serve."""

    num_steps: int
    num_rows: int
    sources: tuple[SourcePreview, ...]
    """In the order of the mix."""
    stages: tuple[Stage, ...]
    """Shares by position, as far as the plan goes."""
    limits: tuple[LimitPreview, ...]
    """What its policy asks for."""
    ranks: tuple[RankPreview, ...]
    peak_bytes: int
    """Most memory that working out its batches takes, beside the token caches."""


def preview(
    plan: Plan,
    contents: Mapping[str, Contents] | None = None,
    *,
    world_sizes: Sequence[int] = (),
) -> PlanPreview:
    """What a plan would serve.

    Args:
        plan: a plan.
        contents: by source, what its rows hold; not needed where the plan has its measures.
        world_sizes: numbers of ranks for which the dealing is examined.

    Raises:
        RecollectError: `RANK_INVALID`, or `MIX_INVALID` where shares of tokens are taken of a
            source that is said to have none.
    """
    known = dict(contents or {})
    if plan.needs_measures and plan.rows is not None:
        known = contents_of(plan) | known
    held = [known.get(source.name, NOTHING) for source in plan.sources]
    totals = [totals_of(item) for item in held]
    ahead = outlook(plan, totals)
    served = served_of(plan, ahead.num_rows, held)
    stages = plan.mix.timeline.stages
    can_count = plan.rows is not None
    return PlanPreview(
        num_steps=plan.num_steps,
        num_rows=plan.num_positions,
        sources=tuple(
            _source(plan, index, totals[index], served, ahead) for index in range(len(served))
        ),
        stages=tuple(stage for stage in stages if stage.first_position < plan.num_positions),
        limits=preview_limits(plan) if can_count else (),
        ranks=tuple(preview_ranks(plan, size) for size in world_sizes) if can_count else (),
        peak_bytes=peak_bytes(plan, world_sizes if can_count else ()),
    )


def _source(
    plan: Plan, index: int, totals: Totals, served: Sequence[Served], ahead: Outlook
) -> SourcePreview:
    source, own = plan.sources[index], served[index]
    slots = source.num_rows * plan.mix.max_length
    is_packed = plan.mix.packing is not Packing.NONE and totals.num_tokens > 0
    return SourcePreview(
        source=source.name,
        role=source.role,
        share=source.share,
        num_examples=source.num_examples,
        rows_per_pass=source.num_rows,
        num_rows=own.num_rows,
        epochs=own.num_rows / source.num_rows,
        max_repeats=-(-own.num_rows // source.num_rows),
        exhaustion_step=ahead.exhaustion_steps[index],
        num_tokens=own.num_tokens,
        num_supervised_tokens=own.num_supervised_tokens,
        num_truncated=totals.num_truncated,
        padding=1 - totals.num_tokens / slots if is_packed else 0.0,
        token_share=_part(own.num_tokens, [item.num_tokens for item in served]),
        supervised_token_share=_part(
            own.num_supervised_tokens, [item.num_supervised_tokens for item in served]
        ),
        is_estimate=own.is_estimate or ahead.is_estimate or index in ahead.rough_steps,
    )


def _part(amount: int, amounts: Sequence[int]) -> float:
    return amount / sum(amounts) if amount else 0.0
