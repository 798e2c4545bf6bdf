"""Contents: what the rows of a source hold, row by row or in all, and what any number of them hold.

Every pass serves each row once, so whole passes are sums; only the last, broken one depends on the
order. Up to some millions of rows are looked at one by one. Beyond that, a broken pass is taken to
hold its part of the whole, and the answer says that it is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .packing import Packing
from .permutation import permutation_of
from .plan import Plan

AnyIntegers: TypeAlias = npt.NDArray[np.integer[Any]]

MOST_COUNTED = 1 << 22
"""Rows of broken passes, over all sources, that are looked at one by one: half a second."""
AT_ONCE = 1 << 18
"""Rows that are looked at together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What one pass over a source holds."""

    num_tokens: int
    """As served: of rows cut to the length of the mix, where they are cut."""
    num_supervised_tokens: int
    num_truncated: int = 0
    """Examples that are cut."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowContents:
    """What each row of a source holds."""

    tokens: AnyIntegers
    """Integers of one value for each row, as served."""
    supervised_tokens: AnyIntegers
    num_truncated: int = 0
    """Examples that are cut."""

    @property
    def totals(self) -> Totals:
        """What one pass holds."""
        return Totals(
            num_tokens=int(self.tokens.sum(dtype=np.int64)),
            num_supervised_tokens=int(self.supervised_tokens.sum(dtype=np.int64)),
            num_truncated=self.num_truncated,
        )


Contents: TypeAlias = RowContents | Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a source serves in a whole plan."""

    num_rows: int
    num_tokens: int
    num_supervised_tokens: int
    is_estimate: bool
    """Whether the tokens of a broken pass are taken from the mean."""


def contents_of(plan: Plan) -> dict[str, Contents]:
    """By source, what the rows of a plan hold that has its measures."""
    found: dict[str, Contents] = {}
    for rows in plan.source_rows:
        num_truncated = 0
        if plan.mix.packing is Packing.NONE and rows.measures is not None:
            num_truncated = int((rows.measures.lengths > plan.mix.max_length).sum())
        found[rows.name] = RowContents(
            tokens=rows.tokens,
            supervised_tokens=rows.supervised_tokens,
            num_truncated=num_truncated,
        )
    return found


def totals_of(contents: Contents) -> Totals:
    """What one pass holds."""
    return contents if isinstance(contents, Totals) else contents.totals


def served_of(
    plan: Plan,
    num_rows: Sequence[int],
    contents: Sequence[Contents],
    *,
    most_counted: int = MOST_COUNTED,
) -> list[Served]:
    """What each source serves.

    Args:
        plan: the plan.
        num_rows: rows that each source serves.
        contents: what its rows hold.
        most_counted: rows that may be looked at one by one.
    """
    sizes = [
        _num_broken(rows % source.num_rows, source.num_rows)
        for rows, source in zip(num_rows, plan.sources, strict=True)
    ]
    # The shortest first, so that as many sources as possible are exact.
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    fits = np.cumsum([sizes[index] for index in order]) <= most_counted
    counted = {index for index, fit in zip(order, fits.tolist(), strict=True) if fit}
    return [
        _served(plan, index, num_rows[index], contents[index], is_counted=index in counted)
        for index in range(len(sizes))
    ]


def _num_broken(rest: int, num_rows: int) -> int:
    """Rows to look at: those of the broken pass, or those that are missing from it."""
    return min(rest, num_rows - rest)


def _served(
    plan: Plan, index: int, num_rows: int, contents: Contents, *, is_counted: bool
) -> Served:
    """What one source serves."""
    source, whole = plan.sources[index], totals_of(contents)
    passes, rest = divmod(num_rows, source.num_rows)
    parts = [
        num_rows * total // source.num_rows
        for total in (whole.num_tokens, whole.num_supervised_tokens)
    ]
    is_estimate = bool(rest and whole.num_tokens)
    if rest and is_counted and isinstance(contents, RowContents):
        is_estimate = False
        begins = 2 * rest <= source.num_rows
        first, last = (0, rest) if begins else (rest, source.num_rows)
        looked_at = _sums(plan, index, contents, passes, first, last)
        both = (whole.num_tokens, whole.num_supervised_tokens)
        parts = [
            passes * total + (part if begins else total - part)
            for total, part in zip(both, looked_at, strict=True)
        ]
    return Served(
        num_rows=num_rows,
        num_tokens=parts[0],
        num_supervised_tokens=parts[1],
        is_estimate=is_estimate,
    )


def _sums(
    plan: Plan, index: int, contents: RowContents, number: int, first: int, last: int
) -> tuple[int, int]:
    """Tokens, and supervised tokens, of the places first … last - 1 of a pass."""
    source = plan.sources[index]
    order = permutation_of(plan.mix.seed, source.name, number, source.num_rows)
    tokens = supervised = 0
    for begin in range(first, last, AT_ONCE):
        rows = order.forward(np.arange(begin, min(begin + AT_ONCE, last), dtype=np.int64))
        tokens += int(contents.tokens[rows].sum(dtype=np.int64))
        supervised += int(contents.supervised_tokens[rows].sum(dtype=np.int64))
    return tokens, supervised
