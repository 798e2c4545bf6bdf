"""Plans: a mix, a snapshot and a tokenizer sealed under one hash, and the batches they mean."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .batch import Batch, batch_digest
from .dealing import Dealing
from .errors import Reason, RecollectError
from .example import Purpose, Role
from .mix import Mix, OnExhaustion, SourceShare, canonical_json
from .permutation import permutation_of
from .schedule import Schedule

Integers: TypeAlias = npt.NDArray[np.int64]

PLAN_VERSION = 1
"""Changes whenever the same plan would mean other batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSnapshot:
    """What the store holds of a source at one moment."""

    name: str
    role: Role
    purpose: Purpose
    num_examples: int
    content_digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedSource:
    """A source inside a plan."""

    name: str
    role: Role
    share: Fraction
    num_examples: int
    content_digest: str
    on_exhaustion: OnExhaustion
    max_epochs: int | None

    @property
    def limit(self) -> int | None:
        """Most rows that it may serve, or None if there is no limit."""
        if self.max_epochs is None and self.on_exhaustion is OnExhaustion.REPEAT:
            return None
        return self.num_examples * (self.max_epochs or 1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sealed plan; `seal` and `Plan.from_json` make one."""

    plan_id: str
    mix: Mix
    snapshot_id: str
    tokenizer_digest: str
    sources: tuple[SealedSource, ...]
    num_positions: int
    """Rows of the whole plan."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return -(-self.num_positions // self.mix.batch_size)

    @cached_property
    def schedule(self) -> Schedule:
        """Which source serves which position."""
        return schedule_of(self.mix.shares)

    def batch(self, step: int) -> Batch:
        """The global batch of a step: a pure function of the plan and the step."""
        first = self._first_position(step)
        last = min(first + self.mix.batch_size, self.num_positions)
        return self.rows(np.arange(first, last, dtype=np.int64), step=step)

    def rows(self, positions: Integers, *, step: int) -> Batch:
        """The rows at given positions."""
        sources, ordinals = self.schedule.at(positions)
        examples, epochs = np.empty_like(ordinals), np.empty_like(ordinals)
        for index in np.unique(sources).tolist():
            here = sources == index
            epochs[here], examples[here] = self._restore_keys(index, ordinals[here])
        return Batch(
            plan_id=self.plan_id,
            step=step,
            positions=positions,
            sources=sources,
            ordinals=ordinals,
            examples=examples,
            epochs=epochs,
        )

    def shard(self, step: int, rank: int, world_size: int) -> Batch:
        """The rows of a step that one rank trains on; over all ranks they are the batch.

        Sizes of the shards of one step differ by at most one row. Only in a last, shorter step
        may a shard be empty.
        """
        dealing = dealing_of(self.mix.shares, self.mix.batch_size, world_size)
        if not 0 <= rank < world_size:
            raise RecollectError(
                Reason.RANK_INVALID,
                f"{world_size} ranks have numbers 0 … {world_size - 1}, not {rank}",
                where="rank",
            )
        batch = self.batch(step)
        return batch.take(dealing.ranks(step)[: len(batch)] == rank)

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
        return canonical_json({**_content(self), "plan_id": self.plan_id})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            RecollectError: `VERSION_UNKNOWN`, or `PLAN_TAMPERED` if it is not what its id says.
        """
        try:
            content = json.loads(text)
            stated = content.pop("plan_id")
            version = content["version"]
            sealed_id = _plan_id(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _tampered("the text is not a plan") from None
        if version != PLAN_VERSION:
            raise RecollectError(
                Reason.VERSION_UNKNOWN,
                f"the plan has version {version!r}; this program reads {PLAN_VERSION}",
                where="version",
                fix="Use the version of the program that sealed it.",
            )
        if stated != sealed_id:
            raise _tampered("the content does not match the plan id")
        plan = _unsealed(content)
        if plan.plan_id != stated:
            raise _tampered("the content is not what sealing it again gives")
        return plan

    def _first_position(self, step: int) -> int:
        if not 0 <= step < self.num_steps:
            raise RecollectError(
                Reason.PLAN_OUT_OF_RANGE,
                f"the plan has steps 0 … {self.num_steps - 1}, and {step} is none of them",
                where=f"plan {self.plan_id[:12]}",
            )
        return step * self.mix.batch_size

    def _restore_keys(self, index: int, ordinals: Integers) -> tuple[Integers, Integers]:
        """Epochs and examples that ordinals of one source stand for."""
        source = self.sources[index]
        epochs, places = np.divmod(ordinals, source.num_examples)
        examples = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            order = permutation_of(self.mix.seed, source.name, epoch, source.num_examples)
            examples[here] = order.forward(places[here])
        return epochs, examples


def seal(
    mix: Mix,
    *,
    snapshot_id: str,
    sources: Mapping[str, SourceSnapshot],
    tokenizer_digest: str,
) -> Plan:
    """Binds a mix to what the store holds and to a tokenizer.

    Args:
        mix: the recipe.
        snapshot_id: what the store calls the moment.
        sources: the sources of the snapshot by name; those that the mix does not use are ignored.
        tokenizer_digest: content hash of the tokenizer.

    Raises:
        RecollectError: `MIX_UNKNOWN_SOURCE`, `MIX_EMPTY_SOURCE`, `MIX_PURPOSE`, `MIX_EXHAUSTED`, or
            `MIX_INVALID` if the role is not that of the source.
    """
    sealed = tuple(
        _sealed(mix, item, sources, where=f"sources[{number}]")
        for number, item in enumerate(mix.sources)
    )
    unnamed = Plan(
        plan_id="",
        mix=mix,
        snapshot_id=snapshot_id,
        tokenizer_digest=tokenizer_digest,
        sources=sealed,
        num_positions=_num_positions(mix, sealed),
    )
    return Plan(
        plan_id=_plan_id(_content(unnamed)),
        mix=mix,
        snapshot_id=snapshot_id,
        tokenizer_digest=tokenizer_digest,
        sources=sealed,
        num_positions=unnamed.num_positions,
    )


@lru_cache(maxsize=32)
def schedule_of(shares: tuple[Fraction, ...]) -> Schedule:
    """The schedule of these shares, kept for the next who asks."""
    return Schedule(shares)


@lru_cache(maxsize=32)
def dealing_of(shares: tuple[Fraction, ...], batch_size: int, world_size: int) -> Dealing:
    """The dealing of these shares, kept for the next who asks."""
    return Dealing(schedule_of(shares), batch_size, world_size)


def _sealed(
    mix: Mix, item: SourceShare, sources: Mapping[str, SourceSnapshot], *, where: str
) -> SealedSource:
    """One source of the mix as the snapshot has it."""
    held = sources.get(item.source)
    if held is None:
        raise RecollectError(
            Reason.MIX_UNKNOWN_SOURCE,
            f"the store holds no source {item.source!r}",
            where=f"{where}.source",
            fix=f"It holds: {', '.join(sorted(sources)) or 'none'}.",
        )
    if held.purpose is not mix.purpose:
        raise RecollectError(
            Reason.MIX_PURPOSE,
            f"source {item.source!r} is for {held.purpose}, the mix is for {mix.purpose}",
            where=f"{where}.source",
        )
    if held.role is not item.role:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"source {item.source!r} has the role {held.role}, not {item.role}",
            where=f"{where}.role",
        )
    if held.num_examples < 1:
        raise RecollectError(
            Reason.MIX_EMPTY_SOURCE,
            f"source {item.source!r} has a share of {item.share} and no examples",
            where=f"{where}.source",
            fix="Ingest examples into it, or leave it out.",
        )
    return SealedSource(
        name=item.source,
        role=item.role,
        share=item.share,
        num_examples=held.num_examples,
        content_digest=held.content_digest,
        on_exhaustion=item.on_exhaustion,
        max_epochs=item.max_epochs,
    )


def _num_positions(mix: Mix, sources: tuple[SealedSource, ...]) -> int:
    """Rows until the steps are done or a source stops the plan; refuses what runs out before."""
    schedule = schedule_of(mix.shares)
    ends = [mix.num_steps * mix.batch_size] if mix.num_steps else []
    for index, source in enumerate(sources):
        if source.on_exhaustion is OnExhaustion.STOP and source.limit is not None:
            ends.append(schedule.position_of(index, source.limit))
    num_positions = min(ends)
    served = schedule.served(num_positions).tolist()
    for index, source in enumerate(sources):
        if source.limit is not None and served[index] > source.limit:
            step = schedule.position_of(index, source.limit) // mix.batch_size
            raise RecollectError(
                Reason.MIX_EXHAUSTED,
                f"source {source.name!r} may serve {source.limit} rows and would have to serve "
                f"{served[index]}; it runs out in step {step}",
                where=f"sources[{index}].on_exhaustion",
                fix="Take fewer steps, a smaller share, more examples or more epochs.",
            )
    return num_positions


def _content(plan: Plan) -> dict[str, Any]:
    """What the plan id is the hash of."""
    return {
        "version": PLAN_VERSION,
        "mix": plan.mix.model_dump(mode="json"),
        "snapshot_id": plan.snapshot_id,
        "tokenizer_digest": plan.tokenizer_digest,
        "num_positions": plan.num_positions,
        "sources": [
            {
                "name": source.name,
                "num_examples": source.num_examples,
                "content_digest": source.content_digest,
            }
            for source in plan.sources
        ],
    }


def _plan_id(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _unsealed(content: Mapping[str, Any]) -> Plan:
    """Seals again what a plan's JSON says, so that nothing in it is taken on trust."""
    try:
        mix = Mix.from_mapping(content["mix"])
        roles = {item.source: item.role for item in mix.sources}
        held = {
            item["name"]: SourceSnapshot(
                name=item["name"],
                role=roles[item["name"]],
                purpose=mix.purpose,
                num_examples=operator.index(item["num_examples"]),
                content_digest=_text(item["content_digest"]),
            )
            for item in content["sources"]
        }
        return seal(
            mix,
            snapshot_id=_text(content["snapshot_id"]),
            sources=held,
            tokenizer_digest=_text(content["tokenizer_digest"]),
        )
    except (KeyError, TypeError, RecollectError):
        raise _tampered("the content cannot be sealed again") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a text")
    return value


def _tampered(problem: str) -> RecollectError:
    return RecollectError(
        Reason.PLAN_TAMPERED, problem, where="plan", fix="Fetch it anew from the service."
    )


__all__ = [
    "Batch",
    "Plan",
    "SealedSource",
    "SourceSnapshot",
    "batch_digest",
    "dealing_of",
    "schedule_of",
    "seal",
]
