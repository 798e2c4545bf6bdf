"""Recounts a run from the ledger alone and compares it with the plan (laws 4 and 7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mixer.errors import Reason, RecollectError
from ..mixer.plan import Plan
from ..mixer.ratio import deviation
from .ledger import Entry
from .planbook import PlanBook


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
    max_deviation: tuple[Fraction, ...]
    """Largest |served - share * n| per source over the ends of those steps."""
    differences: tuple[str, ...]
    """Where the run departs from the plan, in words."""
    finished: bool
    measurements: tuple[Mapping[str, Any], ...]


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


def audit_run(run_id: str, entries: Iterable[Entry], planbook: PlanBook) -> RunAudit:
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
        if entry.kind == "run_started":
            started = entry.body
        elif entry.kind == "batch_acknowledged":
            acknowledgements.append(entry)
        elif entry.kind == "run_finished":
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
    names = [source.name for source in plan.sources]
    shares = [source.share for source in plan.sources]
    trained: NDArray[np.int64] = np.zeros(len(names), dtype=np.int64)
    worst = [Fraction(0)] * len(names)
    differences: list[str] = []
    num_rows = step = 0
    while step in shards:
        for rank, body in sorted(shards[step].items()):
            shard = plan.shard(step, rank, int(body["world_size"]))
            if shard.digest.hex() != body["digest"]:
                differences.append(f"step {step}, rank {rank}: the digest is not the plan's")
            strange = sorted(set(body["counts"]) - set(names))
            if strange:
                differences.append(f"step {step}, rank {rank}: rows of {', '.join(strange)}")
            trained += [int(body["counts"].get(name, 0)) for name in names]
        num_rows += len(plan.batch(step))
        for index, error in enumerate(deviation(shares, [int(n) for n in trained], num_rows)):
            worst[index] = max(worst[index], abs(error))
        step += 1
    if finished is not None and step < plan.num_steps:
        differences.append(f"finished after {step} of {plan.num_steps} steps")
    beyond = sorted(s for s in shards if s > step)
    if beyond:
        differences.append(f"step {step} is missing, yet step {beyond[0]} was acknowledged")
    planned = plan.schedule.served(num_rows).tolist()
    differences += [
        f"{name}: trained on {has} rows, planned {wants}"
        for name, has, wants in zip(names, trained, planned, strict=True)
        if has != wants
    ]
    differences += [
        f"{name}: off its share by {float(error):.2f} rows"
        for name, error in zip(names, worst, strict=True)
        if error >= 1
    ]
    return RunAudit(
        plan=plan,
        num_steps=step,
        trained=tuple(int(n) for n in trained),
        planned=tuple(int(n) for n in planned),
        max_deviation=tuple(worst),
        differences=tuple(differences),
        finished=finished is not None,
        measurements=tuple(finished["measurements"]) if finished else (),
    )
