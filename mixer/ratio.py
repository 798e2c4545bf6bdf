"""The ratio check: one pure function, alike for those who plan, who train and who audit.

A source that is owed L(n) of the first n rows (the sum of its shares over them) and has served c of
them deviates by c - L(n). Who follows the global order may hold it to Tijdeman's bound at every
row; who sees one of W ranks, to the bound of the dealing, with L(n)/W, at the end of every step.
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
from .timeline import Timeline

Integers: TypeAlias = npt.NDArray[np.int64]


def schedule_bound(num_sources: int) -> Fraction:
    """What the global order may deviate by at any prefix: 1 - 1/(2k - 2) for k sources."""
    return 1 - Fraction(1, 2 * num_sources - 2) if num_sources > 1 else Fraction(0)


def deviation(
    timeline: Timeline, counts: Sequence[int] | Integers, num_rows: int, *, world_size: int = 1
) -> list[Fraction]:
    """By how many rows each source is ahead (above 0) or behind (below 0) of what it is owed.

    Args:
        timeline: the shares.
        counts: rows of each source that were served, by one rank if there are several.
        num_rows: rows of all sources and ranks.
        world_size: how many ranks share them.
    """
    return [
        int(count) - timeline.owed(source, num_rows) / world_size
        for source, count in enumerate(counts)
    ]


def check_counts(
    timeline: Timeline,
    counts: Sequence[int] | Integers,
    num_rows: int,
    *,
    names: Sequence[str],
    bound: Fraction | None = None,
    world_size: int = 1,
    where: str = "",
) -> None:
    """Refuses counts of which one deviates by more than the bound.

    Args:
        timeline: the shares.
        counts: rows of each source so far, of one rank if there are several.
        num_rows: rows so far, of all sources and ranks.
        names: names of the sources.
        bound: rows; that of the schedule if None.
        world_size: how many ranks share the rows.
        where: what was checked, such as a step.

    Raises:
        RecollectError: `RATIO_VIOLATED`, naming source, expected and observed rows.
    """
    total = sum(int(count) for count in counts)
    if world_size == 1 and total != num_rows:
        raise RecollectError(
            Reason.RATIO_VIOLATED, f"the sources sum to {total} of {num_rows} rows", where=where
        )
    limit = schedule_bound(timeline.num_sources) if bound is None else bound
    off = deviation(timeline, counts, num_rows, world_size=world_size)
    worst = max(range(len(off)), key=lambda index: abs(off[index]))
    if abs(off[worst]) > limit:
        expected = int(counts[worst]) - off[worst]
        raise _violated(names[worst], expected, int(counts[worst]), total, limit, where=where)


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioCount:
    """What has been served so far; `extended` is the only way forward, and it checks every row."""

    names: tuple[str, ...]
    timeline: Timeline
    counts: tuple[int, ...]
    bound: Fraction
    """Rows by which a source may deviate at any prefix."""

    @classmethod
    def start(
        cls,
        names: Sequence[str],
        shares: Sequence[Fraction] | Timeline,
        *,
        counts: Sequence[int] | Integers | None = None,
    ) -> RatioCount:
        """Begins at the first row, or after rows that were counted already."""
        begun = [0] * len(names) if counts is None else [int(count) for count in counts]
        return cls(
            names=tuple(names),
            timeline=shares if isinstance(shares, Timeline) else Timeline.constant(shares),
            counts=tuple(begun),
            bound=schedule_bound(len(names)),
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
        after = self
        while sources.size:
            stage = self.timeline.stage_at(after.num_rows)
            num_rows = self.timeline.end(stage) - after.num_rows
            after = after._within(stage, sources[:num_rows], where)
            sources = sources[num_rows:]
        return after

    def _within(self, stage: int, sources: Integers, where: str) -> RatioCount:
        """The count after rows that all lie in one stage."""
        hits = sources[:, None] == np.arange(len(self.names))
        bad = np.flatnonzero((self._scaled_excess(stage, hits) > 0).any(axis=1))
        ends = hits[: int(bad[0]) + 1 if bad.size else len(hits)].sum(axis=0).tolist()
        after = replace(
            self, counts=tuple(old + new for old, new in zip(self.counts, ends, strict=True))
        )
        if bad.size:
            check_counts(
                self.timeline,
                after.counts,
                after.num_rows,
                names=self.names,
                bound=self.bound,
                where=where,
            )
        return after

    def _scaled_excess(self, stage: int, hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
        """By how much |deviation| exceeds the bound at each row, in whole parts of a row."""
        shares = self.timeline.stages[stage].shares
        # What each source is ahead by now; within the stage, only its shares and rows count.
        ahead = deviation(self.timeline, self.counts, self.num_rows)
        scale = common_denominator((*shares, *ahead, self.bound))
        # Machine integers where they are wide enough, Python's where they are not.
        kind = np.dtype(object if scale * (len(hits) + 4) >= 1 << 62 else np.int64)
        counts = np.cumsum(hits, axis=0).astype(kind) * scale
        counts += np.array([int(rows * scale) for rows in ahead], dtype=kind)
        rows = np.arange(1, len(hits) + 1).astype(kind)
        ideal = rows[:, None] * np.array([int(share * scale) for share in shares], dtype=kind)
        excess: npt.NDArray[np.object_] = abs(counts - ideal) - int(self.bound * scale)
        return excess


def _violated(
    name: str, expected: Fraction, count: int, num_rows: int, bound: Fraction, *, where: str
) -> RecollectError:
    whole = max(num_rows, 1)
    return RecollectError(
        Reason.RATIO_VIOLATED,
        f"source {name!r} has {count} of {num_rows} rows "
        f"({format_percent(Fraction(count, whole))}); expected are {float(expected):g} "
        f"({format_percent(expected / whole)}), give or take {float(bound):.3g}",
        where=where,
        fix="Do not train on this; compare the batches with the plan.",
    )
