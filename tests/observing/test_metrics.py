"""Metrics: what a service tells is what it did, and no label grows with what it serves."""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from recollect.mixer.errors import RecollectError
from recollect.services.ledger import Ledger
from recollect.services.observing import Gathered, Metrics, StreamWatch
from recollect.services.observing.metrics import MOST_TENANTS, OTHER
from recollect.services.observing.streams import STALL_SECONDS
from recollect.services.stream.standing import furthest_off
from recollect.services.tenants import tenant_folder
from recollect.v1.connection import open_channel
from recollect.v1.stream_pb2 import FetchRequest
from recollect.v1.stream_pb2_grpc import StreamServiceStub

from .conftest import HOLDER, NUM_STEPS, RUN, TENANT, Scene, samples, train, value

pytestmark = pytest.mark.slow

STREAM = "recollect.v1.StreamService"


def test_what_was_sent_is_what_arrived(scene: Scene) -> None:
    text = scene.scraped()
    arrived = {
        "tokens": sum(sum(step.source_tokens) for step in scene.steps),
        "rows": sum(step.num_rows for step in scene.steps),
        "messages": scene.num_messages,
    }
    told = {what: value(text, f"recollect_stream_{what}_total", tenant=TENANT) for what in arrived}
    assert told == arrived
    assert value(text, "recollect_stream_gather_seconds_count") >= scene.num_messages
    assert value(text, "recollect_stream_ready_seconds_count") >= scene.num_messages
    sent = value(text, "recollect_sent_bytes_total", method=f"{STREAM}/Fetch")
    assert sent > 2 * arrived["tokens"]


def test_acknowledged_tokens_are_those_of_each_role(scene: Scene) -> None:
    text = scene.scraped()
    assert value(text, "recollect_acks_total", tenant=TENANT) == NUM_STEPS
    for place, role in enumerate(("task", "general")):
        told = value(text, "recollect_acknowledged_tokens_total", tenant=TENANT, role=role)
        assert told == sum(step.source_tokens[place] for step in scene.steps) > 0


def test_an_acknowledgement_that_is_repeated_counts_once(scene: Scene) -> None:
    before = value(scene.scraped(), "recollect_acks_total", tenant=TENANT)
    train(scene.client, scene.plan_id, RUN)
    assert value(scene.scraped(), "recollect_acks_total", tenant=TENANT) == before
    ended = value(
        scene.scraped(), "recollect_calls_total", method=f"{STREAM}/Ack", code="OK", reason=""
    )
    assert ended >= 2 * NUM_STEPS


def test_the_deviation_of_a_run_is_that_of_what_it_acknowledged(scene: Scene) -> None:
    plan = scene.client.plan(scene.plan_id)
    rows = [sum(step.source_rows[place] for step in scene.steps) for place in range(2)]
    expected = max(abs(rows[0] - sum(rows) * 2 / 3), abs(rows[1] - sum(rows) / 3))
    told = value(scene.scraped(), "recollect_run_deviation", tenant=TENANT, unit="examples")
    assert told == pytest.approx(expected) and told < 1
    # Rows that a plan never dealt are told as what they are.
    wrong = {"counts": {"tickets": 40, "chatter": 40}, "tokens": {}, "supervised_tokens": {}}
    assert furthest_off(plan, wrong) == pytest.approx(80 / 6)


def test_the_ledger_is_as_long_as_its_file(scene: Scene) -> None:
    kept = list(Ledger.read(tenant_folder(scene.server.data, TENANT) / "ledger"))
    assert value(scene.scraped(), "recollect_ledger_entries", tenant=TENANT) == len(kept)


def test_a_cache_is_built_once_for_each_source_and_length(scene: Scene) -> None:
    text = scene.scraped()
    folder = tenant_folder(scene.server.data, TENANT) / "cache" / "tokens"
    built = value(text, "recollect_token_cache_builds_total", cause="missing")
    assert built == len(list(folder.glob("*.tokens.arrow"))) > 0
    assert value(text, "recollect_token_cache_builds_total", cause="damaged") == 0


def test_what_is_refused_is_counted_by_its_reason(scene: Scene) -> None:
    method = "recollect.v1.MixService/GetPlan"
    told = {"method": method, "code": "NOT_FOUND", "reason": "PLAN_UNKNOWN"}
    after = value(scene.scraped(), "recollect_calls_total", **told) + 1
    with pytest.raises(RecollectError):
        scene.client.plan("00" * 32)
    # A client has its answer a moment before the call has ended.
    assert _until(scene, "recollect_calls_total", after, **told) == after
    assert _until(scene, "recollect_calls_in_flight", 0, method=method) == 0


def test_methods_that_there_are_none_of_share_a_label(scene: Scene) -> None:
    told = {"method": "unknown", "code": "UNIMPLEMENTED", "reason": ""}
    before = value(scene.scraped(), "recollect_calls_total", **told)
    with open_channel(scene.server.address, scene.credentials(scene.token), options=()) as channel:
        for number in range(3):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/made.up/Method{number}", None, None)(b"", timeout=10)
    text = scene.scraped()
    assert value(text, "recollect_calls_total", **told) == before + 3
    assert "made.up" not in text


def test_a_client_that_does_not_read_is_a_stalled_stream_until_it_goes(scene: Scene) -> None:
    before = value(scene.scraped(), "recollect_stream_stalls_total", waiting_for="client")
    with open_channel(scene.server.address, scene.credentials(scene.token), options=()) as channel:
        stream = StreamServiceStub(channel).Fetch(
            FetchRequest(plan_id=scene.long_plan_id, world_size=1), timeout=60
        )
        next(iter(stream))
        stalled = _until(scene, "recollect_streams_stalled", 1, waiting_for="client")
        assert (
            stalled == 1 == value(scene.scraped(), "recollect_streams_open", waiting_for="client")
        )
        # The stall counts once the message is on its way, for which there has to be room.
        for _ in stream:
            after = value(scene.scraped(), "recollect_stream_stalls_total", waiting_for="client")
            if after > before:
                break
        assert after > before
        stream.cancel()  # type: ignore[no-untyped-call]
        assert _until(scene, "recollect_streams_open", 0, waiting_for="client") == 0
    gone = {"method": f"{STREAM}/Fetch", "code": "CANCELLED", "reason": ""}
    assert value(scene.scraped(), "recollect_calls_total", **gone) >= 1


def _until(scene: Scene, name: str, expected: float, **labels: str) -> float:
    """What a metric says once it says what is expected, or after a while."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = value(scene.scraped(), name, **labels)
        if found == expected:
            break
        time.sleep(0.05)
    return found


def test_no_label_holds_what_there_may_be_any_number_of(scene: Scene) -> None:
    text = scene.scraped()
    said = {value for _, labels in samples(text) for _, value in labels}
    for many in (scene.plan_id, RUN, HOLDER, str(scene.server.data), "tickets", scene.token):
        assert not [one for one in said if many in one]
    assert not [one for one in said if re.search("[0-9a-f]{16}", one)]


def test_tenants_beyond_a_number_share_a_label() -> None:
    metrics = Metrics()
    labels = {metrics.tenant(f"tenant-{n}") for n in range(10 * MOST_TENANTS)}
    assert len(labels) == MOST_TENANTS + 1 and OTHER in labels
    assert metrics.tenant("tenant-0") == "tenant-0"


@pytest.mark.parametrize("waiting_for", ["client", "gather"])
def test_a_wait_is_a_stall_from_a_tenth_of_a_second_on(waiting_for: str) -> None:
    metrics = Metrics()
    watch = StreamWatch(metrics)
    gathered = Gathered(message=None, num_rows=1, num_tokens=2, ready_at=time.monotonic())
    with watch.of("a").stream() as stream:
        for nap in (0.0, 1.2 * STALL_SECONDS, 0.0):
            time.sleep(nap if waiting_for == "gather" else 0)
            stream.taken()
            time.sleep(nap if waiting_for == "client" else 0)
            stream.sent(gathered)
    told = {
        sample.labels["waiting_for"]: sample.value
        for sample in next(iter(metrics.stalls.collect())).samples
        if sample.name.endswith("_total")
    }
    other = "client" if waiting_for == "gather" else "gather"
    assert told == {waiting_for: 1, other: 0}
    assert not watch.streams


def test_streams_may_open_and_close_while_somebody_looks(
    request: pytest.FixtureRequest,
) -> None:
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(1e-6)
    metrics = Metrics()
    meter = StreamWatch(metrics).of("a")
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            with meter.stream(), meter.stream(), meter.stream():
                pass

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        # So many that a look takes longer than a stream is open.
        with ExitStack() as held:
            for _ in range(500):
                held.enter_context(meter.stream())
            for _ in range(50):
                list(metrics.registry.collect())
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_every_metric_is_documented(scene: Scene) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/observe.md").read_text(encoding="utf-8")
    metrics = {
        family.name
        for family in Metrics().registry.collect()
        if not family.name.endswith("_created")
    }
    told = {name for name, _ in samples(scene.scraped()) if not name.endswith("_created")}
    assert metrics and not [name for name in metrics if f"`{name}" not in page]
    named = set(re.findall(r"`(recollect_[a-z_]+)`", page))
    assert not [name for name in named if not any(one.startswith(name) for one in told)]
