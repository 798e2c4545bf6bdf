"""The loss of a batch: negative log-likelihood per supervised token, kept apart by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORED = -100
"""Label of a token that is not supervised."""


class Rows(Protocol):
    """What the loss needs of a batch."""

    @property
    def input_ids(self) -> torch.Tensor:
        """Tokens [rows, tokens], padded on the right."""

    @property
    def labels(self) -> torch.Tensor:
        """Tokens again, -100 where they are not supervised."""

    @property
    def attention_mask(self) -> torch.Tensor:
        """1 for tokens, 0 for padding."""

    @property
    def position_ids(self) -> torch.Tensor:
        """Positions, from 0 in every piece of a row and in its padding."""

    @property
    def packed(self) -> bool:
        """Whether a row may hold several pieces, between which attention must not pass."""


def row_losses(
    model: PreTrainedModel, batch: Rows, part: slice = slice(None)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss of each row, and how many of its tokens are supervised.

    Args:
        model: a causal language model.
        batch: the rows.
        part: which of them.
    """
    logits = logits_of(model, batch, part)
    targets = batch.labels[part, 1:]
    losses = cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), targets, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(1), (targets != IGNORED).sum(1)


def logits_of(model: PreTrainedModel, batch: Rows, part: slice = slice(None)) -> torch.Tensor:
    """What the model predicts after each token, of its own piece and those before it there."""
    if batch.packed:
        # Without a mask the model finds the pieces by their positions: where one does not follow
        # the one before, another text begins. Padding is such a text, which no label ever meets.
        context = {"attention_mask": None, "position_ids": batch.position_ids[part]}
    else:
        context = {"attention_mask": batch.attention_mask[part]}
    out = model(input_ids=batch.input_ids[part], use_cache=False, **context)
    logits: torch.Tensor = out.logits
    return logits


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
