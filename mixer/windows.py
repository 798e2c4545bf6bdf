"""Windows: in how many consecutive batches a floor holds, wherever one begins to count.

Let a set A of a of the k sources have the share s, and S(n) of the first n rows. The schedule keeps
every source within c = 1 - 1/(2k - 2) of its share at every prefix (Tijdeman, The chairman
assignment problem, 1980). The deviations of A add up, and since those of all sources cancel, the
others' do too:

    |S(n) - s·n| <= E = min(a, k - a)·c.

A window of w batches of B rows is the difference of two prefixes, so it has at least s·wB - 2E rows
of A. A floor f is kept in *every* window of w or more batches as soon as

    w >= 2E / ((s - f)·B),                                                               (1)

and read the other way round, a share of f + 2E/(wB) is enough for windows of w batches. With s = f
no w follows from (1), but after one period of the schedule, of D rows, every count is exact: a
window of lcm(D, B)/B batches keeps any floor up to s. So there is always a w. (Where shares change
along the way, the schedule keeps the same bound, (1) holds with the least s, and there need not be
a period.)

The smallest is found by counting: with g(j) = S(jB) - f·jB, a window of w batches beginning with
batch i keeps the floor if and only if g(i + w) >= g(i). All i of one period are compared for the
smallest w that is left; if one fails, all other w that fail for the same i are struck out with it.

A ceiling for A is a floor for the other sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .limits import BASIS_POINTS
from .ratio import schedule_bound
from .schedule import Schedule
from .shares import format_percent

Integers: TypeAlias = npt.NDArray[np.int64]

LONGEST_EXAMINED = 1 << 20
"""Rows of a schedule that are counted; beyond that the bound is used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The windows in which a limit holds."""

    num_batches: int | None
    """Consecutive batches in which the limit holds wherever they begin; None if there is no such
    number."""
    examined: bool
    """Whether the schedule was counted, and this is the smallest number that exists. Otherwise it
    follows from the bound of the schedule, and a smaller one may exist."""
    margin: Fraction
    """Rows by which the worst of these windows is within the limit, or may be by the bound."""


def prefix_bound(num_sources: int, num_members: int) -> Fraction:
    """Rows by which some of the sources together may deviate from their share at a prefix."""
    return min(num_members, num_sources - num_members) * schedule_bound(num_sources)


def guaranteed_window(slack: Fraction, bound: Fraction, batch_size: int) -> int | None:
    """Batches from which on every window keeps a limit, by (1); None if the slack is too small.

    Args:
        slack: share above the floor, or below the ceiling.
        bound: what `prefix_bound` says.
        batch_size: rows of a batch.
    """
    if slack < 0 or (slack == 0 and bound > 0):
        return None
    return max(1, math.ceil(2 * bound / (slack * batch_size))) if bound else 1


def required_margin(
    num_batches: int, *, num_sources: int, num_members: int, batch_size: int
) -> Fraction:
    """How far a share must be from its limit to keep it in every window of so many batches."""
    return 2 * prefix_bound(num_sources, num_members) / (num_batches * batch_size)


def smallest_window(
    schedule: Schedule,
    members: Sequence[int],
    floor: int,
    batch_size: int,
    *,
    num_batches: int | None = None,
) -> Window:
    """The fewest batches in which some sources together keep a floor, wherever one begins.

    Args:
        schedule: the order of sources.
        members: numbers of the sources, such as those of one role.
        floor: least share of the rows, in basis points.
        batch_size: rows of a batch.
        num_batches: batches of the plan, if windows have to lie within it; None for any length.
    """
    rows = None if num_batches is None else num_batches * batch_size
    if rows is not None and rows <= LONGEST_EXAMINED:
        excess = _excess(_counted(schedule, members, rows), floor, batch_size)
        return _examined(excess, len(excess), len(excess) - 1)
    if _is_constant(schedule) and schedule.period <= LONGEST_EXAMINED:
        return _examined_period(schedule, members, floor, batch_size, num_batches)
    return _by_bound(schedule, members, floor, batch_size, num_batches)


def smallest_window_below(
    schedule: Schedule,
    members: Sequence[int],
    ceiling: int,
    batch_size: int,
    *,
    num_batches: int | None = None,
) -> Window:
    """The fewest batches in which some sources together keep a ceiling, wherever one begins."""
    others = sorted(set(range(schedule.num_sources)) - set(members))
    return smallest_window(
        schedule, others, BASIS_POINTS - ceiling, batch_size, num_batches=num_batches
    )


def window_of_amounts(amounts: Integers, totals: Integers, floor: int) -> Window:
    """The fewest of the given batches in which a floor holds, wherever one begins.

    Args:
        amounts: what each batch has of some sources: rows, or the tokens in them.
        totals: what each batch has of all.
        floor: least share, in basis points. For a ceiling, give the amounts of the other sources
            and what the ceiling leaves for them.
    """
    excess = np.zeros(amounts.size + 1, dtype=np.int64)
    np.cumsum(amounts * BASIS_POINTS - totals * floor, out=excess[1:])
    return _examined(excess, excess.size, excess.size - 1)


def check_windows(
    counts: Integers,
    rows: Integers,
    floor: int,
    num_batches: int,
    *,
    where: str,
    first_step: int = 0,
) -> None:
    """Refuses served batches of which some consecutive ones are below a floor; the auditor's check.

    Args:
        counts: rows of the sources in question in each batch.
        rows: all rows of each batch.
        floor: least share of the rows, in basis points. For a ceiling, give the rows of the others
            and what the ceiling leaves for them.
        num_batches: length of a window.
        where: what the limit is for, such as `roles.refusal`.
        first_step: step of the first batch.

    Raises:
        RecollectError: `LIMIT_VIOLATED`, naming the first window that is below it.
    """
    excess = np.concatenate(([0], np.cumsum(counts * BASIS_POINTS - rows * floor)))
    num_windows = max(excess.size - num_batches, 0)
    below = np.flatnonzero(excess[num_batches:] < excess[:num_windows])
    if below.size:
        first = int(below[0])
        window = slice(first, first + num_batches)
        raise RecollectError(
            Reason.LIMIT_VIOLATED,
            f"{where} has {int(counts[window].sum())} of {int(rows[window].sum())} rows in steps "
            f"{first_step + first} to {first_step + first + num_batches - 1}, and must have "
            f"{format_percent(Fraction(floor, BASIS_POINTS))}",
            where=where,
            fix="Stop the run; these are not the batches of a plan that keeps the policy.",
        )


def _counted(schedule: Schedule, members: Sequence[int], num_rows: int) -> Integers:
    """S(0) … S(num_rows)."""
    sources, _ = schedule.at(np.arange(num_rows, dtype=np.int64))
    counts = np.zeros(num_rows + 1, dtype=np.int64)
    np.cumsum(np.isin(sources, list(members)), out=counts[1:])
    return counts


def _excess(counts: Integers, floor: int, batch_size: int) -> Integers:
    """g(0), g(1) …: rows above the floor after each batch, in ten thousandths of a row."""
    counts = counts[::batch_size]
    rows = np.arange(counts.size, dtype=np.int64) * batch_size
    return counts * BASIS_POINTS - rows * floor


def _examined_period(
    schedule: Schedule,
    members: Sequence[int],
    floor: int,
    batch_size: int,
    num_batches: int | None,
) -> Window:
    """Compares the windows that begin within one common period of schedule and batches."""
    counts = _counted(schedule, members, schedule.period)
    cycle = schedule.period // math.gcd(schedule.period, batch_size)
    laps, within = np.divmod(np.arange(2 * cycle + 1, dtype=np.int64) * batch_size, schedule.period)
    served = laps * counts[-1] + counts[within]
    rows = np.arange(served.size, dtype=np.int64) * batch_size
    longest = cycle if num_batches is None else min(cycle, num_batches)
    return _examined(served * BASIS_POINTS - rows * floor, cycle, longest)


def _examined(excess: Integers, num_starts: int, longest: int) -> Window:
    """The smallest window of at most `longest` batches that begins with one of the first batches.

    Windows end where `excess` does, so the longer ones have fewer beginnings.
    """
    possible = np.ones(longest + 1, dtype=np.bool_)
    possible[0] = False
    worst_gain = 0
    while possible.any():
        width = int(possible.argmax())
        starts = min(num_starts, excess.size - width)
        gains = excess[width : width + starts] - excess[:starts]
        worst = int(gains.argmin())
        worst_gain = int(gains[worst])
        if worst_gain >= 0:
            margin = Fraction(worst_gain, BASIS_POINTS)
            return Window(num_batches=width, examined=True, margin=margin)
        reach = min(longest, excess.size - 1 - worst)
        possible[1 : reach + 1] &= excess[worst + 1 : worst + reach + 1] >= excess[worst]
    return Window(num_batches=None, examined=True, margin=Fraction(worst_gain, BASIS_POINTS))


def _by_bound(
    schedule: Schedule,
    members: Sequence[int],
    floor: int,
    batch_size: int,
    num_batches: int | None,
) -> Window:
    """What (1) and the period guarantee."""
    share = min(
        sum((stage.shares[index] for index in members), Fraction(0))
        for stage in schedule.timeline.stages
    )
    slack = share - Fraction(floor, BASIS_POINTS)
    bound = prefix_bound(schedule.num_sources, len(members))
    width = guaranteed_window(slack, bound, batch_size)
    cycle = schedule.period // math.gcd(schedule.period, batch_size)
    if _is_constant(schedule) and slack >= 0 and (width is None or cycle < width):
        width, bound = cycle, Fraction(0)
    longest = width if num_batches is None else num_batches
    if width is None or longest is None or width > longest:
        margin = slack * batch_size * (longest or 1) - 2 * bound
        return Window(num_batches=None, examined=False, margin=margin)
    margin = slack * batch_size * width - 2 * bound
    return Window(num_batches=width, examined=False, margin=margin)


def _is_constant(schedule: Schedule) -> bool:
    """Whether its shares never change."""
    return len(schedule.timeline.stages) == 1
