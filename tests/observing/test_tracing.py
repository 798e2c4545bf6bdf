"""Traces: from the fetch of a trainer over the service to the acknowledgement, and without any."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from recollect.services.client import connect
from recollect.v1 import mix_pb2, store_pb2, tracing

from .conftest import NUM_STEPS, ingest, mix

if TYPE_CHECKING:
    from access.conftest import Server, clean_environment
else:
    from ..access.conftest import Server, clean_environment

TRAINER = """
import sys
from recollect.trainer.client import connect
from recollect.v1.tracing import export_over_otlp
from tests.observing.conftest import train

stop = export_over_otlp("trainer") if sys.argv[3] == "traced" else lambda: None
client = connect(sys.argv[1])
train(client, sys.argv[2], sys.argv[4])
client.close()
stop()
"""


class Collector:
    """Receives spans over OTLP, as the collector of OpenTelemetry does."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

        self.spans: list[Any] = []
        collector = self

        class Servicer(service.TraceServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                return wire.ExportTraceServiceResponse()

        self.server = grpc.server(ThreadPoolExecutor(2))
        add: Any = service.add_TraceServiceServicer_to_server
        add(Servicer(), self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk")
    made = Collector()
    yield made
    made.server.stop(None)


def _trainer(address: str, plan_id: str, *words: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-c", TRAINER, address, plan_id, *words],
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        env=clean_environment() | environment,
    )


@pytest.mark.slow
def test_one_trace_goes_from_the_fetch_to_the_acknowledgements(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    with Server(tmp_path / "data", "traces.exporter=otlp", "logs.format=json") as server:
        with connect(server.address) as operator:
            ingest(operator, "tickets", store_pb2.ROLE_TASK)
            ingest(operator, "chatter", store_pb2.ROLE_GENERAL)
            request = mix_pb2.SealPlanRequest(mix_yaml=mix(NUM_STEPS))
            plan_id = operator.mix.SealPlan(request, timeout=60).plan_id
        _trainer(server.address, plan_id, "traced", "first", **collector.environment)
        # Of a trainer that collects nothing, the service sees calls that belong to nothing.
        _trainer(server.address, plan_id, "untraced", "second")
    (fetch,) = collector.named("recollect.fetch")
    fetches = collector.named("recollect.v1.StreamService/Fetch")
    (answered,) = (span for span in fetches if span.trace_id == fetch.trace_id)
    assert answered.parent_span_id == fetch.span_id
    assert len(fetches) == 2 and {span.trace_id for span in fetches} != {fetch.trace_id}
    gathers = [g for g in collector.named("recollect.gather") if g.trace_id == fetch.trace_id]
    assert gathers and {span.parent_span_id for span in gathers} == {answered.span_id}
    acks = collector.named("recollect.ack")
    assert len(acks) == NUM_STEPS
    assert {(ack.trace_id, ack.parent_span_id) for ack in acks} == {(fetch.trace_id, fetch.span_id)}
    recorded = [
        span
        for span in collector.named("recollect.v1.StreamService/Ack")
        if span.trace_id == fetch.trace_id
    ]
    assert {span.parent_span_id for span in recorded} == {ack.span_id for ack in acks}
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    by_trace = defaultdict(list)
    for line in lines:
        by_trace[line.get("trace_id")].append(line)
    logged = [line["method"] for line in by_trace[fetch.trace_id.hex()]]
    assert sorted(set(logged)) == [
        "recollect.v1.StreamService/Ack",
        "recollect.v1.StreamService/Fetch",
    ]
    # Law 1: what they say of themselves is numbers and ids.
    assert not [span for span in collector.spans if span.events]
    assert b"lorry" not in b"".join(span.SerializeToString() for span in collector.spans)


@pytest.mark.slow
def test_a_call_that_fails_is_a_span_with_its_reason_alone(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    with Server(tmp_path / "data", "traces.exporter=otlp") as server:
        with pytest.raises(Exception, match="mix"), connect(server.address) as operator:
            request = mix_pb2.SealPlanRequest(mix_yaml="secret-text: [")
            operator.mix.SealPlan(request, timeout=60)
        time.sleep(0.5)
    (span,) = collector.named("recollect.v1.MixService/SealPlan")
    assert span.status.message == "MIX_INVALID" and span.status.code == 2
    assert b"secret-text" not in span.SerializeToString()


def test_without_the_package_there_are_no_spans_and_nothing_else_changes() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from recollect.v1 import stream_pb2, tracing\n"
        "from recollect.trainer.tracing import Journeys\n"
        "journeys = Journeys()\n"
        "span = journeys.fetch(stream_pb2.FetchRequest(num_steps=3))\n"
        "assert span is tracing.NOTHING and span.metadata == () and span.trace_id == ''\n"
        "assert span.part('x') is span and span.context is None\n"
        "assert journeys.ack(stream_pb2.AckRequest(step=1)) is tracing.NOTHING\n"
        "assert tracing.parent_in([('traceparent', '00-' + 'a' * 32 + '-' + 'b' * 16 + '-01')])"
        " is None\n"
        "span.note({'a': 1}); span.end('X')\n"
        "from recollect.services.config import Settings\n"
        "from recollect.services.observation import observed\n"
        "from recollect.services.observing import Metrics\n"
        "try:\n"
        "    with observed(Settings(traces={'exporter': 'otlp'}), Metrics()): pass\n"
        "except Exception as error:\n"
        "    print(error.reason.name, 'observe' in error.fix)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment()
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "PACKAGE_MISSING True"


def test_without_a_collector_there_are_no_spans() -> None:
    assert tracing.begin("recollect.fetch") is tracing.NOTHING


def test_what_is_no_traceparent_belongs_to_nothing() -> None:
    for text in ("", "x", "00-zz-yy-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "ff" * 500):
        parent = tracing.parent_in([("traceparent", text)])
        assert tracing.begin("a", parent=parent) is tracing.NOTHING
