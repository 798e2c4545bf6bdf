"""Measures: how long the examples of a source are, and which of their tokens are to be learnt.

All that packing and token units need to know of a text is in here; the text itself is not. A plan
holds the digest of its measures, so whoever is given them can tell that they are the right ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """What a tokenizer and a chat template make of the examples of one source.

    Raises:
        RecollectError: `MEASURES_DIFFER`, if the arrays do not fit together.
    """

    lengths: Integers
    """int64[n], tokens of each example, uncut."""
    run_offsets: Integers
    """int64[n + 1], where the runs of each example begin, and their number."""
    run_starts: Integers
    """int64[r], first token of each run of marked tokens, counted within its example."""
    run_stops: Integers
    """int64[r], the token after its last."""

    def __post_init__(self) -> None:
        offsets, starts, stops = self.run_offsets, self.run_starts, self.run_stops
        fits = (
            offsets.shape == (self.lengths.size + 1,)
            and starts.shape == stops.shape == (int(offsets[-1]),)
            and not offsets[0]
            and bool((np.diff(offsets) >= 0).all())
            and bool((self.lengths >= 0).all() and (starts >= 0).all() and (starts < stops).all())
        )
        if fits:
            begins, ends = self._runs
            owners = np.repeat(np.arange(self.lengths.size), np.diff(offsets))
            fits = bool((stops <= self.lengths[owners]).all() and (begins[1:] >= ends[:-1]).all())
        if not fits:
            raise RecollectError(
                Reason.MEASURES_DIFFER, "the runs of marked tokens are not within the examples"
            )

    @classmethod
    def of_masks(cls, lengths: Integers, mask: npt.NDArray[np.bool_]) -> Measures:
        """Measures from one loss mask over all tokens, example after example."""
        lengths = np.asarray(lengths, dtype=np.int64)
        firsts = np.concatenate(([0], np.cumsum(lengths)))
        padded = np.zeros(mask.size + 1, dtype=np.int8)
        padded[:-1] = mask
        edges = np.diff(padded, prepend=0)
        # A run that goes on over the end of an example is one run of each.
        inner = firsts[1:-1][firsts[1:-1] < mask.size]
        inner = np.unique(inner[(mask[inner]) & (mask[np.maximum(inner - 1, 0)])])
        starts = np.sort(np.concatenate((np.flatnonzero(edges == 1), inner)))
        stops = np.sort(np.concatenate((np.flatnonzero(edges == -1), inner)))
        owners = np.searchsorted(firsts, starts, side="right") - 1
        return cls(
            lengths=lengths,
            run_offsets=np.searchsorted(starts, firsts).astype(np.int64),
            run_starts=(starts - firsts[owners]).astype(np.int64),
            run_stops=(stops - firsts[owners]).astype(np.int64),
        )

    def __len__(self) -> int:
        return self.lengths.size

    @cached_property
    def _firsts(self) -> Integers:
        """The first token of each example in a count over all of them, and the number of all."""
        firsts: Integers = np.concatenate(([0], np.cumsum(self.lengths))).astype(np.int64)
        return firsts

    @cached_property
    def _runs(self) -> tuple[Integers, Integers]:
        """Begins and ends of the runs in a count over all tokens."""
        begins = np.repeat(self._firsts[:-1], np.diff(self.run_offsets))
        return begins + self.run_starts, begins + self.run_stops

    @cached_property
    def _tokens_before_runs(self) -> Integers:
        """The marked tokens before each run, and their number."""
        begins, ends = self._runs
        before: Integers = np.concatenate(([0], np.cumsum(ends - begins))).astype(np.int64)
        return before

    def supervised(self, examples: Integers, starts: Integers, stops: Integers) -> Integers:
        """The tokens that carry loss in a piece of each of some examples, given as a range.

        Those are its marked tokens but for its first: a piece is a text of its own, and what
        nothing precedes nothing predicts.
        """
        firsts = self._firsts[examples]
        begins = firsts + np.minimum(starts + 1, stops)
        return self._marked_before(firsts + stops) - self._marked_before(begins)

    def _marked_before(self, tokens: Integers) -> Integers:
        begins, ends = self._runs
        if not begins.size:
            return np.zeros_like(tokens)
        before = self._tokens_before_runs
        runs = np.searchsorted(begins, tokens, side="right")
        inside = np.minimum(tokens, ends[runs - 1]) - begins[runs - 1]
        return np.where(runs > 0, before[runs - 1] + inside, 0).astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex; the same on every platform."""
        digest = hashlib.sha256(b"recollect-measures-1")
        for array in (self.lengths, self.run_offsets, self.run_starts, self.run_stops):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()
