"""The ratio check: one pure function, alike for those who plan, who train and who audit.

A source with share p that has served c of n rows deviates by c - p·n. Who follows the global order
may hold the schedule to Tijdeman's bound; who sees one rank's rows gives the bound of the dealing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .shares import common_denominator, format_percent

Integers: TypeAlias = npt.NDArray[np.int64]

RANK_BOUND = Fraction(2)
"""What one rank's own rows may deviate by (`dealing` says how far that is proven)."""


def schedule_bound(num_sources: int) -> Fraction:
    """What the global order may deviate by at any prefix: 1 - 1/(2k - 2) for k sources."""
    return 1 - Fraction(1, 2 * num_sources - 2) if num_sources > 1 else Fraction(0)


def deviation(
    shares: Sequence[Fraction], counts: Sequence[int] | Integers, num_rows: int
) -> list[Fraction]:
    """By how many rows each source is ahead (above 0) or behind (below 0) of its share."""
    return [int(count) - share * num_rows for share, count in zip(shares, counts, strict=True)]


def check_prefix(
    shares: Sequence[Fraction],
    counts: Sequence[int] | Integers,
    num_rows: int,
    *,
    names: Sequence[str],
    bound: Fraction | None = None,
    where: str = "",
) -> None:
    """Refuses counts that do not sum to the rows, or of which one deviates by more than the bound.

    Args:
        shares: exact shares.
        counts: rows of each source so far.
        num_rows: rows so far.
        names: names of the sources.
        bound: rows; that of the schedule if None.
        where: what was checked, such as a step.

    Raises:
        RecollectError: `RATIO_VIOLATED`, naming source, expected and observed rows.
    """
    total = sum(int(count) for count in counts)
    if total != num_rows:
        raise RecollectError(
            Reason.RATIO_VIOLATED, f"the sources sum to {total} of {num_rows} rows", where=where
        )
    limit = schedule_bound(len(shares)) if bound is None else bound
    deviations = deviation(shares, counts, num_rows)
    worst = max(range(len(shares)), key=lambda index: abs(deviations[index]))
    if abs(deviations[worst]) > limit:
        raise _violated(
            names[worst], shares[worst], int(counts[worst]), num_rows, limit, where=where
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioCount:
    """What has been served so far; `extended` is the only way forward, and it checks every row."""

    names: tuple[str, ...]
    shares: tuple[Fraction, ...]
    counts: tuple[int, ...]
    bound: Fraction
    """Rows by which a source may deviate at any prefix."""

    @classmethod
    def start(
        cls,
        names: Sequence[str],
        shares: Sequence[Fraction],
        *,
        counts: Sequence[int] | Integers | None = None,
        bound: Fraction | None = None,
    ) -> RatioCount:
        """Begins at the first row, or after rows that were counted already."""
        begun = [0] * len(names) if counts is None else [int(count) for count in counts]
        return cls(
            names=tuple(names),
            shares=tuple(shares),
            counts=tuple(begun),
            bound=schedule_bound(len(names)) if bound is None else bound,
        )

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return sum(self.counts)

    def extended(self, sources: Integers, *, where: str = "") -> RatioCount:
        """The count after more rows, given as source numbers in their order.

        Raises:
            RecollectError: `RATIO_VIOLATED` at the first row that breaks the bound.
        """
        sources = np.asarray(sources)
        if sources.size and not 0 <= int(sources.min()) <= int(sources.max()) < len(self.names):
            raise RecollectError(
                Reason.RATIO_VIOLATED, "a row is of no source of the plan", where=where
            )
        hits = sources[:, None] == np.arange(len(self.names))
        bad = np.flatnonzero((self._scaled_deviations(hits) > 0).any(axis=1))
        ends = hits[: int(bad[0]) + 1 if bad.size else len(hits)].sum(axis=0).tolist()
        after = replace(
            self, counts=tuple(old + new for old, new in zip(self.counts, ends, strict=True))
        )
        if bad.size:
            after.check(where=where)
        return after

    def advanced(self, counts: Sequence[int] | Integers, *, where: str = "") -> RatioCount:
        """The count after more rows of which only the numbers are known; checked at their end."""
        added = zip(self.counts, counts, strict=True)
        after = replace(self, counts=tuple(old + int(new) for old, new in added))
        after.check(where=where)
        return after

    def check(self, *, where: str = "") -> None:
        """Refuses counts that deviate by more than the bound."""
        check_prefix(
            self.shares, self.counts, self.num_rows, names=self.names, bound=self.bound, where=where
        )

    def _scaled_deviations(self, hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
        """By how much |deviation| exceeds the bound at each row, in whole parts of a row."""
        scale = common_denominator((*self.shares, self.bound))
        parts = [int(share * scale) for share in self.shares]
        # Machine integers where they are wide enough, Python's where they are not.
        wide = scale * (self.num_rows + len(hits) + 2) >= 1 << 62
        kind = np.dtype(object if wide else np.int64)
        counts = np.cumsum(hits, axis=0).astype(kind) + np.array(self.counts, dtype=kind)
        rows = np.arange(1, len(hits) + 1).astype(kind) + self.num_rows
        ideal = rows[:, None] * np.array(parts, dtype=kind)
        excess: npt.NDArray[np.object_] = abs(counts * scale - ideal) - int(self.bound * scale)
        return excess


def _violated(
    name: str, share: Fraction, count: int, num_rows: int, bound: Fraction, *, where: str
) -> RecollectError:
    expected = float(share * num_rows)
    observed = format_percent(Fraction(count, num_rows))
    return RecollectError(
        Reason.RATIO_VIOLATED,
        f"source {name!r} has {count} of {num_rows} rows ({observed}); expected are {expected:g} "
        f"({format_percent(share)}), give or take {float(bound):.3g}",
        where=where,
        fix="Do not train on this; compare the batches with the plan.",
    )
