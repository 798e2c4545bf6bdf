"""Negative log-likelihood on rows that the run never trains on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from ..loop import RowBatch
from ..loss import SourceLoss, row_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def mean_losses(
    model: PreTrainedModel, batches: Iterable[RowBatch], sources: Sequence[str]
) -> dict[str, SourceLoss]:
    """Loss per supervised token of every source, each row counted once and each token alike.

    Args:
        model: a causal language model.
        batches: the rows to measure on.
        sources: names of the plan's sources, in its order.
    """
    model.eval()  # type: ignore[no-untyped-call]
    gathered: dict[str, SourceLoss] = {}
    for batch in batches:
        losses, counts = row_losses(model, batch)
        rows = zip(batch.sources.tolist(), losses.tolist(), counts.tolist(), strict=True)
        for place, loss, count in rows:
            gathered.setdefault(sources[place], SourceLoss()).add(loss, count)
    return gathered


def pooled(losses: Iterable[SourceLoss]) -> float:
    """Loss per supervised token of several sources taken together."""
    together = SourceLoss()
    for source in losses:
        together.total += source.total
        together.num_tokens += source.num_tokens
    return together.mean
