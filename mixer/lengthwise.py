"""The length-aware schedule: shares of tokens, not of rows, by worst-case fair weighted queueing.

Rows weigh what they hold: tokens, or supervised tokens. `queueing` has the rule and what it is
proven to keep: without a change of shares, no source is ever off by more than the largest row.

The rule is sequential, so every few thousand positions a checkpoint is kept, going forward once. A
seek walks at most the block after one checkpoint.

A row of weight 0 is served as soon as its turn comes and moves no credit; the proof does not mind.
Such rows are served in a run, so a source must have weight: one that has none for as long as a
block of positions is refused.

Only where the stages' shares have no common denominator below 2**31 is anything rounded: what
sources are owed, down, at a change, by less than 2**-25 of a token.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import Reason, RecollectError
from .queueing import Lookahead, Weights, serve
from .timeline import Timeline

Integers: TypeAlias = npt.NDArray[np.int64]
BLOCK_LENGTH = 1 << 13
"""Positions between two checkpoints; the most that a seek walks."""
MOST_BLOCKS = 64
"""Blocks that are kept; 192 KiB each."""
LARGEST_DENOMINATOR = 1 << 31
FINE = 1 << 26
"""Credits are carried over a change in units no larger than twice one over this."""
LARGEST_PRODUCT = 1 << 61
SMALLEST_LOOKAHEAD = 128
"""Rows of a source whose weights are read at first."""
LONGEST_READ = 1 << 12
LOOKAHEAD = 1 << 20
"""Rows of all sources whose weights are read ahead, at most; 8 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """All that the future depends on, after some number of rows."""

    rows: Integers
    """Rows served of each source."""
    weights: Integers
    """Weight served of each source."""
    stage: int
    """Stage of the last row."""
    credits: Integers
    """What each source is owed: its share of all weight less what it was served, in units of one
    over the denominator of the stage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A stretch of positions."""

    sources: Integers
    ordinals: Integers
    weights: Integers


class LengthwiseSchedule:
    """The pure function from position to (source, ordinal), for shares of weight.

    Every block of positions leaves a checkpoint of 24 bytes per source (at four sources 12 KB for
    a million positions); they are laid down going forward, once. A seek walks one block.

    Args:
        timeline: the shares of weight, and from which position on they hold.
        weights: for each source, what its rows weigh. It is asked for rows a little beyond the
            last that is served, in any order and more than once, and must always say the same.
        num_positions: rows that may be asked for.

    Raises:
        RecollectError: MIX_SHARES where the shares' common denominator is too large; MIX_INVALID,
            later, where a row is too heavy or where nothing weighs anything.
    """

    def __init__(self, timeline: Timeline, weights: Sequence[Weights], num_positions: int) -> None:
        if len(weights) != timeline.num_sources:
            raise ValueError(f"{timeline.num_sources} sources, but weights of {len(weights)}")
        self.timeline = timeline
        self.num_sources = timeline.num_sources
        self.num_positions = num_positions
        self._denominators = _denominators(timeline)
        self.largest_weight = min(
            LARGEST_PRODUCT // (max(self._denominators) * (self.num_sources + 1)),
            LARGEST_PRODUCT // max(num_positions, 1),
        )
        """What a row may weigh so that nothing overflows."""
        self._weights = tuple(weights)
        zeros = np.zeros(self.num_sources, dtype=np.int64)
        self._checkpoints = [Checkpoint(rows=zeros, weights=zeros, stage=0, credits=zeros)]
        self._newest = -1, zeros  # the stage last served, and its amounts
        self._ahead: Lookahead | None = None
        """Where the newest checkpoint is."""
        self._again: tuple[int, Lookahead | None] = (-1, None)
        """At the block after the one that was last walked again, and its number."""
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, positions: Integers) -> tuple[Integers, Integers]:
        """The source of each position, and the number of earlier positions with that source."""
        positions = np.asarray(positions, dtype=np.int64)
        sources, ordinals = np.empty_like(positions), np.empty_like(positions)
        if not positions.size:
            return sources, ordinals
        lowest, highest = int(positions.min()), int(positions.max())
        if lowest < 0 or highest >= self.num_positions:
            wrong = lowest if lowest < 0 else highest
            raise _out_of_range(f"there is no position {wrong}", self.num_positions)
        if lowest // BLOCK_LENGTH == highest // BLOCK_LENGTH:
            block, within = self._block(lowest // BLOCK_LENGTH), positions % BLOCK_LENGTH
            return block.sources[within], block.ordinals[within]
        indexes = positions // BLOCK_LENGTH
        by_block = np.argsort(indexes, kind="stable")
        bounds = np.flatnonzero(np.diff(indexes[by_block])) + 1
        for here in np.split(by_block, bounds):
            index = int(indexes[here[0]])
            block, within = self._block(index), positions[here] - index * BLOCK_LENGTH
            sources[here], ordinals[here] = block.sources[within], block.ordinals[within]
        return sources, ordinals

    def position_of(self, source: int, ordinal: int) -> int:
        """The position at which `source` serves its row number `ordinal`.

        Raises:
            RecollectError: PLAN_OUT_OF_RANGE where that is not among the positions.
        """
        index = self._block_with(source, ordinal) if ordinal >= 0 else None
        if index is None:
            raise _out_of_range(f"source {source} serves no row {ordinal}", self.num_positions)
        block = self._block(index)
        hits = np.flatnonzero((block.sources == source) & (block.ordinals == ordinal))
        return index * BLOCK_LENGTH + int(hits[0])

    def served(self, num_positions: int) -> Integers:
        """Rows that each source serves in the first `num_positions` positions."""
        checkpoint, part = self._prefix(num_positions)
        return checkpoint.rows + np.bincount(part.sources, minlength=self.num_sources)

    def weight(self, num_positions: int) -> Integers:
        """Weight that each source serves in the first `num_positions` positions."""
        checkpoint, part = self._prefix(num_positions)
        weights = checkpoint.weights.copy()
        np.add.at(weights, part.sources, part.weights)
        return weights

    def credits(self, num_positions: int) -> list[Fraction]:
        """What each source is owed after a prefix: its share of all weight, less its own."""
        owed = [Fraction(0)] * self.num_sources
        before = self.weight(0)
        for number, stage in enumerate(self.timeline.stages):
            if stage.first_position >= num_positions:
                break
            after = self.weight(min(num_positions, self.timeline.end(number)))
            total = int((after - before).sum())
            owed = [was + share * total for was, share in zip(owed, stage.shares, strict=True)]
            before = after
        return [was - int(weight) for was, weight in zip(owed, before, strict=True)]

    def debt(self, stage: int) -> tuple[Fraction, Fraction]:
        """Z and C of `queueing`: what a stage of the timeline begins with."""
        shares = self.timeline.stages[stage].shares
        credits = self.credits(self.timeline.firsts[stage])
        pairs = list(zip(shares, credits, strict=True))
        resting = sum((credit for share, credit in pairs if not share), Fraction(0))
        behind = (max(credit + share * resting, Fraction(0)) for share, credit in pairs if share)
        return resting, sum(behind, Fraction(0))

    # Blocks and checkpoints.

    def _prefix(self, num_positions: int) -> tuple[Checkpoint, Block]:
        """The last checkpoint within a prefix, and what the prefix has after it."""
        if num_positions < 0 or num_positions > self.num_positions:
            raise _out_of_range(f"there is no prefix of {num_positions}", self.num_positions)
        index, within = divmod(num_positions, BLOCK_LENGTH)
        if not within:
            with self._lock:
                self._reach(index)
            return self._checkpoints[index], _EMPTY
        block = self._block(index)
        part = Block(
            sources=block.sources[:within],
            ordinals=block.ordinals[:within],
            weights=block.weights[:within],
        )
        return self._checkpoints[index], part

    def _block_with(self, source: int, ordinal: int) -> int | None:
        """The block in which a row is served, if it is."""
        with self._lock:
            while int(self._checkpoints[-1].rows[source]) <= ordinal:
                if (len(self._checkpoints) - 1) * BLOCK_LENGTH >= self.num_positions:
                    return None
                self._reach(len(self._checkpoints))
            return bisect_right(self._checkpoints, ordinal, key=lambda c: int(c.rows[source])) - 1

    def _block(self, index: int) -> Block:
        """A block, from the cache or walked."""
        with self._lock:
            self._reach(index + 1)
            if index not in self._blocks:
                now, after = self._checkpoints[index : index + 2]
                follows, ahead = self._again
                self._again = -1, None  # as in `_reach`
                if ahead is None or follows != index:
                    ahead = self._lookahead(now, after.rows - now.rows + 1)
                self._keep(index, self._walk(index, ahead)[0])
                self._again = index + 1, ahead
            self._blocks.move_to_end(index)
            return self._blocks[index]

    def _keep(self, index: int, block: Block) -> None:
        self._blocks[index] = block
        if len(self._blocks) > MOST_BLOCKS:
            self._blocks.popitem(last=False)

    def _reach(self, index: int) -> None:
        """Goes forward until there is a checkpoint of this number."""
        while len(self._checkpoints) <= index:
            newest = len(self._checkpoints) - 1
            # Taken out meanwhile: a walk that fails leaves it somewhere in the middle.
            ahead, self._ahead = self._ahead, None
            if ahead is None:
                reads = np.full(self.num_sources, SMALLEST_LOOKAHEAD, dtype=np.int64)
                ahead = self._lookahead(self._checkpoints[newest], reads)
            block, checkpoint = self._walk(newest, ahead)
            self._keep(newest, block)
            self._checkpoints.append(checkpoint)
            self._ahead = ahead

    def _lookahead(self, checkpoint: Checkpoint, reads: Integers) -> Lookahead:
        """What comes after a checkpoint; so many rows of each source are read at first."""
        most = min(max(LOOKAHEAD // self.num_sources, SMALLEST_LOOKAHEAD), LONGEST_READ)
        sizes = np.maximum(reads, most)
        return Lookahead(self._weights, checkpoint.rows, reads, sizes, self.largest_weight)

    # Walking.

    def _walk(self, index: int, ahead: Lookahead) -> tuple[Block, Checkpoint]:
        """Serves a block of positions from its checkpoint on."""
        first = index * BLOCK_LENGTH
        last = min(first + BLOCK_LENGTH, self.num_positions)
        sources, ordinals, weights = np.empty((3, last - first), dtype=np.int64)
        block = Block(sources=sources, ordinals=ordinals, weights=weights)
        checkpoint = self._checkpoints[index]
        while first < last:
            stage = self.timeline.stage_at(first)
            end = min(last, self.timeline.end(stage))
            base = index * BLOCK_LENGTH
            part = Block(
                sources=sources[first - base : end - base],
                ordinals=ordinals[first - base : end - base],
                weights=weights[first - base : end - base],
            )
            checkpoint = self._serve(stage, checkpoint, ahead, part)
            first = end
        if sources.size == BLOCK_LENGTH and not weights.any():
            raise RecollectError(
                Reason.MIX_INVALID,
                f"the {BLOCK_LENGTH} rows from position {index * BLOCK_LENGTH} on weigh nothing, "
                "all of them; shares of nothing cannot be kept",
                where=f"sources[{sources[-1]}]",
                fix="Leave out the source, or use a unit in which it has weight.",
            )
        return block, checkpoint

    def _amounts(self, stage: int) -> Integers:
        """The shares of a stage over its denominator."""
        if self._newest[0] != stage:
            shares = self.timeline.stages[stage].shares
            amounts = np.array(
                [int(share * self._denominators[stage]) for share in shares], dtype=np.int64
            )
            self._newest = stage, amounts
        return self._newest[1]

    def _serve(self, stage: int, before: Checkpoint, ahead: Lookahead, part: Block) -> Checkpoint:
        """Serves positions of one stage; fills `part` and returns what the future depends on."""
        amounts = self._amounts(stage)
        active = np.flatnonzero(amounts)
        rates = amounts[active]
        denominator = self._denominators[stage]
        rows, weights, credits = before.rows.copy(), before.weights.copy(), before.credits.copy()
        if before.stage != stage:
            unit = self._denominators[before.stage]
            credits[:] = [credit * denominator // unit for credit in credits.tolist()]
        # Times are in units of weight served in all. A source with a credit began earlier.
        total = int(weights.sum())
        times = (total + -credits[active] // rates, -credits[active] % rates)
        # The credits sum to 0, so this is what resting sources are owed.
        whole, fraction = divmod(-int(credits[active].sum()), denominator)
        clock = np.array([total + whole, fraction], dtype=np.int64)
        run = serve.of_size(part.sources.size)
        done = 0
        while done < part.sources.size:
            ahead.refill()
            done = run(
                done,
                clock,
                denominator,
                active,
                rates,
                times,
                (ahead.buffer, ahead.heads, ahead.ends),
                (rows, weights),
                (part.sources, part.ordinals, part.weights),
            )
        credits[active] = rates * (int(clock[0]) - whole - times[0]) - times[1]
        return Checkpoint(rows=rows, weights=weights, stage=stage, credits=credits)


_NOTHING = np.empty(0, dtype=np.int64)
_EMPTY = Block(sources=_NOTHING, ordinals=_NOTHING, weights=_NOTHING)


def _denominators(timeline: Timeline) -> list[int]:
    """For each stage, the denominator over which its shares and credits are whole numbers."""
    own = timeline.periods
    if max(own) >= LARGEST_DENOMINATOR:
        raise RecollectError(
            Reason.MIX_SHARES,
            f"the common denominator of the shares is {max(own)}; shares of weight are exact "
            f"below {LARGEST_DENOMINATOR}",
            where=f"timeline[{own.index(max(own))}]",
            fix="Write the shares with few digits, such as in hundredths of a per cent.",
        )
    common = math.lcm(*own)
    if common < LARGEST_DENOMINATOR:
        return [common] * len(own)
    return [denominator * max(FINE // denominator, 1) for denominator in own]


def _out_of_range(problem: str, num_positions: int) -> RecollectError:
    return RecollectError(
        Reason.PLAN_OUT_OF_RANGE, f"{problem}; there are {num_positions} positions"
    )
