"""A real service with TLS in its own process, two tenants in it, and a credential for each case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import grpc
import pytest

from recollect.mixer.errors import DOMAIN
from recollect.services.access import CredentialRegister, Scope
from recollect.services.access.certificates import DevelopmentCA
from recollect.services.client import ServiceClient, connect
from recollect.services.listening import tls_folder
from recollect.services.rooms import SERVICES
from recollect.v1 import mix_pb2, store_pb2, stream_pb2
from recollect.v1.connection import Credentials, open_channel
from recollect.v1.failure import error_info
from recollect.v1.stream_pb2_grpc import StreamServiceStub

METHODS = {
    f"/{service.full_name}/{method.name}": method
    for service in SERVICES
    for method in service.methods
}
"""Every call of the wire contract."""
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
NUM_STEPS = 60
RUN = "first"

MIX = f"""
version: 1
name: secret-mix
batch_size: 4
num_steps: {NUM_STEPS}
max_length: 64
sources:
  - {{source: secret_source, role: task, share: 1}}
"""


def clean_environment() -> dict[str, str]:
    """The environment without settings of the user's, or of the tests'."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RECOLLECT_")}


class Server:
    """`recollect serve` in a process of its own."""

    def __init__(self, data: Path, *settings: str) -> None:
        """Returns once it serves; what it told is in `told`, its log in `log`."""
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        options = [f"data_folder={data}", "teacher.threads=1", *settings]
        words = [word for option in options for word in ("--set", option)]
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recollect.services", "serve", "--json", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=clean_environment(),
            )
        assert self.process.stdout is not None
        text = b""
        while not text.rstrip().endswith(b"}"):
            read = os.read(self.process.stdout.fileno(), 4096)
            if not read:
                self.process.wait(timeout=60)
                pytest.fail(f"the service did not start: {self.log.read_text()}")
            text += read
        self.told: dict[str, str] = json.loads(text)
        self.address: str = self.told["address"]

    def kill(self) -> None:
        """Ends it as a power failure would."""
        self.process.kill()
        self.process.communicate(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=60)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A service with TLS, its register, and what one of its tenants has."""

    server: Server
    register: CredentialRegister
    ca: Path
    plan_id: str = ""
    example_id: str = ""

    @property
    def address(self) -> str:
        return self.server.address

    def token(self, *scopes: Scope, tenant: str = "acme", days: float = 1.0) -> str:
        _, token = self.register.issue_token(
            holder="tester", tenant=tenant, scopes=scopes, days=days, by="pytest"
        )
        return token

    def credentials(self, token: str | None = None) -> Credentials:
        return Credentials(ca=self.ca, token=token)

    def expired(self) -> str:
        """A token that was issued, and ran out, before now."""
        earlier = CredentialRegister(
            self.server.data, clock=lambda: datetime.now(UTC) - timedelta(days=2)
        )
        _, token = earlier.issue_token(
            holder="late", tenant="acme", scopes=[Scope.ADMIN], days=1, by="pytest"
        )
        return token

    def revoked(self) -> str:
        """A token that was good until now."""
        credential, token = self.register.issue_token(
            holder="former", tenant="acme", scopes=[Scope.ADMIN], days=1, by="pytest"
        )
        self.register.revoke(credential.credential_id, by="pytest")
        return token


def call(
    channel: grpc.Channel, method: str, requests: Sequence[Any] = (), *, timeout: float = 60
) -> list[bytes]:
    """Calls any method with raw bytes, an empty request by default; its answers, or an error."""
    described = METHODS.get(method)
    streams_in = described is None or described.client_streaming
    streams_out = described is None or described.server_streaming
    sent = [item if isinstance(item, bytes) else item.SerializeToString() for item in requests]
    sent = sent or [b""]
    request: Any = iter(sent) if streams_in else sent[0]
    kind = f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
    answer = getattr(channel, kind)(method)(request, timeout=timeout)
    return list(answer) if streams_out else [answer]


def outcome(channel: grpc.Channel, method: str, requests: Sequence[Any] = ()) -> tuple[str, str]:
    """The status and the reason that a call ends with."""
    try:
        call(channel, method, requests)
    except grpc.RpcError as error:
        info = error_info(error, domain=DOMAIN, advice={})
        assert isinstance(error, grpc.Call)
        return error.code().name, info.reason
    return "OK", ""


def ingest_chats(client: ServiceClient, source: str, num_chats: int = 24) -> None:
    """Registers a source and stores chats in it."""
    client.store.RegisterSource(
        store_pb2.RegisterSourceRequest(
            source=store_pb2.Source(
                name=source,
                role=store_pb2.ROLE_TASK,
                purpose=store_pb2.PURPOSE_TRAIN,
                licence="CC0-1.0",
                legal_basis="consent",
            )
        ),
        timeout=60,
    )
    examples = [
        store_pb2.RawExample(
            messages=[
                store_pb2.Message(speaker="user", content=f"Where is parcel number {n}?"),
                store_pb2.Message(speaker="assistant", content=f"On lorry {n}, as planned."),
            ],
            pointer=store_pb2.Pointer(file="chats.jsonl", row=n),
            subject=f"subject-{n}",
        )
        for n in range(num_chats)
    ]
    requests = [
        store_pb2.IngestRequest(header=store_pb2.IngestHeader(source=source)),
        store_pb2.IngestRequest(examples=store_pb2.RawExamples(examples=examples)),
    ]
    *_, last = client.store.Ingest(iter(requests), timeout=120)
    assert last.done and last.num_stored == num_chats


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data = tmp_path_factory.mktemp("site") / "data"
    authority = DevelopmentCA(tls_folder(data))
    authority.server((), days=30)
    with Server(data, "address=127.0.0.1:0", "reflection=true") as server:
        site = Site(server=server, register=CredentialRegister(data), ca=authority.pair.certificate)
        token = site.token(Scope.ADMIN)
        with connect(site.address, site.credentials(token)) as client:
            ingest_chats(client, "secret_source")
            sealed = client.mix.SealPlan(mix_pb2.SealPlanRequest(mix_yaml=MIX), timeout=60)
            found = client.store.Search(
                store_pb2.SearchRequest(source="secret_source", text="parcel", limit=1), timeout=60
            )
        with open_channel(site.address, site.credentials(token), options=()) as channel:
            StreamServiceStub(channel).StartRun(
                stream_pb2.StartRunRequest(
                    run_id=RUN, plan_id=sealed.plan_id, base_digest="ab" * 32
                ),
                timeout=60,
            )
        yield Site(
            server=server,
            register=site.register,
            ca=site.ca,
            plan_id=sealed.plan_id,
            example_id=found.results[0].example_id,
        )


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RECOLLECT_"):
            monkeypatch.delenv(name)
