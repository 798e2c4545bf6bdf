"""MixService: mixes are validated, previewed and sealed to plans."""

from __future__ import annotations

import asyncio

import numpy as np

from ..mixer.errors import Reason, RecollectError
from ..mixer.mix import Mix
from ..mixer.plan import Plan, seal
from ..mixer.preview import preview
from ..v1 import mix_pb2 as wire
from ..v1.mix_pb2_grpc import MixServiceServicer
from .planbook import PlanBook
from .replay import ReplayStore
from .roles import role_to_wire
from .status import Context, translated
from .stream import TokenCache, TokenCaches


class MixServicer(MixServiceServicer):
    """Serves mixes over one store with one tokenizer."""

    def __init__(
        self, *, store: ReplayStore, caches: TokenCaches, planbook: PlanBook, max_length: int
    ) -> None:
        self._max_length = max_length
        self._store = store
        self._caches = caches
        self._planbook = planbook

    def _plan(self, mix_yaml: str) -> Plan:
        """What sealing would give; depends on the mix, the store and the tokenizer alone."""
        snapshot = self._store.snapshot()
        mix = Mix.from_yaml(mix_yaml)
        if mix.max_length > self._max_length:
            raise RecollectError(
                Reason.MIX_INVALID,
                f"rows of {mix.max_length:,} tokens are longer than the model's "
                f"{self._max_length:,}",
                where="max_length",
                fix=f"Set max_length to at most {self._max_length}.",
            )
        return seal(
            mix,
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=self._caches.template.digest,
        )

    def _tokens(self, plan: Plan) -> dict[str, TokenCache]:
        """The token caches of a plan's sources; refuses a source that teaches nothing."""
        names = [source.name for source in plan.sources]
        caches = dict(zip(names, self._caches.of_plan(plan), strict=True))
        for index, (name, cache) in enumerate(caches.items()):
            if not cache.supervised_lengths.any():
                raise RecollectError(
                    Reason.MIX_INVALID,
                    f"no row of {name} has a token to learn: {cache.num_truncated:,} of "
                    f"{len(cache):,} were cut before their answer",
                    where=f"sources[{index}]",
                    fix="Raise max_length, or ingest shorter questions.",
                )
        return caches

    @translated
    async def CheckMix(
        self, request: wire.CheckMixRequest, context: Context
    ) -> wire.CheckMixResponse:
        """Validates a mix against what the store holds."""
        plan = await asyncio.to_thread(self._plan, request.mix_yaml)
        await asyncio.to_thread(self._tokens, plan)
        return wire.CheckMixResponse(fingerprint=plan.mix.fingerprint)

    @translated
    async def PreviewMix(
        self, request: wire.PreviewMixRequest, context: Context
    ) -> wire.PreviewMixResponse:
        """Counts what a plan of this mix would serve."""
        return await asyncio.to_thread(self._preview, request.mix_yaml)

    def _preview(self, mix_yaml: str) -> wire.PreviewMixResponse:
        plan = self._plan(mix_yaml)
        caches = self._tokens(plan)
        lengths = {n: cache.lengths.astype(np.int64) for n, cache in caches.items()}
        supervised = {n: cache.supervised_lengths.astype(np.int64) for n, cache in caches.items()}
        return wire.PreviewMixResponse(
            num_steps=plan.num_steps,
            num_rows=plan.num_positions,
            sources=[
                wire.SourcePreview(
                    source=row.source,
                    role=role_to_wire(row.role),
                    share=str(row.share),
                    num_examples=row.num_examples,
                    num_rows=row.num_rows,
                    epochs=row.epochs,
                    max_repeats=row.max_repeats,
                    exhaustion_step=row.exhaustion_step,
                    num_tokens=row.num_tokens,
                    num_supervised_tokens=row.num_supervised_tokens,
                    num_truncated=caches[row.source].num_truncated,
                )
                for row in preview(plan, lengths, supervised)
            ],
        )

    @translated
    async def SealPlan(
        self, request: wire.SealPlanRequest, context: Context
    ) -> wire.SealPlanResponse:
        """Seals a plan, with its token caches ready before it exists."""
        plan = await asyncio.to_thread(self._seal, request.mix_yaml, request.actor or "unknown")
        return wire.SealPlanResponse(plan_id=plan.plan_id, plan_json=plan.to_json())

    def _seal(self, mix_yaml: str, actor: str) -> Plan:
        plan = self._plan(mix_yaml)
        self._tokens(plan)
        self._planbook.seal(plan, actor=actor)
        return plan

    @translated
    async def GetPlan(self, request: wire.GetPlanRequest, context: Context) -> wire.GetPlanResponse:
        """Returns a sealed plan."""
        return wire.GetPlanResponse(plan_json=self._planbook.plan(request.plan_id).to_json())
