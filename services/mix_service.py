"""MixService: mixes are validated, previewed and sealed to plans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import numpy as np

from ..mixer.contents import Contents
from ..mixer.errors import Reason, RecollectError
from ..mixer.limits import RatioPolicy
from ..mixer.measures import Measures
from ..mixer.mix import Mix
from ..mixer.packing import Packing
from ..mixer.plan import Plan, needs_measures
from ..mixer.preview import preview
from ..mixer.sealing import seal
from ..v1 import mix_pb2 as wire
from ..v1.mix_pb2_grpc import MixServiceServicer
from .crew import Crew
from .measure_frames import encode_measures
from .plan_pages import page_of
from .planbook import PlanBook
from .preview_frames import preview_to_wire
from .replay import ReplayStore, Snapshot
from .status import Context, translated
from .stream import TokenCache, TokenCaches, contents_of
from .threads import in_thread
from .yaml_text import mix_from_yaml, policy_from_yaml

MOST_WORLDS = 16
"""Numbers of ranks that one preview examines."""
NUM_THREADS = 2
"""Mixes that are worked on at a time: each may need a core, and gigabytes."""
MOST_WAITING = 32
"""Mixes that wait for their turn."""
MOST_ASKING = 4096
"""Trainers that wait for measures: every rank of a large run begins by asking."""


class MixServicer(MixServiceServicer):
    """Serves mixes over one store with one tokenizer."""

    def __init__(
        self,
        *,
        store: ReplayStore,
        caches: TokenCaches,
        planbook: PlanBook,
        max_length: int,
        policy: RatioPolicy | None = None,
    ) -> None:
        self._max_length = max_length
        self._store = store
        self._caches = caches
        self._planbook = planbook
        self._policy = policy
        self._mixes = Crew("mixes", num_threads=NUM_THREADS, most_waiting=MOST_WAITING)
        # Nobody who previews can make a run wait that is about to begin.
        self._lengths = Crew("measures", num_threads=NUM_THREADS, most_waiting=MOST_ASKING)
        self.crews = (self._mixes, self._lengths)

    @translated
    async def CheckMix(
        self, request: wire.CheckMixRequest, context: Context
    ) -> wire.CheckMixResponse:
        """Validates a mix against what the store holds."""
        plan = await self._mixes.run(self._plan, request.mix_yaml, self._policy)
        return wire.CheckMixResponse(fingerprint=plan.mix.fingerprint)

    @translated
    async def PreviewMix(
        self, request: wire.PreviewMixRequest, context: Context
    ) -> wire.PreviewMixResponse:
        """Says what a plan of this mix would serve."""
        return await self._mixes.run(self._preview, request)

    @translated
    async def SealPlan(
        self, request: wire.SealPlanRequest, context: Context
    ) -> wire.SealPlanResponse:
        """Seals a plan, with its token caches ready before it exists."""
        plan = await self._mixes.run(self._seal, request.mix_yaml, request.actor or "unknown")
        return wire.SealPlanResponse(plan_id=plan.plan_id, plan_json=plan.to_json())

    @translated
    async def GetPlan(self, request: wire.GetPlanRequest, context: Context) -> wire.GetPlanResponse:
        """Returns a sealed plan."""
        return wire.GetPlanResponse(plan_json=self._planbook.sealed(request.plan_id).to_json())

    @translated
    async def ListPlans(
        self, request: wire.ListPlansRequest, context: Context
    ) -> wire.ListPlansResponse:
        """Lists the sealed plans, page by page."""
        return page_of(self._planbook.sealings(request.prefix), request)

    @translated
    async def GetMeasures(
        self, request: wire.GetMeasuresRequest, context: Context
    ) -> AsyncIterator[wire.GetMeasuresResponse]:
        """Streams the measures of a source that a plan depends on."""
        measures = await self._lengths.run(self._measures, request.plan_id, request.source)
        async with aclosing(in_thread(encode_measures(measures))) as payloads:
            async for payload in payloads:
                yield wire.GetMeasuresResponse(payload=payload)

    def _plan(self, mix_yaml: str, policy: RatioPolicy | None) -> Plan:
        """What sealing would give.

        It depends on the mix, the store, the tokenizer and the policy alone; token caches that it
        needs are built. A source that teaches nothing is refused.
        """
        snapshot = self._store.snapshot()
        mix = mix_from_yaml(mix_yaml)
        mix.require_reach()
        if mix.max_length > self._max_length:
            raise RecollectError(
                Reason.MIX_INVALID,
                f"rows of {mix.max_length:,} tokens are longer than the model's "
                f"{self._max_length:,}",
                where="max_length",
                fix=f"Set max_length to at most {self._max_length}.",
            )
        measures = self._measured(mix, snapshot) if needs_measures(mix) else None
        plan = seal(
            mix,
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=self._caches.template.digest,
            measures=measures,
            policy=policy,
        )
        if measures is None:
            self._caches.cured(plan, lambda caches: _require_answers(plan.mix, caches))
        return plan

    def _measured(self, mix: Mix, snapshot: Snapshot) -> Mapping[str, Measures]:
        """The measures of those sources of a mix that have examples; the others are for sealing."""
        held = [
            source
            for item in mix.sources
            if (source := snapshot.sources.get(item.source)) is not None and source.num_examples
        ]
        measures = self._caches.measures(snapshot.snapshot_id, held)
        for index, item in enumerate(mix.sources):
            if item.source in measures:
                _require_lessons(mix, index, measures[item.source])
        return measures

    def _contents(self, plan: Plan) -> Mapping[str, Contents]:
        """What the rows of a plan hold whose batches do not depend on it; nothing of others."""
        if plan.needs_measures:
            return {}
        found = self._caches.cured(plan, lambda caches: list(map(contents_of, caches)))
        return {source.name: held for source, held in zip(plan.sources, found, strict=True)}

    def _preview(self, request: wire.PreviewMixRequest) -> wire.PreviewMixResponse:
        if len(request.world_sizes) > MOST_WORLDS:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"{len(request.world_sizes)} numbers of ranks were asked for",
                where="world_sizes",
                fix=f"Ask for at most {MOST_WORLDS} at a time.",
            )
        tried = request.policy_yaml
        policy = policy_from_yaml(tried) if tried else self._policy
        plan = self._plan(request.mix_yaml, policy)
        found = preview(plan, self._contents(plan), world_sizes=request.world_sizes)
        return preview_to_wire(found, plan.mix.batch_size)

    def _seal(self, mix_yaml: str, actor: str) -> Plan:
        plan = self._plan(mix_yaml, self._policy)
        self._planbook.seal(plan, actor=actor)
        return plan

    def _measures(self, plan_id: str, name: str) -> Measures:
        plan = self._planbook.sealed(plan_id)
        if not plan.needs_measures:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "the batches of the plan do not depend on the lengths of examples",
                where="plan_id",
                fix="Use the plan as it is.",
            )
        source = next((item for item in plan.sources if item.name == name), None)
        if source is None:
            raise RecollectError(
                Reason.MIX_UNKNOWN_SOURCE,
                f"the plan has no source {name!r:.80}",
                where="source",
                fix="Ask for one of the sources that the plan names.",
            )
        return self._caches.measures(plan.snapshot_id, [source])[name]


def _require_answers(mix: Mix, caches: Sequence[TokenCache]) -> None:
    """Refuses a source of which no row has a token to learn, by the totals of its cache."""
    for index, cache in enumerate(caches):
        if not cache.totals.num_supervised_tokens:
            raise _teaches_nothing(mix, index, cache.num_truncated, len(cache))


def _require_lessons(mix: Mix, index: int, measures: Measures) -> None:
    """Refuses a source of which no row has a token to learn."""
    stops = measures.lengths
    num_cut = 0
    if mix.packing is Packing.NONE:
        num_cut = int(np.count_nonzero(stops > mix.max_length))
        stops = np.minimum(stops, mix.max_length)
    examples = np.arange(len(measures))
    if not measures.supervised(examples, np.zeros_like(stops), stops).any():
        raise _teaches_nothing(mix, index, num_cut, len(measures))


def _teaches_nothing(mix: Mix, index: int, num_cut: int, num_examples: int) -> RecollectError:
    return RecollectError(
        Reason.MIX_INVALID,
        f"no row of {mix.sources[index].source} has a token to learn: {num_cut:,} of "
        f"{num_examples:,} were cut before their answer",
        where=f"sources[{index}]",
        fix="Raise max_length, or ingest shorter questions.",
    )
