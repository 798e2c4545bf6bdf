"""Queueing: rows of many sources by weight, each source at its share, as even as whole rows allow.

Rows weigh what they hold (tokens, or supervised tokens). The ideal serves all sources at once, each
at its share s of every token; its source i has been given s·W of the first W tokens. We serve whole
rows, and follow it by WF²Q (Bennett & Zhang, WF²Q: worst-case fair weighted fair queueing, 1996):
of the sources whose next row the ideal has begun by now, serve the one whose row it ends first,
the earlier source where two end at once.

*Bound.* At every prefix, with W served in all, w_i of source i, L_i its largest row and M_i the
largest row of the others, for all i

    w_i - s_i·W <= (1 - s_i)·L_i    and    s_i·W - w_i <= (1 - s_i)·L_i + s_i·M_i,

so no source is ever off by more than the largest row. *Ahead:* a row of weight w begins only where
w_i <= s_i·W; once it is served, w_i - s_i·W has grown by (1 - s_i)·w, and until the next one it
falls. *Behind:* let row p of source i be the next of i, let the ideal end it at F, and us at T. Let
q be the last row served before p that the ideal ends after F, begun at time t. What was served
after q up to T had not begun in the ideal at t, or it had gone before q; and it is over there by F.
All of it fits into F - t, so T <= F + (weight of q), and q is of another source, as rows of one
source end in order. (Without any q the same holds from time 0 on, and T <= F.) Just before p is
served, s_i·W - w_i = p - s_i·(F - W) with W = T - p, which is at most (1 - s_i)·p + s_i·q. The
sources' credits s·W - w sum to 0, so one of them is always ready to be served.

*A change of shares* keeps every credit. Let Z be what the sources that rest from now on (share 0)
are behind in all; the others must be ahead by as much, and are taken to owe it in proportion to
their shares: c_i = s_i·W - w_i + s_i·Z sums to 0 over them. With c_i in place of the credit the
proof stands within a stage, but without a q, the sources that were behind when it began, at W',
are served first. Let C be the sum of the positive c at W'. What is served from W' up to T is over
by F and at most C + (F - W') where F >= W', so T <= F + C. Where p was overdue at W', by d, it is
at most C - s_i·d, so T <= F + C + (1 - s_i)·d with s_i·d <= c_i - p. In both cases, c_i being that
at W',

    behind <= (1 - s_i)·max(L_i, c_i) + s_i·max(M_i, C),

and c_i never falls below -(1 - s_i)·L_i where it was not there before. Without resting sources C
is at most the sum of (1 - s_j)·L_j over the sources that were ahead: with two sources the bound
stays one row. A source that rests keeps its credit as it is.

A row of weight 0 is served as soon as its turn comes and moves no credit; the proof does not mind.
All times are exact: a whole number and a fraction over the source's share, never a float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .kernel import Kernel

Integers: TypeAlias = npt.NDArray[np.int64]
Weights: TypeAlias = Callable[[int, int], Integers]
"""The weights of a source's rows first … last - 1, in the order in which it serves them."""
LATER = 1 << 62
"""A time that never comes."""
FEW = 8
"""Sources up to which each is looked at for every row."""


class Lookahead:
    """The weights of the rows that come next, a few of each source at a time.

    Args:
        weights: what the rows of each source weigh.
        rows: how many of them have been served.
        reads: how many rows of each source are read at first; each later time it is twice as many,
            so that rare sources are not read far ahead, and busy ones not often.
        sizes: the most that are read at a time.
        most: what a row may weigh.
    """

    def __init__(
        self,
        weights: Sequence[Weights],
        rows: Integers,
        reads: Integers,
        sizes: Integers,
        most: int,
    ) -> None:
        self._weights = weights
        self._next = rows.copy()
        self._reads = reads.copy()
        self._most = most
        self._slots = np.concatenate(([0], np.cumsum(sizes)))
        self.buffer = np.empty(int(self._slots[-1]), dtype=np.int64)
        self.heads = self._slots[:-1].copy()
        """For each source, where its next row is in the buffer."""
        self.ends = self._slots[:-1].copy()
        """For each source, the end of what is in the buffer."""

    def refill(self) -> None:
        """Sees to it that every source has a next row.

        Where one has none, those that have few left are read on as well, all at one stop.
        """
        left = self.ends - self.heads
        if left.all():
            return
        for source in np.flatnonzero(2 * left <= self.ends - self._slots[:-1]).tolist():
            slot, kept, first = (int(of[source]) for of in (self._slots, left, self._next))
            room = int(self._slots[source + 1]) - slot
            size = min(int(self._reads[source]), room - kept)
            end = int(self.ends[source])
            self.buffer[slot : slot + kept] = self.buffer[end - kept : end]
            self.buffer[slot + kept : slot + kept + size] = self._read(source, first, first + size)
            self.heads[source], self.ends[source] = slot, slot + kept + size
            self._next[source] += size
            self._reads[source] = min(2 * size, room)

    def _read(self, source: int, first: int, last: int) -> Integers:
        found = np.asarray(self._weights[source](first, last))
        if found.shape != (last - first,) or found.dtype.kind not in "iu":
            raise ValueError(f"weights of source {source}: {last - first} whole numbers are due")
        if not 0 <= int(found.min()) <= int(found.max()) <= self._most:
            wrong = int(np.flatnonzero((found < 0) | (found > self._most))[0])
            raise RecollectError(
                Reason.MIX_INVALID,
                f"row {first + wrong} of source {source} weighs {found[wrong]}; the exact "
                f"arithmetic of these shares is good for 0 … {self._most}",
                where=f"sources[{source}]",
                fix="Use shares with a smaller common denominator, or shorter rows.",
            )
        return found.astype(np.int64, copy=False)


Arrays2: TypeAlias = tuple[Integers, Integers]
Arrays3: TypeAlias = tuple[Integers, Integers, Integers]


def _serve(
    done: int,
    clock: Integers,
    denominator: int,
    active: Integers,
    rates: Integers,
    times: Arrays2,
    ahead: Arrays3,
    served: Arrays2,
    out: Arrays3,
) -> int:
    """Serves one row after the other until all places are filled or a source's lookahead is empty.

    A time of source i is a whole number and a fraction over `rates[i]`; the clock's fraction is
    over the denominator and stays as it is. `times` is when the ideal begins each next row.

    Two tournaments are on: of the sources whose next row has not begun, for which begins first, and
    of those whose row has, for which ends first. A source of which either changes replays the games
    on its way up, so that a row takes the logarithm of the number of sources. Few sources are
    looked at one by one, which is quicker.
    """
    whole, part = times
    buffer, heads, ends = ahead
    rows, weights = served
    out_sources, out_ordinals, out_weights = out
    now, now_part = clock[0], clock[1]
    many = active.size > FEW
    width = 1
    while width < active.size:
        width *= 2
    # The players of game n are the winners of games 2n and 2n + 1; from game `width` on, sources.
    begins_first, ends_first = np.arange(2 * width) - width, np.arange(2 * width) - width
    # When the clock's whole number says that the ideal begins a row, and when it ends it; LATER in
    # the tournament that the source is not in.
    begin, end = np.full(width, LATER), np.full(width, LATER)
    due, due_part = np.empty(width, dtype=np.int64), np.empty(width, dtype=np.int64)

    def plan(i: int) -> None:
        """Works out when the next row of a source begins and ends."""
        row_begins = whole[i] + (part[i] * denominator > now_part * rates[i])
        product = part[i] + denominator * buffer[heads[active[i]]]
        quotient = product // rates[i]
        due[i], due_part[i] = whole[i] + quotient, product - quotient * rates[i]
        begin[i] = row_begins

    def replay_begins(i: int) -> None:
        """Plays the games for which row begins first that source i is in."""
        game, best, key = width + i, i, begin[i]
        while game > 1:
            other = begins_first[game ^ 1]
            other_key = begin[other]
            best = other if other_key < key else best
            key = min(key, other_key)
            game >>= 1
            begins_first[game] = best

    def replay_ends(i: int) -> None:
        """Plays the games for which row ends first that source i is in; of equals, the earlier."""
        game, best, key = width + i, i, end[i]
        while game > 1:
            other = ends_first[game ^ 1]
            other_key = end[other]
            wins = other_key < key
            if (other_key == key) & (key != LATER):
                mine, theirs = due_part[best] * rates[other], due_part[other] * rates[best]
                wins = theirs < mine or (theirs == mine and other < best)
            best = other if wins else best
            key = min(key, other_key)
            game >>= 1
            ends_first[game] = best

    def look() -> int:
        """Finds, of the rows that have begun, the one that ends first; of equals, the earlier."""
        best, first = -1, LATER
        for i in range(active.size):
            key = due[i] if begin[i] <= now else LATER
            if key <= first and (
                key < first or (best >= 0 and due_part[i] * rates[best] < due_part[best] * rates[i])
            ):
                best, first = i, key
        return best

    for i in range(active.size):
        plan(i)
    for game in range(width - 1, 0, -1):
        i, other = begins_first[2 * game], begins_first[2 * game + 1]
        begins_first[game] = other if begin[other] < begin[i] else i
        ends_first[game] = ends_first[2 * game]
    while done < out_sources.size:
        i = begins_first[1]
        while many and begin[i] <= now:
            begin[i], end[i] = LATER, due[i]
            replay_begins(i)
            replay_ends(i)
            i = begins_first[1]
        i = ends_first[1] if many else look()
        source = active[i]
        weight = buffer[heads[source]]
        out_sources[done] = source
        out_ordinals[done] = rows[source]
        out_weights[done] = weight
        done += 1
        rows[source] += 1
        weights[source] += weight
        now += weight
        whole[i], part[i] = due[i], due_part[i]
        heads[source] += 1
        if heads[source] == ends[source]:
            break
        plan(i)
        if not many:
            continue
        if begin[i] <= now:
            begin[i], end[i] = LATER, due[i]
        else:
            end[i] = LATER
            replay_begins(i)
        replay_ends(i)
    clock[0] = now
    return done


serve = Kernel(_serve)
