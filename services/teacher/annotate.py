"""Annotation: the teacher's log-probability of every token of a source, beside its token cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...mixer.errors import Reason, RecollectError
from ...mixer.plan import Plan
from .frozen import FrozenTeacher

ROWS_PER_STEP = 256
"""Rows that are scored between two progress reports."""


class Tokens(Protocol):
    """What annotation needs of a token cache."""

    def __len__(self) -> int:
        """Rows of the source."""
        ...

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each row."""
        ...

    def gather(
        self, example_rows: npt.NDArray[np.int64], /
    ) -> tuple[Sequence[npt.NDArray[np.int32]], Sequence[npt.NDArray[np.bool_]]]:
        """Token ids and loss masks of the rows."""
        ...


class AnnotationSink(Protocol):
    """Takes the log-probabilities of a whole cache in row order."""

    def write(self, rows: Sequence[npt.NDArray[np.float32]], /) -> None:
        """Appends the next rows, one array per row, as long as the row."""
        ...


OpenSink = Callable[[Tokens, str], AbstractContextManager[AnnotationSink]]
"""Opens the sink for a cache and a teacher digest; leaving it without an error makes it durable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """How far the annotation of a source has come."""

    source: str
    num_examples: int = 0
    num_tokens: int = 0
    """Supervised tokens."""
    total_nll: float = 0.0
    """Negative log-likelihood of the supervised tokens together, in nats."""

    @property
    def mean_nll(self) -> float:
        """Nats per supervised token; 0 where there is none."""
        return self.total_nll / self.num_tokens if self.num_tokens else 0.0


def require_fitting(
    plan: Plan, all_tokens: Sequence[Tokens], *, max_length: int
) -> Sequence[Tokens]:
    """The token caches of a plan, once it is known that a teacher can take every row of theirs.

    Args:
        plan: the plan.
        all_tokens: one cache for each of its sources.
        max_length: tokens that the teacher takes.

    Raises:
        RecollectError: INPUT_TOO_LARGE, naming the first example that is too long.
    """
    for source, tokens in zip(plan.sources, all_tokens, strict=True):
        lengths = tokens.lengths
        over = np.flatnonzero(lengths > max_length)
        if over.size:
            first = int(over[0])
            others = f", and {over.size - 1:,} more are too long" if over.size > 1 else ""
            raise RecollectError(
                Reason.INPUT_TOO_LARGE,
                f"it has {lengths[first]:,} tokens; the teacher takes {max_length:,}{others}.",
                where=f"source {source.name}, example {first}",
                fix=_remedy(plan, max_length),
            )
    return all_tokens


def _remedy(plan: Plan, max_length: int) -> str:
    """What makes the rows of a plan fit a teacher."""
    without = "train on the plan without the teacher's annotations"
    if not plan.needs_measures:
        return f"Seal the mix with max_length: {max_length} or less, or {without}."
    # Packs and token units are of whole examples, however short the rows of the mix are.
    return (
        "A plan that packs or counts tokens is annotated by whole examples. Seal the mix with "
        f"packing: none, unit: examples and max_length: {max_length} or less, which cuts them, "
        f"or {without}."
    )


def annotate(
    teacher: FrozenTeacher, source: str, tokens: Tokens, open_sink: OpenSink
) -> Iterator[Annotated]:
    """Scores all rows of a source; progress after each step, the last one once it is durable."""
    done = Annotated(source=source)
    with open_sink(tokens, teacher.digest) as sink:
        for first in range(0, len(tokens), ROWS_PER_STEP):
            ids, masks = tokens.gather(np.arange(first, min(first + ROWS_PER_STEP, len(tokens))))
            scores = teacher.log_probabilities([row.tolist() for row in ids])
            sink.write(scores)
            done = Annotated(
                source=source,
                num_examples=done.num_examples + len(scores),
                num_tokens=done.num_tokens + sum(int(mask[1:].sum()) for mask in masks),
                total_nll=done.total_nll
                - sum(
                    float(s[1:][m[1:]].sum(dtype=np.float64))
                    for s, m in zip(scores, masks, strict=True)
                ),
            )
            yield done
        teacher.ensure_unchanged()
    yield done
