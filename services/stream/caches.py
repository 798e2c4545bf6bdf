"""The token caches of plans: opened when first needed, built when missing or damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example
from ...mixer.measures import Measures
from ...mixer.plan import Plan
from ..observing.logs import tell
from .measuring import measures_of
from .recent import Recent
from .template import ChatTemplate
from .tokens import CacheKey, DamagedCache, TokenCache, build

UNCUT = 1 << 24
"""Tokens of a row of a cache that holds examples whole: more than any has. Packs and token units
need those; rows are cut when they are gathered."""
MOST_MEASURES = 64
"""Sources whose measures stay in memory: 8 bytes an example, and 16 for each run of an answer."""
MOST_PLANS = 16
"""Plans whose packs stay in memory."""

Snapshot = TypeVar("Snapshot")
Answer = TypeVar("Answer")


class ExampleStore(Protocol[Snapshot]):
    """What the caches need of the replay store."""

    def snapshot_by_id(self, snapshot_id: str, /) -> Snapshot:
        """The snapshot that a plan was sealed over."""
        ...

    def examples(self, snapshot: Snapshot, source: str, /) -> Iterator[Example]:
        """The examples of a source in row order."""
        ...


class CachedSource(Protocol):
    """What the caches need to know of a source: one of a snapshot, or of a plan."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def content_digest(self) -> str:
        """Digest of its examples."""
        ...

    @property
    def num_examples(self) -> int:
        """How many there are."""
        ...


class TokenCaches:
    """The folder of token caches of one store and one tokenizer; safe to share between threads."""

    def __init__(
        self,
        folder: Path,
        *,
        store: ExampleStore[Snapshot],
        template: ChatTemplate,
        count_build: Callable[[str], None] = lambda _: None,
        tell: Callable[..., None] = tell,
    ) -> None:
        """Opens nothing yet.

        Args:
            folder: where the caches lie.
            store: whose examples they are made of.
            template: how those become tokens.
            count_build: told of every cache that is built, why: "missing" or "damaged".
            tell: told of builds while they go on and when they end, for the log.
        """
        self.folder = folder
        self._count_build = count_build
        self._tell = tell
        self._damaged: set[str] = set()
        """Names of caches that were dropped and not yet built again."""
        self.template = template
        self._store = store
        self._open: dict[str, TokenCache] = {}
        self._opening = Lock()
        """Guards what is open; never held for long."""
        self._building: dict[str, Lock] = {}
        """By the name of a cache, held by who opens, builds or drops it."""
        self._measures: Recent[Measures] = Recent(MOST_MEASURES)
        self._plans: Recent[Plan] = Recent(MOST_PLANS)

    def of_plan(self, plan: Plan) -> Sequence[TokenCache]:
        """One cache per source, in the order of the plan; builds what is missing.

        Those of a plan that packs or counts tokens hold its examples uncut.

        Raises:
            RecollectError: MODEL_UNUSABLE when the plan was sealed with another tokenizer.
        """
        self._require_tokenizer(plan)
        return self.of_sources(
            plan.snapshot_id,
            plan.sources,
            max_length=UNCUT if plan.needs_measures else plan.mix.max_length,
        )

    def of_sources(
        self, snapshot_id: str, sources: Sequence[CachedSource], *, max_length: int
    ) -> Sequence[TokenCache]:
        """One cache per source of a snapshot, in their order; builds what is missing.

        Args:
            snapshot_id: the snapshot that has the examples.
            sources: the sources.
            max_length: tokens at which a row is cut; UNCUT for examples as they are.
        """
        return [self._cache(snapshot_id, source, max_length) for source in sources]

    def cured(self, plan: Plan, use: Callable[[Sequence[TokenCache]], Answer]) -> Answer:
        """Uses the caches of a plan; one that is damaged is built again, once, and used then.

        Args:
            plan: the plan.
            use: what to do with its caches, which may raise DamagedCache.

        Raises:
            RecollectError: STORAGE_CORRUPT when a cache does not keep what was just written.
        """
        built: set[str] = set()
        while True:
            caches = self.of_plan(plan)
            try:
                return use(caches)
            except DamagedCache as error:
                # Caches are not the truth: build them again from the segments.
                damaged = [cache for cache in caches if cache.is_damaged] or caches
                if any(cache.key.name in built for cache in damaged):
                    raise _unkept() from error
            for cache in damaged:
                built.add(cache.key.name)
                self.forget(cache)

    def measures(self, snapshot_id: str, sources: Sequence[CachedSource]) -> Mapping[str, Measures]:
        """The lengths of the examples of each source, by its name; builds what is missing."""
        return {source.name: self._measured(snapshot_id, source) for source in sources}

    def ready(self, plan: Plan) -> Plan:
        """The plan, able to say its batches.

        Raises:
            RecollectError: MODEL_UNUSABLE when it was sealed with another tokenizer;
                MEASURES_DIFFER when what the store holds is not what it was sealed with.
        """
        if plan.rows is not None:
            return plan
        self._require_tokenizer(plan)
        return self._plans.of(
            plan.plan_id,
            lambda: plan.with_measures(self.measures(plan.snapshot_id, plan.sources)),
        )

    def forget(self, cache: TokenCache) -> None:
        """Drops a cache that turned out to be damaged: the next `of_plan` builds it again."""
        with self._alone(cache.key.name):
            if self._open.get(cache.key.name) is cache:
                del self._open[cache.key.name]
                self._damaged.add(cache.key.name)
                self.path(cache.key).unlink(missing_ok=True)

    def path(self, key: CacheKey) -> Path:
        """Where the cache of a key lies."""
        return self.folder / f"{key.name}.tokens.arrow"

    def _require_tokenizer(self, plan: Plan) -> None:
        if plan.tokenizer_digest != self.template.digest:
            raise RecollectError(
                Reason.MODEL_UNUSABLE,
                "The plan was sealed with another tokenizer than the one that is served.",
                where=plan.plan_id,
                fix="Serve the model folder it was sealed with, or seal the mix again.",
            )

    def _measured(self, snapshot_id: str, source: CachedSource) -> Measures:
        cache = self._cache(snapshot_id, source, UNCUT)

        def measured() -> Measures:
            try:
                return measures_of(cache)
            except DamagedCache:
                # Caches are not the truth: build it again from the segments, once.
                self.forget(cache)
            try:
                return measures_of(self._cache(snapshot_id, source, UNCUT))
            except DamagedCache as error:
                raise _unkept() from error

        return self._measures.of(cache.key.name, measured)

    def _cache(self, snapshot_id: str, source: CachedSource, max_length: int) -> TokenCache:
        key = CacheKey(
            content_digest=source.content_digest,
            tokenizer_digest=self.template.digest,
            max_length=max_length,
            num_rows=source.num_examples,
        )
        cache = self._open.get(key.name)
        if cache is not None:
            return cache
        # Two streams that start together need the same caches; one that needs others goes on.
        with self._alone(key.name):
            if key.name not in self._open:
                self._open[key.name] = self._open_or_build(key, snapshot_id, source.name)
            return self._open[key.name]

    def _alone(self, name: str) -> Lock:
        """The lock of a cache."""
        with self._opening:
            return self._building.setdefault(name, Lock())

    def _open_or_build(self, key: CacheKey, snapshot_id: str, source: str) -> TokenCache:
        path = self.path(key)
        try:
            return TokenCache(path, key)
        except DamagedCache:
            is_damaged = key.name in self._damaged or path.exists()
            snapshot = self._store.snapshot_by_id(snapshot_id)
            examples = self._store.examples(snapshot, source)
            cause = "damaged" if is_damaged else "missing"

            def progress(*, num_rows: int, num_rows_in_all: int, seconds: float) -> None:
                # Not the name of the source: whoever registered it chose it.
                self._tell(
                    "token cache built" if num_rows == num_rows_in_all else "token cache building",
                    cache=key.name,
                    cause=cause,
                    rows=num_rows,
                    of=num_rows_in_all,
                    seconds=seconds,
                )

            build(path, key, template=self.template, examples=examples, progress=progress)
            self._damaged.discard(key.name)
            self._count_build(cause)
        try:
            return TokenCache(path, key)
        except DamagedCache as error:
            raise _unkept() from error


def _unkept() -> RecollectError:
    return RecollectError(
        Reason.STORAGE_CORRUPT,
        "A token cache was built again and is damaged again.",
        where="cache",
        fix="Check the disk: it does not keep what is written to it.",
    )
