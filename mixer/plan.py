"""Plans: a mix, a snapshot and a tokenizer sealed under one hash, and the batches they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .batch import Batch, batch_digest
from .dealing import Dealing
from .errors import Reason, RecollectError
from .example import Purpose
from .lengthwise import LengthwiseSchedule
from .limits import RatioPolicy
from .measures import Measures
from .mix import Mix, OnExhaustion, Unit, canonical_json
from .packing import Packing, Pieces
from .rows import SourceRows
from .schedule import Schedule
from .source import SealedSource, SourceSnapshot
from .timeline import END, Stage, Timeline

Integers: TypeAlias = npt.NDArray[np.int64]
Booleans: TypeAlias = npt.NDArray[np.bool_]
Erased: TypeAlias = Mapping[str, Integers]
"""By source, the examples that have been erased since the plan was sealed."""
AnySchedule: TypeAlias = Schedule | LengthwiseSchedule

PLAN_VERSION = 2
"""Changes whenever the same plan would mean other batches: with any change to the schedule, the
permutation, the packing, the dealing or the measures. Golden vectors in the tests hold them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sealed plan; `sealing.seal` and `sealing.read_plan` make one."""

    plan_id: str
    mix: Mix
    policy: RatioPolicy | None
    """The floors and ceilings that it was checked against."""
    snapshot_id: str
    tokenizer_digest: str
    sources: tuple[SealedSource, ...]
    num_positions: int
    """Rows of the whole plan."""
    rows: tuple[SourceRows, ...] | None = field(compare=False, repr=False)
    """What each source serves; None while the measures that this depends on are missing."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return -(-self.num_positions // self.mix.batch_size)

    @property
    def needs_measures(self) -> bool:
        """Whether its batches depend on the lengths of examples."""
        return needs_measures(self.mix)

    @cached_property
    def schedule(self) -> AnySchedule:
        """Which source serves which position."""
        return schedule_for(self.mix, self.source_rows, self.num_positions)

    @property
    def source_rows(self) -> tuple[SourceRows, ...]:
        """What each source serves.

        Raises:
            RecollectError: `MEASURES_DIFFER`, if the plan needs measures and has none.
        """
        if self.rows is None:
            raise RecollectError(
                Reason.MEASURES_DIFFER,
                "the plan depends on the lengths of its examples, and they were not given",
                where=f"plan {self.plan_id[:12]}",
            )
        return self.rows

    def with_measures(self, measures: Mapping[str, Measures]) -> Plan:
        """This plan, able to say its batches.

        Raises:
            RecollectError: `MEASURES_DIFFER`, naming the first source whose measures are not those
                that the plan was sealed with.
        """
        if not self.needs_measures:
            return self
        for source in self.sources:
            given = measures[source.name].digest if source.name in measures else "none"
            if given != source.measures_digest:
                raise RecollectError(
                    Reason.MEASURES_DIFFER,
                    f"the measures of {source.name!r} have the digest {given[:12]}; the plan was "
                    f"sealed with {source.measures_digest[:12]}",
                    where=f"plan {self.plan_id[:12]}",
                )
        counts = [source.num_rows for source in self.sources]
        complete = replace(self, rows=source_rows(self.mix, counts, measures))
        complete._check_sealed(measures)
        return complete

    def _check_sealed(self, measures: Mapping[str, Measures]) -> None:
        """Refuses a plan that states other rows than sealing it with its measures would give."""
        served = [0] * len(self.sources)
        limited = [index for index, source in enumerate(self.sources) if source.limit is not None]
        if limited:
            served = self.schedule.served(self.num_positions).tolist()
        whole = self.num_positions == (self.mix.num_steps or 0) * self.mix.batch_size
        stopped = any(
            served[index] == self.sources[index].limit
            for index in limited
            if self.sources[index].on_exhaustion is OnExhaustion.STOP
        )
        as_measured = all(
            len(measures[source.name]) == source.num_examples and rows.num_rows == source.num_rows
            for source, rows in zip(self.sources, self.source_rows, strict=True)
        )
        within = all(served[index] <= (self.sources[index].limit or 0) for index in limited)
        if not (as_measured and within and (whole or stopped)):
            raise RecollectError(
                Reason.PLAN_TAMPERED,
                "the rows that the plan states are not those that its measures give",
                where=f"plan {self.plan_id[:12]}",
                fix="Fetch it anew from the service.",
            )

    def batch(self, step: int, erased: Erased | None = None) -> Batch:
        """The global batch of a step: a pure function of the plan, the step and what was erased."""
        first = self._first_position(step)
        last = min(first + self.mix.batch_size, self.num_positions)
        return self.at(np.arange(first, last, dtype=np.int64), step=step, erased=erased)

    def at(self, positions: Integers, *, step: int, erased: Erased | None = None) -> Batch:
        """The rows at given positions."""
        sources, ordinals = self.schedule.at(positions)
        examples, epochs = np.empty_like(ordinals), np.empty_like(ordinals)
        for index in _present(sources, len(self.sources)):
            here = sources == index
            gone = self._gone(index, erased or {})
            epochs[here], examples[here] = self.source_rows[index].restore_keys(
                ordinals[here], gone
            )
        return Batch(
            plan_id=self.plan_id,
            step=step,
            positions=positions,
            sources=sources,
            ordinals=ordinals,
            examples=examples,
            epochs=epochs,
        )

    def shard(self, step: int, rank: int, world_size: int, erased: Erased | None = None) -> Batch:
        """The rows of a step that one rank trains on; over all ranks they are the batch.

        Sizes of the shards of one step differ by at most one row. Only in a last, shorter step
        may a shard be empty.
        """
        return self.rows_of(step, 1, rank, world_size, erased)[0]

    def rows_of(
        self,
        first_step: int,
        num_steps: int,
        rank: int,
        world_size: int,
        erased: Erased | None = None,
    ) -> tuple[Batch, Integers]:
        """The rows of one rank in consecutive steps, and where in them each step begins and ends.

        Returns:
            One batch of all the rows, whose step is the first one, and the bounds
            int64[num_steps + 1] of the steps in it.

        Raises:
            RecollectError: `PLAN_OUT_OF_RANGE` or `RANK_INVALID`.
        """
        dealing = self.dealing(world_size)
        if not 0 <= rank < world_size:
            raise RecollectError(
                Reason.RANK_INVALID,
                f"{world_size} ranks have numbers 0 … {world_size - 1}, not {rank}",
                where="rank",
            )
        batch_size = self.mix.batch_size
        first, last = (
            self._first_position(step) for step in (first_step, first_step + num_steps - 1)
        )
        positions = np.arange(first, min(last + batch_size, self.num_positions), dtype=np.int64)
        bounds = np.minimum(np.arange(num_steps + 1) * batch_size, len(positions))
        if world_size > 1:
            steps = range(first_step, first_step + num_steps)
            dealt = np.concatenate([dealing.ranks(step) for step in steps])
            mine = np.flatnonzero(dealt[: len(positions)] == rank)
            positions, bounds = positions[mine], np.searchsorted(mine, bounds)
        return self.at(positions, step=first_step, erased=erased), bounds

    def dealing(self, world_size: int) -> Dealing:
        """Which rank gets which row."""
        batch_size, num_positions = self.mix.batch_size, self.num_positions
        if self.mix.unit is Unit.EXAMPLES:
            stages = self.mix.timeline.stages
            return staged_dealing(stages, batch_size, world_size, num_positions)
        if world_size not in self._dealings:
            self._dealings[world_size] = Dealing(
                self.schedule, batch_size, world_size, num_positions
            )
        return self._dealings[world_size]

    @cached_property
    def _dealings(self) -> dict[int, Dealing]:
        """Dealings of a schedule that is this plan's own, by world size."""
        return {}

    def pieces(self, batch: Batch, erased: Erased | None = None) -> Pieces:
        """What the rows of a batch hold, row by row: examples and ranges of their tokens.

        Of a row that holds erased examples and others, only the others are left.
        """
        parts = []
        for index in _present(batch.sources, len(self.sources)):
            rows = np.flatnonzero(batch.sources == index)
            found = self.source_rows[index].pieces(batch.examples[rows])
            kept = ~np.isin(found.examples, self._erased(index, erased or {}))
            columns = (rows[found.rows], found.examples, found.starts, found.stops)
            parts.append([column[kept] for column in columns])
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        return Pieces(*(column[order] for column in joined))

    def require(self, purpose: Purpose) -> None:
        """Refuses to use a plan for what it was not sealed for.

        Raises:
            RecollectError: `MIX_PURPOSE`.
        """
        if self.mix.purpose is not purpose:
            raise RecollectError(
                Reason.MIX_PURPOSE,
                f"the plan was sealed to {self.mix.purpose}, not to {purpose}",
                where=f"plan {self.plan_id[:12]}",
                fix="Train on a plan of training sources; evaluate on a plan of held-out ones.",
            )

    def to_json(self) -> str:
        """Canonical JSON of the plan, plan id included."""
        return canonical_json({**self.content(), "plan_id": self.plan_id})

    def content(self) -> dict[str, Any]:
        """What the plan id is the hash of."""
        return {
            "version": PLAN_VERSION,
            "mix": self.mix.model_dump(mode="json"),
            "policy": self.policy.model_dump(mode="json") if self.policy else None,
            "snapshot_id": self.snapshot_id,
            "tokenizer_digest": self.tokenizer_digest,
            "num_positions": self.num_positions,
            "sources": [
                {
                    "name": source.name,
                    "num_examples": source.num_examples,
                    "num_rows": source.num_rows,
                    "content_digest": source.content_digest,
                    "measures_digest": source.measures_digest,
                }
                for source in self.sources
            ],
        }

    def _first_position(self, step: int) -> int:
        if not 0 <= step < self.num_steps:
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"the plan has steps 0 … {self.num_steps - 1}, and {step} is none of them",
                where=f"plan {self.plan_id[:12]}",
            )
        return step * self.mix.batch_size

    def _gone(self, index: int, erased: Erased) -> Booleans | None:
        """For each row of a source, whether nothing of it is left; None where all is there."""
        source, rows = self.sources[index], self.source_rows[index]
        examples = self._erased(index, erased)
        if not len(examples):
            return None
        gone = np.zeros(source.num_examples, dtype=np.bool_)
        gone[examples] = True
        if self.mix.packing is not Packing.NONE and rows.packs is not None:
            gone = rows.packs.erased_packs(gone)
        if gone.all():
            raise RecollectError(
                Reason.MIX_EMPTY_SOURCE,
                f"every example of source {source.name!r} has been erased",
                where=f"plan {self.plan_id[:12]}",
                fix="Seal a new plan without it.",
            )
        return gone

    def _erased(self, index: int, erased: Erased) -> Integers:
        """The examples of a source that are erased, as row numbers that it has."""
        source = self.sources[index]
        examples = np.asarray(erased.get(source.name, _NONE))
        if not examples.size:
            return _NONE
        known = examples.dtype.kind in "iu" and 0 <= examples.min() <= examples.max()
        if not known or int(examples.max()) >= source.num_examples:
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"erased examples are row numbers 0 … {source.num_examples - 1}",
                where=f"erased[{source.name!r}]",
            )
        return examples.astype(np.int64)


_NONE = np.empty(0, dtype=np.int64)


def _present(sources: Integers, num_sources: int) -> list[int]:
    """The sources that rows are of, rising; several times as fast as sorting them."""
    return np.flatnonzero(np.bincount(sources, minlength=num_sources)).tolist()


def needs_measures(mix: Mix) -> bool:
    """Whether the batches of a mix depend on the lengths of examples."""
    return mix.unit is not Unit.EXAMPLES or mix.packing is not Packing.NONE


def source_rows(
    mix: Mix, num_rows: Sequence[int], measures: Mapping[str, Measures]
) -> tuple[SourceRows, ...]:
    """What each source of a mix serves, given the examples or rows of each."""
    if not needs_measures(mix):
        return tuple(
            SourceRows(item.source, mix.seed, count)
            for item, count in zip(mix.sources, num_rows, strict=True)
        )
    return tuple(
        SourceRows.packed(
            item.source,
            mix.seed,
            measures[item.source],
            capacity=mix.max_length,
            packing=mix.packing,
        )
        for item in mix.sources
    )


def weights_of(unit: Unit, rows: SourceRows) -> Integers:
    """What the rows of a source count for."""
    return rows.supervised_tokens if unit is Unit.SUPERVISED_TOKENS else rows.tokens


def schedule_for(mix: Mix, rows: Sequence[SourceRows], num_positions: int) -> AnySchedule:
    """The schedule of a mix whose sources serve these rows."""
    if mix.unit is Unit.EXAMPLES:
        return staged_schedule(mix.timeline.stages)
    weights = [partial(item.in_order, weights_of(mix.unit, item)) for item in rows]
    return LengthwiseSchedule(mix.timeline, weights, num_positions)


@lru_cache(maxsize=32)
def staged_schedule(stages: tuple[Stage, ...]) -> Schedule:
    """The schedule of these stages, kept for the next who asks."""
    return Schedule(Timeline(stages))


@lru_cache(maxsize=32)
def staged_dealing(
    stages: tuple[Stage, ...], batch_size: int, world_size: int, num_positions: int
) -> Dealing:
    """The dealing of these stages, kept for the next who asks."""
    return Dealing(staged_schedule(stages), batch_size, world_size, num_positions)


def schedule_of(shares: tuple[Fraction, ...]) -> Schedule:
    """The schedule of shares that never change."""
    return staged_schedule(Timeline.constant(shares).stages)


def dealing_of(shares: tuple[Fraction, ...], batch_size: int, world_size: int) -> Dealing:
    """The dealing of shares that never change, for as long as anybody likes."""
    return staged_dealing(Timeline.constant(shares).stages, batch_size, world_size, END)


def plan_id_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


__all__ = [
    "Batch",
    "Erased",
    "Plan",
    "SealedSource",
    "SourceSnapshot",
    "batch_digest",
    "dealing_of",
    "schedule_of",
]
