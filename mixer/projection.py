"""The projection: the shares nearest to those wanted, among the ones that are allowed.

Wanted are any positive numbers; allowed are whole basis points that sum to 100 %, keep the floors
and ceilings of every source and role, and differ from the shares in force by at most a step. The
nearest by squared distance is found exactly, by giving out one basis point after the other:

  1. every source gets the least that it may have;
  2. while a role has less than its least, its source that is furthest below its wish gets one;
  3. while there are any left, the source that is furthest below its wish gets one, if neither it
     nor its role is full.

Squared distance is convex and the limits are nested sums, so what is best for a role with t basis
points is contained in what is best with t + 1, the role's distance is convex in t, and giving to
the one in greatest need is optimal both within a role and between roles (a greedy algorithm on a
polymatroid: Federgruen and Groenevelt, 1986). Where no limit is in the way, the result is that of
largest remainders. Ties go to the earlier source.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from .errors import Reason, RecollectError
from .example import Role
from .limits import BASIS_POINTS, Limits

Points: TypeAlias = tuple[int, ...]
"""Shares of all sources in whole basis points, in the order of the mix."""


def to_shares(points: Sequence[int]) -> tuple[Fraction, ...]:
    """Basis points as exact shares."""
    return tuple(Fraction(value, BASIS_POINTS) for value in points)


def project(
    wanted: Sequence[Fraction] | Sequence[int],
    limits: Limits,
    *,
    current: Sequence[int] | None = None,
    step: int = BASIS_POINTS,
    totals: dict[Role, int] | None = None,
) -> Points:
    """The allowed shares that are nearest to those wanted.

    Args:
        wanted: of each source, 0 or more and not all 0; only their ratios count.
        limits: floors and ceilings.
        current: shares in force, in basis points; None if any change is allowed.
        step: greatest change of a source's share, in basis points.
        totals: shares that roles are to have exactly, if they are decided already.

    Raises:
        RecollectError: `LIMIT_VIOLATED`, if the shares in force are so far outside the limits that
            one step does not lead back.
    """
    if not sum(wanted) or min(wanted) < 0:
        raise ValueError("wanted shares are 0 or more, and not all 0")
    scale = math.lcm(*(Fraction(value).denominator for value in wanted))
    wishes = [int(value * scale) for value in wanted]
    lows, highs = list(limits.floors), list(limits.ceilings)
    if current is not None:
        lows = [max(low, was - step) for low, was in zip(lows, current, strict=True)]
        highs = [min(high, was + step) for high, was in zip(highs, current, strict=True)]
    filling = _Filling(
        wishes=[BASIS_POINTS * wish for wish in wishes],
        weight=sum(wishes),
        highs=highs,
        roles=[role for _, role in limits.sources],
        points=lows,
        room={},
    )
    reached = all(low <= high for low, high in zip(lows, highs, strict=True))
    ranges = {**limits.roles, **{role: (total, total) for role, total in (totals or {}).items()}}
    for role, (low, high) in ranges.items():
        members = limits.members(role)
        total = sum(lows[index] for index in members)
        filling.room[role] = high - total
        reached = reached and total <= high and filling.give(max(low - total, 0), members)
    if not reached or not filling.give(BASIS_POINTS - sum(lows), range(len(wishes))):
        raise _out_of_reach(step)
    return tuple(filling.points)


@dataclass(kw_only=True, slots=True)
class _Filling:
    """Basis points as they are given out."""

    wishes: Sequence[int]
    """What each source wants, times `weight`."""
    weight: int
    highs: Sequence[int]
    roles: Sequence[Role]
    points: list[int]
    room: dict[Role, int]
    """Basis points that each role may still get."""

    def give(self, amount: int, members: Iterable[int]) -> bool:
        """Gives basis points, one by one, to who is furthest below its wish; False if it cannot.

        All that would be given below a level of need is given at once, the rest one by one.
        """
        groups: dict[Role, list[int]] = {}
        for index in members:
            groups.setdefault(self.roles[index], []).append(index)
        rooms = [(group, self.room[role]) for role, group in groups.items()]
        level = self._level(amount, rooms)
        for group, room in rooms:
            if sum(self._below(index, level) for index in group) > room:
                amount -= room
                own = self._level(room, [(group, room + 1)])  # + 1: too much must be seen as such
                self._raise(group, own)
                self._one_by_one(self.room[self.roles[group[0]]], group)
            else:
                amount -= self._raise(group, level)
        return self._one_by_one(amount, [index for group, _ in rooms for index in group])

    def _level(self, amount: int, rooms: Sequence[tuple[list[int], int]]) -> int:
        """The highest level of need up to which no more than the amount is given."""
        everyone = [index for group, _ in rooms for index in group]
        low = min((self._need(index) for index in everyone), default=0)
        high = max((self.highs[i] * self.weight - self.wishes[i] for i in everyone), default=0)
        while low < high:
            level = (low + high + 1) // 2
            given = sum(
                min(room, sum(self._below(index, level) for index in group))
                for group, room in rooms
            )
            low, high = (level, high) if given <= amount else (low, level - 1)
        return low

    def _below(self, index: int, level: int) -> int:
        """Basis points that a source would get while its need is below a level."""
        until = -((-level - self.wishes[index]) // self.weight)
        return max(min(until, self.highs[index]) - self.points[index], 0)

    def _raise(self, group: Sequence[int], level: int) -> int:
        """Gives to the sources of one role all that is below a level; how much that was."""
        given = 0
        for index in group:
            added = self._below(index, level)
            self.points[index] += added
            given += added
        self.room[self.roles[group[0]]] -= given
        return given

    def _one_by_one(self, amount: int, members: Iterable[int]) -> bool:
        queue = [(self._need(index), index) for index in members]
        heapq.heapify(queue)
        while amount > 0 and queue:
            _, index = heapq.heappop(queue)
            if self.points[index] < self.highs[index] and self.room[self.roles[index]]:
                self.points[index] += 1
                self.room[self.roles[index]] -= 1
                amount -= 1
                heapq.heappush(queue, (self._need(index), index))
        return amount == 0

    def _need(self, index: int) -> int:
        """How far a source is above its wish: the growth of the squared distance, but for scale."""
        return self.points[index] * self.weight - self.wishes[index]


def _out_of_reach(step: int) -> RecollectError:
    return RecollectError(
        Reason.LIMIT_VIOLATED,
        f"no shares within {step} basis points of those in force keep the limits",
        where="shares",
        fix="Bring the mix within the limits of its policy first, or allow a greater step.",
    )
