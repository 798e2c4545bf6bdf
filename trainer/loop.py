"""The fine-tuning loop: plain causal language modelling on the batches of a plan.

The loss of a step is the mean over the supervised tokens of the whole global batch. Micro-batches
and ranks therefore divide by the same total: splitting a batch changes memory, never the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from ..mixer.errors import Reason, RecollectError
from .loss import IGNORED, Rows, SourceLoss, by_source, row_losses
from .ranks import Ranks
from .settings import Settings
from .tally import SourceTally

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RowBatch(Rows, Protocol):
    """What the loop needs of a batch."""

    @property
    def step(self) -> int:
        """Number of the step."""

    @property
    def sources(self) -> torch.Tensor:
        """Place in the plan of the source of each row."""

    @property
    def tallies(self) -> Mapping[str, SourceTally]:
        """What there is of each source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """What one step did."""

    step: int
    loss: float
    """Mean over the supervised tokens of the global batch."""
    losses: Mapping[str, float]
    """The same by source, over this rank's rows."""
    tallies: Mapping[str, SourceTally]
    """What there is of each source in this rank's shard."""
    num_tokens: int
    """Tokens of this rank's shard, padding left out."""
    learning_rate: float
    gradient_norm: float
    seconds: float

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each source in this rank's shard."""
        return {source: tally.num_rows for source, tally in self.tallies.items()}


class FineTuning:
    """A model, its optimizer, and the step that changes them."""

    def __init__(
        self,
        model: PreTrainedModel,
        settings: Settings,
        *,
        num_steps: int,
        sources: Sequence[str],
        ranks: Ranks | None = None,
    ) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.model = model
        self.settings = settings
        self.num_steps = num_steps
        self.sources = tuple(sources)
        self.ranks = ranks or Ranks.alone()
        self.optimizer = _optimizer(model, settings)

    def step(self, batch: RowBatch) -> StepRecord:
        """One optimizer step.

        Raises:
            RecollectError: `INTERNAL` if the loss is not finite; the weights are then unchanged.
        """
        began = time.perf_counter()
        rate = self.settings.rate(batch.step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss, gathered = self._differentiate(batch)
        self.ranks.sum_gradients(self.model)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        _require_finite(batch.step, loss, float(norm))
        self.optimizer.step()
        return StepRecord(
            step=batch.step,
            loss=loss,
            losses={name: source.mean for name, source in gathered.items() if source.num_tokens},
            tallies=dict(batch.tallies),
            num_tokens=int(batch.attention_mask.sum()),
            learning_rate=rate,
            gradient_norm=float(norm),
            seconds=time.perf_counter() - began,
        )

    def _differentiate(self, batch: RowBatch) -> tuple[float, dict[str, SourceLoss]]:
        num_supervised = int((batch.labels[:, 1:] != IGNORED).sum())
        total = max(1.0, self.ranks.sum(float(num_supervised)))
        rows = self.settings.micro_rows or len(batch.sources)
        losses, counts = [], []
        for start in range(0, len(batch.sources), rows):
            part = slice(start, start + rows)
            loss, count = row_losses(self.model, batch, part)
            (loss.sum() / total).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            counts.append(count)
        if not losses:
            return self.ranks.sum(0.0) / total, {}
        row_loss = torch.cat(losses)
        names = [self.sources[place] for place in batch.sources.tolist()]
        gathered = by_source(names, row_loss, torch.cat(counts))
        return self.ranks.sum(float(row_loss.sum())) / total, gathered


BatchType = TypeVar("BatchType", bound=RowBatch)


def run(
    tuning: FineTuning,
    batches: Iterable[BatchType],
    *,
    check: Callable[[BatchType], None],
    acknowledge: Callable[[BatchType], None],
    report: Callable[[StepRecord], None],
) -> None:
    """Steps on every batch: checked before, acknowledged after, then reported.

    Args:
        tuning: the model and its optimizer.
        batches: the batches that remain, in the order of their steps.
        check: refuses a batch that is not what the plan prescribes, by raising.
        acknowledge: tells the service that the optimizer has stepped.
        report: receives what the step did; checkpoints are written here.
    """
    for batch in batches:
        check(batch)
        record = tuning.step(batch)
        acknowledge(batch)
        report(record)


def _optimizer(model: PreTrainedModel, settings: Settings) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def _require_finite(step: int, loss: float, norm: float) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    raise RecollectError(
        Reason.INTERNAL,
        f"The loss of step {step} is {loss} and its gradient norm {norm}; training cannot go on.",
        where=f"step {step}",
        fix="Lower the learning rate or lengthen the warm-up, and train again.",
    )
