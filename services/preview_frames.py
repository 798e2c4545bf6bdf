"""Previews on the wire."""

from __future__ import annotations

from ..mixer.limit_preview import LimitPreview
from ..mixer.preview import PlanPreview, SourcePreview
from ..mixer.rank_preview import RankPreview
from ..mixer.windows import Window
from ..v1 import mix_pb2 as wire
from .roles import role_to_wire


def preview_to_wire(preview: PlanPreview, batch_size: int) -> wire.PreviewMixResponse:
    """The answer that says it."""
    return wire.PreviewMixResponse(
        num_steps=preview.num_steps,
        num_rows=preview.num_rows,
        sources=[_source(source) for source in preview.sources],
        stages=[
            wire.StagePreview(
                first_step=stage.first_position // batch_size,
                shares=[str(share) for share in stage.shares],
            )
            for stage in preview.stages
        ],
        limits=[_limit(limit) for limit in preview.limits],
        ranks=[_rank(rank) for rank in preview.ranks],
        peak_bytes=preview.peak_bytes,
    )


def _source(row: SourcePreview) -> wire.SourcePreview:
    return wire.SourcePreview(
        source=row.source,
        role=role_to_wire(row.role),
        share=str(row.share),
        num_examples=row.num_examples,
        num_rows=row.num_rows,
        epochs=row.epochs,
        max_repeats=row.max_repeats,
        exhaustion_step=row.exhaustion_step,
        num_tokens=row.num_tokens,
        num_supervised_tokens=row.num_supervised_tokens,
        num_truncated=row.num_truncated,
        rows_per_pass=row.rows_per_pass,
        padding=row.padding,
        token_share=row.token_share,
        supervised_token_share=row.supervised_token_share,
        estimated=row.is_estimate,
    )


def _limit(limit: LimitPreview) -> wire.LimitPreview:
    windows = [window for window in (limit.floor_window, limit.ceiling_window) if window]
    return wire.LimitPreview(
        path=limit.path,
        least_share=str(limit.least_share),
        greatest_share=str(limit.greatest_share),
        floor=limit.limit.floor,
        ceiling=limit.limit.ceiling,
        floor_window=_num_batches(limit.floor_window),
        ceiling_window=_num_batches(limit.ceiling_window),
        examined=bool(windows) and all(window.examined for window in windows),
    )


def _num_batches(window: Window | None) -> int:
    return (window.num_batches or 0) if window else 0


def _rank(rank: RankPreview) -> wire.RankPreview:
    return wire.RankPreview(
        world_size=rank.world_size,
        bound=str(rank.bound),
        worst_deviation=rank.worst_deviation,
        num_steps=rank.num_steps,
    )
