"""A real service with TLS that tells its metrics, logs JSON, and has trained somebody."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recollect.services.access import CredentialRegister, Scope
from recollect.services.access.certificates import DevelopmentCA
from recollect.services.client import ServiceClient, connect
from recollect.services.listening import tls_folder
from recollect.trainer.client import Client, Patience
from recollect.trainer.tally import SourceTally
from recollect.v1 import mix_pb2, store_pb2, stream_pb2
from recollect.v1.connection import Credentials

if TYPE_CHECKING:
    from access.conftest import Server
else:
    from ..access.conftest import Server

RUN = "run-of-the-test"
HOLDER = "holder-of-the-test"
TENANT = "acme"
NUM_STEPS = 20
LONG = 40_000
"""Steps of a plan that is far larger than what HTTP/2 lets be under way."""

Labels = frozenset[tuple[str, str]]


def mix(num_steps: int) -> str:
    return f"""
version: 1
name: observed
batch_size: 4
num_steps: {num_steps}
max_length: 64
sources:
  - {{source: tickets, role: task, share: 2/3}}
  - {{source: chatter, role: general, share: 1/3}}
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The service, a trainer's client, and what it received."""

    server: Server
    metrics: str
    register: CredentialRegister
    ca: Path
    client: Client
    plan_id: str
    long_plan_id: str
    steps: Sequence[stream_pb2.StepFrame]
    num_messages: int
    token: str
    more: dict[str, Any] = field(default_factory=dict)

    def credentials(self, token: str | None) -> Credentials:
        return Credentials(ca=self.ca, token=token)

    def scraped(self) -> str:
        return scrape(self.metrics)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.server.log.read_text().splitlines()]


def scrape(address: str) -> str:
    """The metrics, over HTTP on a Unix socket or on TCP."""
    connection = http.client.HTTPConnection("metrics", timeout=10)
    if address.startswith("unix:"):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        connection.sock = socket.create_connection((host, int(port)))
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def samples(text: str) -> Mapping[tuple[str, Labels], float]:
    """Name and labels → value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    """The value of one sample; 0 if there is none."""
    return samples(text).get((name, frozenset(labels.items())), 0.0)


def ingest(operator: ServiceClient, source: str, role: store_pb2.Role.ValueType) -> None:
    """Registers a source and stores chats in it."""
    described = store_pb2.Source(
        name=source,
        role=role,
        purpose=store_pb2.PURPOSE_TRAIN,
        licence="CC0-1.0",
        legal_basis="consent",
    )
    operator.store.RegisterSource(store_pb2.RegisterSourceRequest(source=described), timeout=60)
    examples = [
        store_pb2.RawExample(
            messages=[
                store_pb2.Message(speaker="user", content=f"Where is {source} number {n}?"),
                store_pb2.Message(speaker="assistant", content=f"On lorry {n}, as planned."),
            ],
            pointer=store_pb2.Pointer(file="chats.jsonl", row=n),
        )
        for n in range(24)
    ]
    requests = [
        store_pb2.IngestRequest(header=store_pb2.IngestHeader(source=source)),
        store_pb2.IngestRequest(examples=store_pb2.RawExamples(examples=examples)),
    ]
    *_, last = operator.store.Ingest(iter(requests), timeout=120)
    assert last.done and last.num_stored == len(examples)


def train(client: Client, plan_id: str, run_id: str) -> tuple[list[stream_pb2.StepFrame], int]:
    """Fetches a plan and acknowledges every step, as a loader does; the steps, and messages."""
    names = [source.name for source in client.plan(plan_id).sources]
    client.start_run(run_id, plan_id, base_digest="ab" * 32)
    steps: list[stream_pb2.StepFrame] = []
    num_messages = 0
    for frame in client.fetch(plan_id, 0, NUM_STEPS):
        num_messages += 1
        for step in frame.steps:
            columns = (step.source_rows, step.source_tokens, step.source_supervised_tokens)
            counts = {
                name: SourceTally(num_rows=rows, num_tokens=tokens, num_supervised_tokens=some)
                for name, rows, tokens, some in zip(names, *columns, strict=True)
            }
            client.ack(
                run_id, step=step.step, rank=0, world_size=1, digest=step.digest, counts=counts
            )
            steps.append(step)
    return steps, num_messages


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    data, metrics = folder / "data", f"unix:{folder / 'metrics'}"
    authority = DevelopmentCA(tls_folder(data))
    authority.server((), days=30)
    settings = ("logs.format=json", "logs.level=debug", f"metrics.address={metrics}")
    with Server(data, "address=127.0.0.1:0", *settings) as server:
        register = CredentialRegister(data)
        _, token = register.issue_token(
            holder=HOLDER, tenant=TENANT, scopes=[Scope.ADMIN], days=1, by="pytest"
        )
        ca = authority.pair.certificate
        shown = Credentials(ca=ca, token=token)
        with connect(server.address, shown) as operator:
            ingest(operator, "tickets", store_pb2.ROLE_TASK)
            ingest(operator, "chatter", store_pb2.ROLE_GENERAL)
            plans = [
                operator.mix.SealPlan(mix_pb2.SealPlanRequest(mix_yaml=mix(n)), timeout=60).plan_id
                for n in (NUM_STEPS, LONG)
            ]
        client = Client(server.address, patience=Patience(), credentials=shown)
        steps, num_messages = train(client, plans[0], RUN)
        yield Scene(
            server=server,
            metrics=metrics,
            register=register,
            ca=ca,
            client=client,
            plan_id=plans[0],
            long_plan_id=plans[1],
            steps=steps,
            num_messages=num_messages,
            token=token,
        )
        client.close()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RECOLLECT_", "OTEL_")):
            monkeypatch.delenv(name)
