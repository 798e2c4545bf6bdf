"""Every call of the contract: refused to whoever may not make it, and answered to whoever may."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from recollect.mixer.errors import CATALOG, Reason
from recollect.services.access import OPEN_METHODS, SCOPES, Scope
from recollect.services.access.credentials import new_id, new_token
from recollect.v1 import audit_pb2, mix_pb2, store_pb2, stream_pb2, teacher_pb2
from recollect.v1.connection import open_channel

from .conftest import METHODS, MIX, REFLECTION, RUN, Site, call, outcome

pytestmark = pytest.mark.slow

GUARDED = sorted(SCOPES)
ACCESS_REASONS = {
    reason.name
    for reason in Reason
    if CATALOG[reason].status in ("UNAUTHENTICATED", "PERMISSION_DENIED")
}


@pytest.fixture(scope="module")
def channels(site: Site) -> Iterator[dict[str, grpc.Channel]]:
    """A channel for each way to be wrong, and for each scope to be right."""
    tokens: dict[str, str | None] = {
        "none": None,
        "unknown": new_token(new_id()),
        "no token": "a-token-of-somebody-else",
        "expired": site.expired(),
        "revoked": site.revoked(),
        "rival": site.token(Scope.ADMIN, tenant="rival"),
        **{scope: site.token(scope) for scope in Scope},
    }
    opened = {
        name: open_channel(site.address, site.credentials(token), options=())
        for name, token in tokens.items()
    }
    yield opened
    for channel in opened.values():
        channel.close()


def test_the_table_of_scopes_names_every_call_of_every_service_and_no_other() -> None:
    health_service = health_pb2.DESCRIPTOR.services_by_name["Health"]
    assert health_service.full_name == health.SERVICE_NAME
    probes = {f"/{health.SERVICE_NAME}/{method.name}" for method in health_service.methods}
    assert probes == OPEN_METHODS
    assert REFLECTION.startswith(f"/{reflection.SERVICE_NAME}/")
    assert set(SCOPES) == {*METHODS, REFLECTION}
    assert all(Scope.ADMIN in allowed for allowed in SCOPES.values())


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ("none", "CREDENTIAL_MISSING"),
        ("unknown", "CREDENTIAL_UNKNOWN"),
        ("no token", "CREDENTIAL_UNKNOWN"),
        ("expired", "CREDENTIAL_EXPIRED"),
        ("revoked", "CREDENTIAL_REVOKED"),
    ],
)
@pytest.mark.parametrize("method", GUARDED)
def test_no_call_is_answered_without_a_valid_credential(
    channels: dict[str, grpc.Channel], method: str, shown: str, reason: str
) -> None:
    assert outcome(channels[shown], method) == ("UNAUTHENTICATED", reason)
    # Refused before it is read: bytes that are no request of anything make no difference.
    assert outcome(channels[shown], method, [b"\xff" * 64]) == ("UNAUTHENTICATED", reason)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("method", GUARDED)
def test_a_call_is_answered_with_its_scopes_and_with_no_other(
    channels: dict[str, grpc.Channel], method: str, scope: Scope
) -> None:
    status, reason = outcome(channels[scope], method)
    if scope in SCOPES[method]:
        # An empty request may still be refused for what it lacks.
        assert reason not in ACCESS_REASONS and reason != "INTERNAL"
        assert status not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNKNOWN", "INTERNAL")
    else:
        assert (status, reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")


def _raw(n: int) -> store_pb2.RawExample:
    message = store_pb2.Message(speaker="text", content="Anything at all.")
    return store_pb2.RawExample(
        messages=[message], pointer=store_pb2.Pointer(file="a.jsonl", row=n)
    )


def _requests(site: Site, *, exists: bool) -> dict[str, list[object]]:
    """What names objects of a tenant: those that it has, or such as nobody has."""
    plan = site.plan_id if exists else "00" * 32
    source = "secret_source" if exists else "no_source"
    run = RUN if exists else "no-run"
    example = site.example_id if exists else "00" * 16
    mix = MIX if exists else MIX.replace("secret_source", "no_source")
    header = store_pb2.IngestHeader(source=source)
    group = store_pb2.RawExamples(examples=[_raw(0)])
    return {
        "/recollect.v1.StoreService/Ingest": [
            store_pb2.IngestRequest(header=header),
            store_pb2.IngestRequest(examples=group),
        ],
        "/recollect.v1.StoreService/FindNearDuplicates": [
            store_pb2.FindNearDuplicatesRequest(source=source)
        ],
        "/recollect.v1.StoreService/Search": [
            store_pb2.SearchRequest(source=source, text="parcel", limit=1)
        ],
        "/recollect.v1.StoreService/ListQuarantine": [
            store_pb2.ListQuarantineRequest(source=source)
        ],
        "/recollect.v1.StoreService/DropQuarantine": [
            store_pb2.DropQuarantineRequest(source=source, why="a test")
        ],
        "/recollect.v1.MixService/CheckMix": [mix_pb2.CheckMixRequest(mix_yaml=mix)],
        "/recollect.v1.MixService/PreviewMix": [mix_pb2.PreviewMixRequest(mix_yaml=mix)],
        "/recollect.v1.MixService/SealPlan": [mix_pb2.SealPlanRequest(mix_yaml=mix)],
        "/recollect.v1.MixService/GetPlan": [mix_pb2.GetPlanRequest(plan_id=plan)],
        "/recollect.v1.MixService/ListPlans": [mix_pb2.ListPlansRequest(prefix=plan)],
        "/recollect.v1.MixService/GetMeasures": [
            mix_pb2.GetMeasuresRequest(plan_id=plan, source=source)
        ],
        "/recollect.v1.StreamService/Fetch": [
            stream_pb2.FetchRequest(plan_id=plan, num_steps=1, world_size=1)
        ],
        "/recollect.v1.StreamService/Ack": [stream_pb2.AckRequest(run_id=run, world_size=1)],
        "/recollect.v1.StreamService/StartRun": [
            stream_pb2.StartRunRequest(run_id="other", plan_id=plan, base_digest="ab" * 32)
        ],
        "/recollect.v1.StreamService/FinishRun": [
            stream_pb2.FinishRunRequest(run_id=run, tuned_digest="cd" * 32)
        ],
        "/recollect.v1.TeacherService/Rehearse": [
            teacher_pb2.RehearseRequest(source=source, num_examples=1)
        ],
        "/recollect.v1.TeacherService/Annotate": [teacher_pb2.AnnotateRequest(plan_id=plan)],
        "/recollect.v1.AuditService/AuditRun": [audit_pb2.AuditRunRequest(run_id=run)],
        "/recollect.v1.AuditService/FindOrigins": [
            audit_pb2.FindOriginsRequest(example_id=example)
        ],
        "/recollect.v1.AuditService/AuditResidual": [
            audit_pb2.AuditResidualRequest(num_examples=1, sources=[source])
        ],
    }


NAMELESS = {
    "/recollect.v1.StoreService/RegisterSource",
    "/recollect.v1.StoreService/ListSources",
    "/recollect.v1.StoreService/Preview",
    "/recollect.v1.TeacherService/DescribeTeacher",
    "/recollect.v1.AuditService/ListEntries",
    "/recollect.v1.DeidService/Deidentify",
    "/recollect.v1.DeidService/ListPolicies",
}
"""Calls whose requests name nothing that could be another tenant's."""


def test_each_call_that_names_an_object_is_tried_with_another_tenants(site: Site) -> None:
    assert {*_requests(site, exists=True), *NAMELESS} == set(METHODS)


@pytest.mark.parametrize("method", sorted(set(METHODS) - NAMELESS))
def test_what_another_tenant_has_does_not_exist(
    site: Site, channels: dict[str, grpc.Channel], method: str
) -> None:
    theirs = _answer(site, channels["rival"], method, _requests(site, exists=True)[method])
    nothing = _answer(site, channels["rival"], method, _requests(site, exists=False)[method])
    # Word for word what is said of an object that nobody has, but for its name.
    assert theirs == nothing
    own = _answer(site, channels["admin"], method, _requests(site, exists=True)[method])
    assert theirs != own


def _answer(
    site: Site, channel: grpc.Channel, method: str, requests: list[object]
) -> tuple[str, ...]:
    """What a call ends with, without the names that it asked for."""
    try:
        return ("OK", *(answer.hex() for answer in call(channel, method, requests)))
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        details = error.details() or ""
        for name in ("secret_source", "no_source", RUN, "no-run", site.plan_id, "00" * 32):
            details = details.replace(name, "NAME")
        return (error.code().name, details)


def test_lists_hold_nothing_of_another_tenant(channels: dict[str, grpc.Channel]) -> None:
    listed = call(channels["rival"], "/recollect.v1.StoreService/ListSources")
    entries = call(channels["rival"], "/recollect.v1.AuditService/ListEntries")
    assert b"secret" not in b"".join((*listed, *entries))
    assert b"secret_source" in call(channels["admin"], "/recollect.v1.StoreService/ListSources")[0]


def test_probes_need_no_credential(channels: dict[str, grpc.Channel]) -> None:
    (answer,) = call(channels["none"], "/grpc.health.v1.Health/Check")
    serving = health_pb2.HealthCheckResponse.SERVING
    assert health_pb2.HealthCheckResponse.FromString(answer).status == serving


def test_a_call_that_is_none_is_unimplemented_for_all(channels: dict[str, grpc.Channel]) -> None:
    for shown in ("none", "admin"):
        for method in ("/recollect.v1.StoreService/Nothing", "/other.Service/Call"):
            assert outcome(channels[shown], method)[0] == "UNIMPLEMENTED"


def test_bytes_that_are_no_request_are_a_typed_refusal(channels: dict[str, grpc.Channel]) -> None:
    for method in METHODS:
        status, reason = outcome(channels["admin"], method, [b"\xff" * 64])
        assert (status, reason) == ("INVALID_ARGUMENT", "INPUT_MALFORMED"), method
