"""Batches on the trainer's side: the rows of one rank in one step as tensors.

What every step needs is there from the start; what only some models or losses take is made when it
is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch

from ..mixer.packing import cu_seqlens, position_ids
from .tally import SourceTally

PAD_ID = 0
IGNORED = -100
"""Label of a token that is not learnt: what `torch.nn.functional.cross_entropy` ignores."""

Integers = npt.NDArray[np.int64]


@lru_cache(maxsize=8)
def _places(length: int, device: torch.device) -> torch.Tensor:
    """int64[length], 0, 1, 2 …; not to be written to."""
    return torch.arange(length, device=device)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainBatch:
    """The rows of one rank in one step."""

    step: int
    input_ids: torch.Tensor
    """int32[rows, length], padded on the right with PAD_ID."""
    loss_mask: torch.Tensor
    """bool[rows, length], whether a token is learnt; never the first token of a piece, which
    nothing predicts."""
    lengths: torch.Tensor
    """int64[rows], tokens of each row, padding left out."""
    pieces: Integers
    """int64[pieces], tokens of each piece of the rows; of rows that are no packs, every one is a
    piece."""
    packed: bool
    """Whether a row may hold several pieces. Attention must not cross from one to another: give the
    model `position_ids` and no `attention_mask`, or what it takes for varying lengths."""
    sources: torch.Tensor
    """int64[rows], places of the sources in the plan."""
    names: Sequence[str]
    """Names of the sources, in the order of the plan."""
    counts_by_source: Integers
    """int64[3, sources]: rows, tokens and supervised tokens of each, as counted in what arrived."""
    digest: bytes
    """SHA-256 of the restore keys, as checked against the plan."""
    teacher_logprobs: torch.Tensor | None = None
    """float32[rows, length], 0 on padding, if asked for."""

    @property
    def num_rows(self) -> int:
        """Rows of this rank."""
        return self.input_ids.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TrainBatch:
        """The batch with its tensors on a device; what is made when asked for is made there.

        Args:
            device: where the model is.
            non_blocking: do not wait for the copy, which needs pinned memory (`pin_memory`).
        """
        return self._with_tensors(lambda held: held.to(device, non_blocking=non_blocking))

    def pinned(self) -> TrainBatch:
        """The batch with its tensors in memory from which an accelerator can copy by itself."""
        return self._with_tensors(torch.Tensor.pin_memory)

    def _with_tensors(self, moved: Callable[[torch.Tensor], torch.Tensor]) -> TrainBatch:
        logprobs = self.teacher_logprobs
        return replace(
            self,
            input_ids=moved(self.input_ids),
            loss_mask=moved(self.loss_mask),
            lengths=moved(self.lengths),
            sources=moved(self.sources),
            teacher_logprobs=None if logprobs is None else moved(logprobs),
        )

    @cached_property
    def is_full(self) -> bool:
        """Whether no row is padded."""
        return int(self.counts_by_source[1].sum()) == self.input_ids.numel()

    @cached_property
    def labels(self) -> torch.Tensor:
        """int64[rows, length], IGNORED where nothing is learnt; not shifted: models do that."""
        # Arithmetic, because it is several times as fast here as choosing by `torch.where`.
        return (self.input_ids.long() - IGNORED) * self.loss_mask + IGNORED

    @cached_property
    def attention_mask(self) -> torch.Tensor:
        """int64[rows, length], 1 on tokens, 0 on padding."""
        if self.is_full:
            return torch.ones_like(self.input_ids, dtype=torch.int64)
        length = self.input_ids.shape[1]
        return (torch.arange(length, device=self.lengths.device) < self.lengths[:, None]).long()

    @cached_property
    def position_ids(self) -> torch.Tensor:
        """int64[rows, length], from 0 in every piece of a row, and again in its padding.

        To the attention of transformers, a position that does not follow the one before begins
        another text, and so padding is a text of its own.
        """
        num_rows, length = self.input_ids.shape
        places = _places(length, self.lengths.device)
        if not self.packed and self.is_full:
            # A single row could be written to, and is kept for others.
            return (places.clone() if num_rows == 1 else places).expand(num_rows, length)
        beyond = places - self.lengths[:, None]
        if not self.packed:
            return torch.where(beyond >= 0, beyond, places)
        padded = np.zeros((num_rows, length), dtype=np.int64)
        padded[(beyond < 0).cpu().numpy()] = position_ids(self.pieces)
        return torch.where(beyond >= 0, beyond, torch.from_numpy(padded).to(beyond.device))

    @cached_property
    def cu_seqlens(self) -> torch.Tensor:
        """int32[pieces + 1], where the pieces begin and the last ends, in the tokens of all rows.

        The tokens are counted as if the rows lay end to end without padding.
        """
        return torch.from_numpy(cu_seqlens(self.pieces)).to(self.lengths.device)

    @cached_property
    def tallies(self) -> Mapping[str, SourceTally]:
        """What there is of each source, in the order of the plan."""
        return {
            name: SourceTally(num_rows=rows, num_tokens=tokens, num_supervised_tokens=supervised)
            for name, rows, tokens, supervised in zip(
                self.names, *self.counts_by_source.tolist(), strict=True
            )
        }

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each source."""
        return {source: tally.num_rows for source, tally in self.tallies.items()}
