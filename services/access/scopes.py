"""Scopes: which calls a credential allows. A call that is not in this table is refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Scope(StrEnum):
    """What a holder does; each allows the calls that this takes."""

    TRAINER = "trainer"
    """Lists and reads plans, fetches measures and batches, acknowledges, starts and ends runs."""
    MIXER = "mixer"
    """Ingests, looks at sources, checks, previews and seals mixes, rehearses and annotates."""
    AUDITOR = "auditor"
    """Reads ledger, audits, plans and previews; of what is left, the outcome is recorded."""
    DEIDENTIFIER = "deidentifier"
    """De-identifies records that it holds anyway; sees nothing of what is stored."""
    ADMIN = "admin"
    """Everything in its tenant."""


def _allow(*scopes: Scope) -> frozenset[Scope]:
    return frozenset({*scopes, Scope.ADMIN})


_TRAINER = _allow(Scope.TRAINER)
_MIXER = _allow(Scope.MIXER)
_AUDITOR = _allow(Scope.AUDITOR)
_MIXER_OR_AUDITOR = _allow(Scope.MIXER, Scope.AUDITOR)
_WHO_KNOWS_PLANS = _allow(Scope.TRAINER, Scope.MIXER, Scope.AUDITOR)
_MIXER_OR_DEIDENTIFIER = _allow(Scope.MIXER, Scope.DEIDENTIFIER)
_ANYBODY = frozenset(Scope)

SCOPES: Mapping[str, frozenset[Scope]] = {
    "/recollect.v1.StoreService/RegisterSource": _MIXER,
    "/recollect.v1.StoreService/Ingest": _MIXER,
    "/recollect.v1.StoreService/ListSources": _MIXER_OR_AUDITOR,
    "/recollect.v1.StoreService/FindNearDuplicates": _MIXER,
    # It answers with the text of examples, which an auditor needs no more than a trainer does.
    "/recollect.v1.StoreService/Search": _MIXER,
    "/recollect.v1.StoreService/Preview": _MIXER_OR_AUDITOR,
    "/recollect.v1.StoreService/ListQuarantine": _MIXER_OR_AUDITOR,
    "/recollect.v1.StoreService/DropQuarantine": _MIXER,
    "/recollect.v1.MixService/CheckMix": _MIXER_OR_AUDITOR,
    "/recollect.v1.MixService/PreviewMix": _MIXER_OR_AUDITOR,
    "/recollect.v1.MixService/SealPlan": _MIXER,
    "/recollect.v1.MixService/GetPlan": _WHO_KNOWS_PLANS,
    "/recollect.v1.MixService/ListPlans": _WHO_KNOWS_PLANS,
    "/recollect.v1.MixService/GetMeasures": _WHO_KNOWS_PLANS,
    "/recollect.v1.StreamService/Fetch": _TRAINER,
    "/recollect.v1.StreamService/Ack": _TRAINER,
    "/recollect.v1.StreamService/StartRun": _TRAINER,
    "/recollect.v1.StreamService/FinishRun": _TRAINER,
    "/recollect.v1.TeacherService/DescribeTeacher": _WHO_KNOWS_PLANS,
    "/recollect.v1.TeacherService/Rehearse": _MIXER,
    "/recollect.v1.TeacherService/Annotate": _MIXER,
    "/recollect.v1.AuditService/ListEntries": _AUDITOR,
    "/recollect.v1.AuditService/AuditRun": _AUDITOR,
    "/recollect.v1.AuditService/FindOrigins": _AUDITOR,
    "/recollect.v1.AuditService/AuditResidual": _AUDITOR,
    # It answers only of what the caller sent, but with stand-ins under the tenant's key.
    "/recollect.v1.DeidService/Deidentify": _MIXER_OR_DEIDENTIFIER,
    "/recollect.v1.DeidService/ListPolicies": _allow(
        Scope.MIXER, Scope.DEIDENTIFIER, Scope.AUDITOR
    ),
    # The contract is public, but whether a service speaks it is for those who may ask it.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ANYBODY,
}
"""Full name of a method → the scopes of which a credential needs one."""

OPEN_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
    }
)
"""What needs no credential: an orchestrator's probes have none, and learn only that we serve."""
