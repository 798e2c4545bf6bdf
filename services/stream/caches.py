"""The token caches of plans: opened when first needed, built when missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example
from ...mixer.plan import Plan
from .template import ChatTemplate
from .tokens import CacheKey, DamagedCache, TokenCache, build

Snapshot = TypeVar("Snapshot")


class ExampleStore(Protocol[Snapshot]):
    """What the caches need of the replay store."""

    def snapshot_by_id(self, snapshot_id: str, /) -> Snapshot:
        """The snapshot that a plan was sealed over."""
        ...

    def examples(self, snapshot: Snapshot, source: str, /) -> Iterator[Example]:
        """The examples of a source in row order."""
        ...


class TokenCaches:
    """The folder of token caches of one store and one tokenizer; safe to share between threads."""

    def __init__(
        self, folder: Path, *, store: ExampleStore[Snapshot], template: ChatTemplate
    ) -> None:
        self.folder = folder
        self.template = template
        self._store = store
        self._open: dict[str, TokenCache] = {}
        self._opening = Lock()

    def of_plan(self, plan: Plan) -> Sequence[TokenCache]:
        """One cache per source, in the order of the plan; builds what is missing.

        Raises:
            RecollectError: MODEL_UNUSABLE when the plan was sealed with another tokenizer.
        """
        if plan.tokenizer_digest != self.template.digest:
            raise RecollectError(
                Reason.MODEL_UNUSABLE,
                "The plan was sealed with another tokenizer than the one that is served.",
                where=plan.plan_id,
                fix="Serve the model folder it was sealed with, or seal the mix again.",
            )
        return [self._cache(plan, index) for index in range(len(plan.sources))]

    def forget(self, cache: TokenCache) -> None:
        """Drops a cache that turned out to be damaged: the next `of_plan` builds it again."""
        with self._opening:
            if self._open.get(cache.key.name) is cache:
                del self._open[cache.key.name]
                self.path(cache.key).unlink(missing_ok=True)

    def path(self, key: CacheKey) -> Path:
        """Where the cache of a key lies."""
        return self.folder / f"{key.name}.tokens.arrow"

    def _cache(self, plan: Plan, index: int) -> TokenCache:
        source = plan.sources[index]
        key = CacheKey(
            content_digest=source.content_digest,
            tokenizer_digest=plan.tokenizer_digest,
            max_length=plan.mix.max_length,
            num_rows=source.num_examples,
        )
        cache = self._open.get(key.name)
        if cache is not None:
            return cache
        # One build at a time: two streams that start together need the same caches.
        with self._opening:
            if key.name not in self._open:
                self._open[key.name] = self._open_or_build(key, plan.snapshot_id, source.name)
            return self._open[key.name]

    def _open_or_build(self, key: CacheKey, snapshot_id: str, source: str) -> TokenCache:
        path = self.path(key)
        try:
            return TokenCache(path, key)
        except DamagedCache:
            snapshot = self._store.snapshot_by_id(snapshot_id)
            examples = self._store.examples(snapshot, source)
            build(path, key, template=self.template, examples=examples)
            return TokenCache(path, key)
