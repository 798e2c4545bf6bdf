"""Runs on the wire: begun, acknowledged, gone on with, ended, each once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recollect.mixer.errors import Reason
from recollect.mixer.plan import Batch
from recollect.services.ledger import Ledger
from recollect.services.stream import ChatTemplate
from recollect.trainer.client import CHANNEL_OPTIONS
from recollect.v1 import stream_pb2 as pb
from recollect.v1 import stream_pb2_grpc

from .refusal import refused

if TYPE_CHECKING:
    from stream.replica import Replica, Server

BASE = "ba" * 32
TUNED = "1c" * 32


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        yield stream_pb2_grpc.StreamServiceStub(channel)


def counted(replica: Replica, shard: Batch) -> list[pb.SourceCount]:
    """What a shard has of each source, from the texts alone."""
    plan, template = replica.plan, ChatTemplate.load(replica.model)
    replicas = sys.modules["recollect_test_replica"]
    counts = [pb.SourceCount(source=source.name) for source in plan.sources]
    for index, example in zip(shard.sources.tolist(), shard.examples.tolist(), strict=True):
        messages = replicas.example(counts[index].source, example).messages
        row = template.render(messages, max_length=plan.mix.max_length)
        counts[index].num_rows += 1
        counts[index].num_tokens += len(row.input_ids)
        counts[index].num_supervised_tokens += int(row.loss_mask.sum())
    return counts


def ack_of(replica: Replica, run_id: str, step: int, rank: int = 0, size: int = 1) -> pb.AckRequest:
    shard = replica.plan.shard(step, rank, size)
    return pb.AckRequest(
        run_id=run_id,
        step=step,
        rank=rank,
        world_size=size,
        digest=shard.digest,
        counts=counted(replica, shard),
    )


def start_of(replica: Replica, run_id: str, **fields: str) -> pb.StartRunRequest:
    defaults: dict[str, Any] = {
        "plan_id": replica.plan.plan_id,
        "base_digest": BASE,
        "settings_json": '{"lr":0.1}',
    }
    return pb.StartRunRequest(run_id=run_id, **(defaults | fields))


def bodies(replica: Replica, kind: str, run_id: str) -> list[Any]:
    return [
        entry.body
        for entry in Ledger.read(replica.folder)
        if entry.kind == kind and entry.body["run_id"] == run_id
    ]


def test_an_acknowledgement_is_written_once(stub: Any, replica: Replica) -> None:
    stub.StartRun(start_of(replica, "once"))
    answers = [stub.Ack(ack_of(replica, "once", 0)) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    shard = replica.plan.shard(0, 0, 1)
    counts = counted(replica, shard)
    assert bodies(replica, "batch_acknowledged", "once") == [
        {
            "run_id": "once",
            "step": 0,
            "rank": 0,
            "world_size": 1,
            "digest": shard.digest.hex(),
            "counts": {"support": 14, "general": 5, "refusals": 1},
            "tokens": {count.source: count.num_tokens for count in counts},
            "supervised_tokens": {count.source: count.num_supervised_tokens for count in counts},
        }
    ]


def test_an_acknowledgement_answers_the_length_and_head_of_the_ledger(
    stub: Any, replica: Replica
) -> None:
    stub.StartRun(start_of(replica, "headed"))
    for step in range(3):
        answer = stub.Ack(ack_of(replica, "headed", step))
        entries = list(Ledger.read(replica.folder))
        assert answer.ledger_length == len(entries)
        assert answer.ledger_head == bytes.fromhex(entries[-1].digest)
        assert entries[-1].body["run_id"] == "headed" and entries[-1].body["step"] == step


@pytest.mark.parametrize(
    "what", ["digest", "counts", "tokens", "supervised", "missing counts", "other step"]
)
def test_an_acknowledgement_of_something_else_is_refused_and_not_written(
    stub: Any, replica: Replica, what: str
) -> None:
    run_id = f"differs-{what.replace(' ', '-')}"
    stub.StartRun(start_of(replica, run_id))
    request = ack_of(replica, run_id, 1)
    match what:
        case "digest":
            request.digest = bytes(32)
        case "counts":
            request.counts[0].num_rows += 1
        case "tokens":
            request.counts[0].num_tokens -= 1
        case "supervised":
            request.counts[2].num_supervised_tokens += 1
        case "missing counts":
            del request.counts[:]
        case "other step":
            request.step = 2
    with pytest.raises(grpc.RpcError) as caught:
        stub.Ack(request)
    reason, code, _ = refused(caught.value)
    assert (reason, code) == (Reason.BATCH_DIFFERS, grpc.StatusCode.DATA_LOSS)
    assert bodies(replica, "batch_acknowledged", run_id) == []


def test_an_acknowledged_step_with_another_digest_differs(stub: Any, replica: Replica) -> None:
    stub.StartRun(start_of(replica, "again"))
    request = ack_of(replica, "again", 0)
    stub.Ack(request)
    request.digest = bytes(32)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Ack(request)
    assert refused(caught.value)[0] is Reason.BATCH_DIFFERS


def test_a_run_that_did_not_begin_cannot_go_on(stub: Any, replica: Replica) -> None:
    for call, request in (
        (stub.Ack, ack_of(replica, "nobody", 0)),
        (stub.FinishRun, pb.FinishRunRequest(run_id="nobody", tuned_digest=TUNED)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert refused(caught.value)[0] is Reason.RUN_UNKNOWN


def test_a_run_goes_on_after_the_steps_that_every_rank_has(stub: Any, replica: Replica) -> None:
    assert stub.StartRun(start_of(replica, "resumed")).first_step == 0
    for step, rank in ((0, 0), (0, 1), (1, 1), (2, 0), (2, 1), (3, 0)):
        stub.Ack(ack_of(replica, "resumed", step, rank, 2))
    assert stub.StartRun(start_of(replica, "resumed")).first_step == 1
    stub.Ack(ack_of(replica, "resumed", 1, 0, 2))
    assert stub.StartRun(start_of(replica, "resumed")).first_step == 3
    stub.Ack(ack_of(replica, "resumed", 3))
    assert stub.StartRun(start_of(replica, "resumed")).first_step == 4
    assert len(bodies(replica, "run_started", "resumed")) == 1


@pytest.mark.parametrize("fields", [{"base_digest": "00" * 32}, {"settings_json": '{"lr":0.2}'}])
def test_a_run_id_stands_for_one_run(stub: Any, replica: Replica, fields: dict[str, str]) -> None:
    stub.StartRun(start_of(replica, "taken"))
    with pytest.raises(grpc.RpcError) as caught:
        stub.StartRun(start_of(replica, "taken", **fields))
    reason, code, metadata = refused(caught.value)
    assert (reason, code) == (Reason.RUN_CONFLICT, grpc.StatusCode.FAILED_PRECONDITION)
    assert metadata["fix"] == "Choose another run id for another run."


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"run_id": ""}, "run_id"),
        ({"run_id": "a/../b"}, "run_id"),
        ({"run_id": "a" * 65}, "run_id"),
        ({"run_id": "a\n"}, "run_id"),
        ({"base_digest": "weights"}, "base_digest"),
        ({"settings_json": "{"}, "settings_json"),
        ({"settings_json": '{"lr": NaN}'}, "settings_json"),
        ({"settings_json": "[" * 100_000}, "settings_json"),
    ],
)
def test_a_bad_field_is_named(
    stub: Any, replica: Replica, fields: dict[str, str], field: str
) -> None:
    request = start_of(replica, fields.pop("run_id", "fine"), **fields)
    with pytest.raises(grpc.RpcError) as caught:
        stub.StartRun(request)
    reason, code, metadata = refused(caught.value)
    assert (reason, code) == (Reason.CONFIG_INVALID, grpc.StatusCode.INVALID_ARGUMENT)
    assert metadata["where"] == field
    status = rpc_status.from_call(cast(grpc.Call, caught.value))
    violations = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(violations)
    assert [item.field for item in violations.field_violations] == [field]


def test_a_run_ends_once(stub: Any, replica: Replica) -> None:
    stub.StartRun(start_of(replica, "ended"))
    request = pb.FinishRunRequest(
        run_id="ended",
        tuned_digest=TUNED,
        measurements=[pb.Measurement(metric="nll", subject="general", before=2.5, after=2.25)],
    )
    stub.FinishRun(request)
    stub.FinishRun(request)
    assert bodies(replica, "run_finished", "ended") == [
        {
            "run_id": "ended",
            "tuned_digest": TUNED,
            "measurements": [{"metric": "nll", "subject": "general", "before": 2.5, "after": 2.25}],
        }
    ]
    request.measurements[0].after = 2.0
    with pytest.raises(grpc.RpcError) as caught:
        stub.FinishRun(request)
    assert refused(caught.value)[0] is Reason.RUN_CONFLICT


def test_a_measurement_is_a_finite_number(stub: Any, replica: Replica) -> None:
    stub.StartRun(start_of(replica, "infinite"))
    for value in (float("nan"), float("inf")):
        measurement = pb.Measurement(metric="nll", subject="task", before=1.0, after=value)
        with pytest.raises(grpc.RpcError) as caught:
            stub.FinishRun(
                pb.FinishRunRequest(
                    run_id="infinite", tuned_digest=TUNED, measurements=[measurement]
                )
            )
        assert refused(caught.value)[2]["where"] == "measurements"
    assert bodies(replica, "run_finished", "infinite") == []


def test_the_ledger_holds_settings_as_they_were_sent(stub: Any, replica: Replica) -> None:
    settings = {"epochs": 2, "rates": [0.1, 0.25], "note": "ä"}
    stub.StartRun(start_of(replica, "settings", settings_json=json.dumps(settings)))
    assert bodies(replica, "run_started", "settings")[0]["settings"] == settings


@pytest.mark.faults
def test_runs_survive_a_killed_server(replicas: Any, tmp_path: Path) -> None:
    made = replicas.make_replica(tmp_path / "data")
    with replicas.Server(made.folder) as first, grpc.insecure_channel(first.address) as channel:
        stub = stream_pb2_grpc.StreamServiceStub(channel)
        stub.StartRun(start_of(made, "kept"))
        stub.Ack(ack_of(made, "kept", 0))
    with replicas.Server(made.folder) as second, grpc.insecure_channel(second.address) as channel:
        stub = stream_pb2_grpc.StreamServiceStub(channel)
        assert stub.StartRun(start_of(made, "kept")).first_step == 1
        stub.Ack(ack_of(made, "kept", 0))
    assert len(bodies(made, "batch_acknowledged", "kept")) == 1
