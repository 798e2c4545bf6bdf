"""The rooms of one tenant: a data folder, and everything that is open over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from ..mixer.errors import Reason, RecollectError
from ..mixer.limits import RatioPolicy
from ..v1 import audit_pb2, deid_pb2, mix_pb2, store_pb2, stream_pb2, teacher_pb2
from .access import DEFAULT_TENANT, Credential, acting_principal
from .audit_service import AuditServicer
from .config import Settings
from .deid_service import DeidServicer
from .ledger import JSON, Entry, Kind, Ledger
from .mix_service import MixServicer
from .observing import Watch
from .planbook import PlanBook
from .privacy import Deidentifier
from .ratio_policy import read_ratio_policy
from .replay import ReplayStore
from .replay.catalog import Catalog
from .secret import secret_key
from .store_service import StoreServicer
from .stream import (
    AnnotationShelf,
    AnnotationWriter,
    ChatTemplate,
    StreamServicer,
    TokenCaches,
    compile_kernels,
)
from .teacher.frozen import FrozenTeacher
from .teacher.rehearsal import Rehearsing
from .teacher.service import TeacherServicer

_FILES = (store_pb2, mix_pb2, stream_pb2, teacher_pb2, audit_pb2, deid_pb2)
SERVICES = tuple(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
"""Descriptors of every service of the wire contract."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What all tenants use and none can change."""

    settings: Settings
    teacher: FrozenTeacher
    template: ChatTemplate
    policy: RatioPolicy | None
    watch: Watch = field(default_factory=Watch)

    @classmethod
    def load(cls, settings: Settings, watch: Watch | None = None) -> Shared:
        """Loads it.

        Raises:
            RecollectError: POLICY_INVALID, MODEL_UNUSABLE, or TEACHER_CHANGED.
        """
        import torch

        torch.set_num_threads(settings.teacher.threads)
        compile_kernels()
        file = settings.ratio_policy
        teacher = FrozenTeacher.load(settings.teacher.folder, pinned_digest=settings.teacher.digest)
        template = ChatTemplate.load(settings.teacher.folder)
        return cls(
            settings=settings,
            watch=watch or Watch(),
            policy=None if file is None else read_ratio_policy(file),
            teacher=replace(teacher, own_turns=template.speech()),
            template=template,
        )


class AttributedLedger(Ledger):
    """A ledger that names who made the call that an entry comes from."""

    def append(self, kind: str, body: Mapping[str, JSON], *, actor: str) -> Entry:
        """Like `Ledger.append`; the actor counts only outside of calls."""
        principal = acting_principal()
        return super().append(kind, body, actor=principal.holder if principal else actor)

    def append_as(self, kind: str, body: Mapping[str, JSON], *, actor: str) -> Entry:
        """Like `Ledger.append`, for what somebody else did than the caller."""
        return super().append(kind, body, actor=actor)


class Rooms:
    """Store, ledger, plans, caches and what serves them; knows nothing of other tenants."""

    def __init__(self, folder: Path, shared: Shared) -> None:
        """Opens a tenant's data folder.

        Raises:
            RecollectError: CONFIG_INVALID, STORAGE_LOCKED, LEDGER_CORRUPT, STORAGE_CORRUPT, or
                DEIDENTIFICATION_FAILED.
        """
        _make_folder(folder)
        self.folder = folder
        self._recorded = Lock()
        self.recorded_generation = -1
        """Generation of the register whose credentials are all in the ledger."""
        with ExitStack() as stack:
            ledger = AttributedLedger.open(folder / "ledger")
            assert isinstance(ledger, AttributedLedger)
            self.ledger = ledger
            stack.callback(self.ledger.close)
            self._known = {
                (entry.kind, str(entry.body["credential_id"]))
                for entry in ledger.entries()
                if entry.kind in (Kind.CREDENTIAL_ISSUED, Kind.CREDENTIAL_REVOKED)
            }
            self.servicers = self._open(shared, stack.callback)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Closes everything; no call may be under way."""
        self._stack.close()

    def record(self, credentials: Iterable[Credential], generation: int) -> None:
        """Writes what the ledger does not yet know of this tenant's credentials; may be repeated.

        Raises:
            RecollectError: STORAGE_FULL, STORAGE_FAILED. What is not on record does not count.
        """
        with self._recorded:
            for credential in credentials:
                self._record_once(Kind.CREDENTIAL_ISSUED, credential, credential.issued_by)
                if credential.revoked_at is not None:
                    by = credential.revoked_by or credential.issued_by
                    self._record_once(Kind.CREDENTIAL_REVOKED, credential, by)
            self.recorded_generation = max(generation, self.recorded_generation)

    def _record_once(self, kind: Kind, credential: Credential, actor: str) -> None:
        key = (str(kind), credential.credential_id)
        if key in self._known:
            return
        # Never the proof: the ledger is for auditors, who need no digest of a token.
        body: dict[str, JSON] = {
            "credential_id": credential.credential_id,
            "kind": credential.kind,
            "holder": credential.holder,
            "scopes": [str(scope) for scope in credential.scopes],
            "expires_at": credential.expires_at.isoformat(),
        }
        self.ledger.append_as(kind, body, actor=actor)
        self._known.add(key)

    def _open(self, shared: Shared, at_end: Callable[[Callable[[], Any]], Any]) -> dict[str, Any]:
        """The servicers, by the full names of their services."""
        folder, settings = self.folder, shared.settings
        store = ReplayStore.open(folder, self.ledger)
        # With another key, surrogates of the same value would no longer be the same.
        is_new = not store.snapshot().segments
        key = secret_key(folder / "keys" / "surrogate.key", create=is_new)
        deidentifier = Deidentifier(settings.privacy, key)
        deidentifier.prove()
        tokens = folder / "cache" / "tokens"
        metrics = shared.watch.metrics
        caches = TokenCaches(
            tokens,
            store=store,
            template=shared.template,
            count_build=lambda cause: metrics.cache_builds.labels(cause).inc(),
        )
        planbook = PlanBook(self.ledger, ready=caches.ready)
        shelf = AnnotationShelf(tokens, teacher_digest=shared.teacher.digest)

        def open_sink(source: Any, teacher_digest: str) -> AnnotationWriter:
            shelf.forget(source)
            return AnnotationWriter(tokens, source, teacher_digest)

        tenant = DEFAULT_TENANT if folder == settings.data_folder else folder.name
        meter = shared.watch.streams.of(tenant)
        stream = StreamServicer(planbook, caches, self.ledger, annotations=shelf, meter=meter)
        at_end(stream.close)
        mixes = MixServicer(
            store=store,
            caches=caches,
            planbook=planbook,
            max_length=shared.teacher.max_length,
            policy=shared.policy,
        )
        deid = DeidServicer(deidentifier=deidentifier, key=key, ledger=self.ledger)
        lines = (*mixes.crews, *deid.crews)
        at_end(shared.watch.rooms(tenant, num_entries=lambda: self.ledger.num_entries, lines=lines))
        servicers = {
            store_pb2: StoreServicer(
                store=store,
                deidentifier=deidentifier,
                near_duplicate_threshold=settings.store.near_duplicate_threshold,
            ),
            mix_pb2: mixes,
            stream_pb2: stream,
            teacher_pb2: TeacherServicer(
                teacher=shared.teacher,
                deidentifier=deidentifier,
                store=store,
                ledger=self.ledger,
                plans=planbook,
                caches=caches,
                open_sink=open_sink,
                rehearsing=Rehearsing(temperature=settings.teacher.temperature),
            ),
            audit_pb2: AuditServicer(
                ledger=self.ledger,
                planbook=planbook,
                store=store,
                catalog=Catalog(store),
                deidentifier=deidentifier,
            ),
            deid_pb2: deid,
        }
        return {
            service.full_name: servicer
            for file, servicer in servicers.items()
            for service in file.DESCRIPTOR.services_by_name.values()
        }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"the data folder cannot be made: {error.strerror}.",
            where=f"data_folder: {folder}",
            fix="Choose a folder that you may write to with --set data_folder=PATH.",
        ) from None
