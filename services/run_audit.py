"""Recounts a run from the ledger alone and compares it with the plan (laws 4 and 7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..mixer.errors import Reason, RecollectError
from ..mixer.holding import holding
from ..mixer.mix import Unit
from ..mixer.plan import Plan
from ..mixer.ratio import deviation
from ..mixer.weighing import Weighing
from .ledger import Entry, Kind

Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAudit:
    """What the ledger says of a run."""

    plan: Plan
    num_steps: int
    """Steps that every rank acknowledged, without a gap from the first."""
    trained: tuple[int, ...]
    """Rows per source over those steps."""
    planned: tuple[int, ...]
    """Rows per source that the plan prescribes for them."""
    tokens: tuple[int, ...] | None
    """Tokens per source over them; None where an older acknowledgement does not say."""
    supervised_tokens: tuple[int, ...] | None
    """Those of the tokens that are supervised."""
    max_deviation: tuple[Fraction, ...]
    """Largest |served - owed| per source over the ends of those steps, in the unit of the plan."""
    differences: tuple[str, ...]
    """Where the run departs from the plan, in words."""
    finished: bool
    measurements: tuple[Mapping[str, Any], ...]

    @property
    def realised(self) -> tuple[Fraction, ...]:
        """Each source's share of what was trained on, in the unit of the plan; 0 of nothing."""
        by_unit = {
            Unit.EXAMPLES: self.trained,
            Unit.TOKENS: self.tokens,
            Unit.SUPERVISED_TOKENS: self.supervised_tokens,
        }
        amounts = by_unit[self.plan.mix.unit] or (0,) * len(self.trained)
        whole = max(1, sum(amounts))
        return tuple(Fraction(amount, whole) for amount in amounts)


def _shards(acknowledgements: Iterable[Entry]) -> dict[int, dict[int, Mapping[str, Any]]]:
    """Step → rank → acknowledgement, of the steps that every rank of one world acknowledged.

    A run may be resumed with another number of ranks; the global batch is the same for any.
    """
    worlds: dict[tuple[int, int], dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for entry in acknowledgements:
        body: Mapping[str, Any] = entry.body
        worlds[int(body["step"]), int(body["world_size"])][int(body["rank"])] = body
    return {
        step: shards
        for (step, world_size), shards in worlds.items()
        if set(shards) == set(range(world_size))
    }


class Plans(Protocol):
    """Where sealed plans are found."""

    def plan(self, plan_id: str, /) -> Plan:
        """The plan, able to say its batches; raises PLAN_UNKNOWN."""
        ...


def audit_run(run_id: str, entries: Iterable[Entry], planbook: Plans) -> RunAudit:
    """Recounts a run.

    Raises:
        RecollectError: RUN_UNKNOWN.
    """
    started: Mapping[str, Any] | None = None
    finished: Mapping[str, Any] | None = None
    acknowledgements = []
    for entry in entries:
        if entry.body.get("run_id") != run_id:
            continue
        if entry.kind == Kind.RUN_STARTED:
            started = entry.body
        elif entry.kind == Kind.BATCH_ACKNOWLEDGED:
            acknowledgements.append(entry)
        elif entry.kind == Kind.RUN_FINISHED:
            finished = entry.body
    if started is None:
        raise RecollectError(
            Reason.RUN_UNKNOWN,
            "the ledger has no such run.",
            where=run_id,
            fix="`recollect audit log --kind run_started` lists the runs.",
        )
    plan = planbook.plan(str(started["plan_id"]))
    return _recount(plan, acknowledgements, finished)


def _recount(
    plan: Plan, acknowledgements: list[Entry], finished: Mapping[str, Any] | None
) -> RunAudit:
    shards = _shards(acknowledgements)
    count = _Recount(plan)
    while count.num_steps in shards:
        count.step(shards[count.num_steps])
    count.conclude(sorted(shards), finished=finished is not None)
    return RunAudit(
        plan=plan,
        num_steps=count.num_steps,
        trained=_whole(count.trained),
        planned=_whole(plan.schedule.served(count.num_rows)),
        tokens=_known(count.tokens),
        supervised_tokens=_known(count.supervised_tokens),
        max_deviation=tuple(count.worst),
        differences=tuple(count.differences),
        finished=finished is not None,
        measurements=tuple(finished["measurements"]) if finished else (),
    )


class _Recount:
    """What the steps that are counted so far amount to."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._names = [source.name for source in plan.sources]
        self._by_rows = plan.mix.unit is Unit.EXAMPLES
        self._weighing = None if self._by_rows else Weighing(plan)
        self._beyond: set[int] = set()
        self.num_steps = self.num_rows = 0
        self.trained: Integers = np.zeros(len(self._names), dtype=np.int64)
        self.tokens: Integers | None = np.zeros_like(self.trained)
        self.supervised_tokens: Integers | None = np.zeros_like(self.trained)
        self.worst = [Fraction(0)] * len(self._names)
        self.differences: list[str] = []

    def step(self, shards: Mapping[int, Mapping[str, Any]]) -> None:
        """Counts the next step, from the acknowledgements of its ranks."""
        before = self._weights
        for rank, body in sorted(shards.items()):
            self._shard(f"step {self.num_steps}, rank {rank}", rank, body)
        self.num_rows += len(self._plan.batch(self.num_steps))
        self._deviate(before)
        self.num_steps += 1

    def conclude(self, steps: list[int], *, finished: bool) -> None:
        """Says what can be told only of the whole."""
        if finished and self.num_steps < self._plan.num_steps:
            self.differences.append(
                f"finished after {self.num_steps} of {self._plan.num_steps} steps"
            )
        if beyond := [step for step in steps if step > self.num_steps]:
            self.differences.append(
                f"step {self.num_steps} is missing, yet step {beyond[0]} was acknowledged"
            )
        planned = self._plan.schedule.served(self.num_rows).tolist()
        self.differences += [
            f"{name}: trained on {has} rows, planned {wants}"
            for name, has, wants in zip(self._names, self.trained.tolist(), planned, strict=True)
            if has != wants
        ]
        self.differences += [
            f"{self._names[index]}: off its share by {float(self.worst[index]):.2f} {self._noun}"
            for index in sorted(self._beyond)
        ]

    @property
    def _noun(self) -> str:
        return "rows" if self._by_rows else self._plan.mix.unit.replace("_", " ")

    @property
    def _weights(self) -> Integers | None:
        """Of the unit of the plan, what was trained on so far; None where nobody said."""
        match self._plan.mix.unit:
            case Unit.EXAMPLES:
                return self.trained
            case Unit.TOKENS:
                return self.tokens
            case Unit.SUPERVISED_TOKENS:
                return self.supervised_tokens

    def _shard(self, where: str, rank: int, body: Mapping[str, Any]) -> None:
        shard = self._plan.shard(self.num_steps, rank, int(body["world_size"]))
        held = holding(self._plan, shard)
        if held.digest.hex() != body["digest"]:
            self.differences.append(f"{where}: the digest is not the plan's")
        strange = sorted(set(body["counts"]) - set(self._names))
        if strange:
            self.differences.append(f"{where}: rows of {', '.join(strange)}")
        self.trained = self.trained + self._by_source(body["counts"])
        self.tokens = self._added(self.tokens, body, "tokens", held.num_tokens, where)
        self.supervised_tokens = self._added(
            self.supervised_tokens, body, "supervised_tokens", held.num_supervised_tokens, where
        )

    def _added(
        self,
        so_far: Integers | None,
        body: Mapping[str, Any],
        name: str,
        planned: Integers | None,
        where: str,
    ) -> Integers | None:
        """A count with that of a shard; None where an older acknowledgement does not have it."""
        if name not in body:
            if planned is not None:
                self.differences.append(f"{where}: the {name.replace('_', ' ')} were not counted")
            return None
        counted = self._by_source(body[name])
        if planned is not None and not np.array_equal(counted, planned):
            self.differences.append(f"{where}: the {name.replace('_', ' ')} are not the plan's")
        return None if so_far is None else so_far + counted

    def _by_source(self, counts: Mapping[str, Any]) -> Integers:
        return np.array([int(counts.get(name, 0)) for name in self._names], dtype=np.int64)

    def _deviate(self, before: Integers | None) -> None:
        """Holds the end of a step to the shares."""
        after = self._weights
        if self._weighing is None:
            errors = deviation(self._plan.mix.timeline, self.trained, self.num_rows)
            beyond = [index for index, error in enumerate(errors) if abs(error) >= 1]
        elif before is not None and after is not None:
            self._weighing.add(self.num_steps, after - before)
            errors, beyond = self._weighing.deviation, self._weighing.beyond
        else:
            return
        self._beyond.update(beyond)
        self.worst = [max(was, abs(error)) for was, error in zip(self.worst, errors, strict=True)]


def _whole(amounts: Integers) -> tuple[int, ...]:
    return tuple(int(amount) for amount in amounts)


def _known(amounts: Integers | None) -> tuple[int, ...] | None:
    return None if amounts is None else _whole(amounts)
