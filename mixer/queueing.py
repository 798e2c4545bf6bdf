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


class Lookahead:
    """The weights of the rows that come next, a few of each source at a time."""

    def __init__(self, weights: Sequence[Weights], rows: Integers, sizes: Integers, most: int):
        self._weights = weights
        self._next = rows.copy()
        self._most = most
        self._slots = np.concatenate(([0], np.cumsum(sizes)))
        self.buffer = np.zeros(int(self._slots[-1]), dtype=np.int64)
        self.heads = self._slots[:-1].copy()
        """For each source, where its next row is in the buffer."""
        self.ends = self._slots[:-1].copy()
        """For each source, the end of what is in the buffer."""

    def refill(self) -> None:
        """Sees to it that every source has a next row."""
        for source in np.flatnonzero(self.heads == self.ends).tolist():
            first, slot = int(self._next[source]), int(self._slots[source])
            size = int(self._slots[source + 1]) - slot
            self.buffer[slot : slot + size] = self._read(source, first, first + size)
            self.heads[source], self.ends[source] = slot, slot + size
            self._next[source] += size

    def _read(self, source: int, first: int, last: int) -> Integers:
        found = np.asarray(self._weights[source](first, last))
        if found.shape != (last - first,) or found.dtype.kind not in "iu":
            raise ValueError(f"weights of source {source}: {last - first} whole numbers are due")
        wrong = np.flatnonzero((found < 0) | (found > self._most))
        if wrong.size:
            raise RecollectError(
                Reason.MIX_INVALID,
                f"row {first + wrong[0]} of source {source} weighs {found[wrong[0]]}; the exact "
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
    """
    whole, part = times
    buffer, heads, ends = ahead
    rows, weights = served
    out_sources, out_ordinals, out_weights = out
    # When the clock's whole number says that the ideal has begun the row, and when it ends it.
    ready = np.empty(active.size, dtype=np.int64)
    due, due_part = np.empty(active.size, dtype=np.int64), np.empty(active.size, dtype=np.int64)
    now, now_part = clock[0], clock[1]
    for i in range(active.size):
        ready[i] = whole[i] + (part[i] * denominator > now_part * rates[i])
        product = part[i] + denominator * buffer[heads[active[i]]]
        due[i] = whole[i] + product // rates[i]
        due_part[i] = product % rates[i]
    while done < out_sources.size:
        best, first = -1, LATER
        for i in range(active.size):
            key = due[i] if ready[i] <= now else LATER
            if key <= first and (
                key < first or (best >= 0 and due_part[i] * rates[best] < due_part[best] * rates[i])
            ):
                best, first = i, key
        source = active[best]
        weight = buffer[heads[source]]
        out_sources[done] = source
        out_ordinals[done] = rows[source]
        out_weights[done] = weight
        done += 1
        rows[source] += 1
        weights[source] += weight
        now += weight
        whole[best], part[best] = due[best], due_part[best]
        heads[source] += 1
        if heads[source] == ends[source]:
            break
        ready[best] = whole[best] + (part[best] * denominator > now_part * rates[best])
        product = part[best] + denominator * buffer[heads[source]]
        quotient = product // rates[best]
        due[best] = whole[best] + quotient
        due_part[best] = product - quotient * rates[best]
    clock[0] = now
    return done


serve = Kernel(_serve)
