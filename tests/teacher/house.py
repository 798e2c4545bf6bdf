"""The teacher over the wire, between a real store, ledger, de-identifier and token caches."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recollect.mixer.example import Example, Message, Pointer, Purpose, Role, Speaker
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import seal
from recollect.services.ledger import Ledger
from recollect.services.planbook import PlanBook
from recollect.services.privacy import Deidentifier
from recollect.services.replay import ReplayStore, Source
from recollect.services.stream import AnnotationWriter, ChatTemplate, TokenCaches
from recollect.services.teacher.frozen import FrozenTeacher
from recollect.services.teacher.rehearsal import Rehearsing
from recollect.services.teacher.service import TeacherServicer
from recollect.v1 import teacher_pb2 as wire
from recollect.v1.teacher_pb2_grpc import TeacherServiceStub, add_TeacherServiceServicer_to_server

MAX_LENGTH = 64


class House:
    """Everything around the teacher, over one data folder."""

    def __init__(
        self,
        folder: Path,
        model_folder: Path,
        teacher: FrozenTeacher,
        deidentifier: Deidentifier,
    ) -> None:
        self.teacher = teacher
        self.deidentifier = deidentifier
        self.tokens = folder / "cache" / "tokens"
        self.ledger = Ledger.open(folder / "ledger")
        self.store = ReplayStore.open(folder, self.ledger)
        self.template = ChatTemplate.load(model_folder)
        self.caches = TokenCaches(self.tokens, store=self.store, template=self.template)
        self.plans = PlanBook(self.ledger)
        for name, role in (("dreams", Role.SYNTHETIC), ("general", Role.GENERAL)):
            source = Source(
                name=name, role=role, purpose=Purpose.TRAIN, licence="CC0-1.0", legal_basis="public"
            )
            self.store.register(source)

    def fill(self, num_examples: int, *, long: Collection[int] = ()) -> None:
        """Puts chats into the general source, some of them with a long answer."""
        with self.store.writer("general") as writer:
            for number in range(num_examples):
                answer = f"it is the number {number}" + " and so on" * (40 * (number in long))
                messages = (
                    Message(speaker=Speaker.USER, content=f"what is {number}"),
                    Message(speaker=Speaker.ASSISTANT, content=answer),
                )
                writer.add(
                    Example(
                        example_id=self.store.example_id_for("general", messages),
                        source="general",
                        messages=messages,
                        pointer=Pointer(file="numbers.jsonl", row=number + 1),
                        subject=None,
                        policy="none",
                        findings=(),
                    )
                )

    def sealed(self, *sources: str, **changes: object) -> Plan:
        """A plan with equal shares of the sources, and what else its mix says."""
        snapshot = self.store.snapshot()
        roles = {"dreams": "synthetic", "general": "general"}
        mix = Mix.from_mapping(
            {
                "version": 1,
                "name": "test",
                "batch_size": 4,
                "num_steps": 2,
                "max_length": MAX_LENGTH,
                **changes,
                "sources": [
                    {"source": s, "role": roles[s], "share": f"1/{len(sources)}"} for s in sources
                ],
            }
        )
        plan = seal(
            mix,
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=self.template.digest,
            measures=self.caches.measures(
                snapshot.snapshot_id, [snapshot.sources[source] for source in sources]
            ),
        )
        self.plans.seal(plan, actor="test")
        return plan

    def reopen(self) -> None:
        """Opens the caches anew, as after a restart."""
        self.caches = TokenCaches(self.tokens, store=self.store, template=self.template)

    def examples(self, source: str) -> list[Example]:
        return list(self.store.examples(self.store.snapshot(), source))

    def entries(self, kind: str) -> list[dict[str, object]]:
        return [dict(entry.body) for entry in self.ledger.entries() if entry.kind == kind]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[TeacherServiceStub]:
        server = grpc.aio.server()
        servicer = TeacherServicer(
            teacher=self.teacher,
            deidentifier=self.deidentifier,
            store=self.store,
            ledger=self.ledger,
            plans=self.plans,
            caches=self.caches,
            open_sink=lambda cache, digest: AnnotationWriter(self.tokens, cache, digest),  # type: ignore[arg-type]
            rehearsing=Rehearsing(max_tokens=90, batch_size=16),
        )
        add_TeacherServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield TeacherServiceStub(channel)
        finally:
            await server.stop(None)


async def rehearse(stub: TeacherServiceStub, **asked: object) -> list[wire.RehearseResponse]:
    request = wire.RehearseRequest(**asked)  # type: ignore[arg-type]
    return [answer async for answer in stub.Rehearse(request)]  # type: ignore[attr-defined]


async def annotate(stub: TeacherServiceStub, plan_id: str) -> list[wire.AnnotateResponse]:
    request = wire.AnnotateRequest(plan_id=plan_id)
    return [answer async for answer in stub.Annotate(request)]  # type: ignore[attr-defined]


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Status and reason of a refusal."""
    return error.code(), details(error).reason


def details(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """What a refusal says."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info
