"""Store and ledger in one data folder, served in this process, and parts that take their time."""

import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from recollect.mixer.example import Message, Purpose, Role
from recollect.services.audit_service import AuditServicer
from recollect.services.ledger import JSON, Entry, Ledger
from recollect.services.planbook import PlanBook
from recollect.services.privacy import Deidentified, Deidentifier
from recollect.services.replay import ReplayStore, SegmentWriter, Source
from recollect.services.replay.catalog import Catalog
from recollect.services.store_service import StoreServicer
from recollect.v1.audit_pb2_grpc import AuditServiceStub, add_AuditServiceServicer_to_server
from recollect.v1.store_pb2_grpc import StoreServiceStub, add_StoreServiceServicer_to_server

TOO_LONG = 500
"""Characters that the deidentifier of the house refuses."""


class Unhurried(Deidentifier):
    """The real one, which takes its time."""

    nap = 0.0

    def deidentify(
        self,
        messages: Sequence[Message],
        known_values: Sequence[str] = (),
        subject: str | None = None,
    ) -> Deidentified:
        time.sleep(self.nap)
        return super().deidentify(messages, known_values, subject)


class UnhurriedLedger(Ledger):
    """The real one, which naps before it writes one kind of entry, and at every entry it reads."""

    napping_kind = ""
    reading_nap = 0.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_napping = threading.Event()

    def append(self, kind: str, body: Mapping[str, JSON], *, actor: str) -> Entry:
        if kind == self.napping_kind:
            self.is_napping.set()
            time.sleep(0.5)
        return super().append(kind, body, actor=actor)

    def entries(self, first: int = 0) -> Iterator[Entry]:
        for entry in super().entries(first):
            time.sleep(self.reading_nap)
            yield entry


class UnhurriedStore(ReplayStore):
    """The real one, which takes its time to open a writer."""

    nap = 0.0

    def writer(self, source: str, **options: Any) -> SegmentWriter:
        writer = super().writer(source, **options)
        time.sleep(self.nap)
        return writer


class House:
    """Store and ledger in one data folder, and how they are served."""

    def __init__(self, folder: Path, deidentifier: Unhurried) -> None:
        ledger = UnhurriedLedger.open(folder / "ledger")
        assert isinstance(ledger, UnhurriedLedger)
        self.ledger = ledger
        self.store = UnhurriedStore(folder, ledger)
        self.deidentifier = deidentifier
        self.planbook = PlanBook(ledger)
        self.store.register(
            Source(
                name="chats",
                role=Role.TASK,
                purpose=Purpose.TRAIN,
                licence="CC0-1.0",
                legal_basis="consent",
            )
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[StoreServiceStub, AuditServiceStub]]:
        server = grpc.aio.server()
        self.servicer = StoreServicer(
            store=self.store, deidentifier=self.deidentifier, near_duplicate_threshold=0.9
        )
        add_StoreServiceServicer_to_server(self.servicer, server)
        audit = AuditServicer(
            ledger=self.ledger,
            planbook=self.planbook,
            store=self.store,
            catalog=Catalog(self.store),
            deidentifier=self.deidentifier,
        )
        add_AuditServiceServicer_to_server(audit, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.address = f"127.0.0.1:{port}"
        try:
            async with grpc.aio.insecure_channel(self.address) as channel:
                yield StoreServiceStub(channel), AuditServiceStub(channel)
        finally:
            await server.stop(None)

    def num_stored(self) -> int:
        """Distinct examples; fails where one is there twice."""
        ids = self.store.example_ids(self.store.snapshot(), "chats")
        assert len(ids) == len(set(ids))
        return len(ids)

    def entries(self, kind: str) -> list[Mapping[str, Any]]:
        return [entry.body for entry in self.ledger.entries() if entry.kind == kind]
