"""The loss of a batch: negative log-likelihood per supervised token, kept apart by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORED = -100
"""Label of a token that is not supervised."""


def row_losses(
    model: PreTrainedModel, input_ids: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss of each row, and how many of its tokens are supervised.

    Args:
        model: a causal language model.
        input_ids: [rows, tokens], padded on the right.
        labels: [rows, tokens], the same ids, `IGNORED` where a token is not supervised.
        mask: [rows, tokens], 0 in the padding.
    """
    logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
    targets = labels[:, 1:]
    losses = cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), targets, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(1), (targets != IGNORED).sum(1)


@dataclass(kw_only=True, slots=True)
class SourceLoss:
    """A running mean over the supervised tokens of one source."""

    total: float = 0.0
    num_tokens: int = 0
    num_rows: int = 0

    def add(self, total: float, num_tokens: int) -> None:
        """Counts one row."""
        self.total += total
        self.num_tokens += num_tokens
        self.num_rows += 1

    @property
    def mean(self) -> float:
        """Loss per supervised token; not a number where there was none."""
        return self.total / self.num_tokens if self.num_tokens else float("nan")


def by_source(
    names: Iterable[str], losses: torch.Tensor, counts: torch.Tensor
) -> dict[str, SourceLoss]:
    """The rows of a batch gathered by source."""
    gathered: dict[str, SourceLoss] = {}
    for name, loss, count in zip(names, losses.tolist(), counts.tolist(), strict=True):
        gathered.setdefault(name, SourceLoss()).add(loss, count)
    return gathered
