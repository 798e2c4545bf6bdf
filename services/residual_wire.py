"""Outcomes of residual audits on the wire; whoever reads one computes its bounds again."""

from __future__ import annotations

from dataclasses import asdict

from ..v1 import audit_pb2 as wire
from .privacy.residual import Outcome, Recapture, Stratum, Survivor


def outcome_to_wire(outcome: Outcome) -> wire.ResidualOutcome:
    """An outcome as it is sent."""
    return wire.ResidualOutcome(
        snapshot_id=outcome.snapshot_id,
        seed=outcome.seed,
        detectors=outcome.detectors,
        whole=_stratum_to_wire(outcome.whole),
        sources=map(_stratum_to_wire, outcome.sources),
        entity_types=map(_stratum_to_wire, outcome.entity_types),
        recapture=[
            wire.ResidualRecapture(entity_type=kind, num_drawn=drawn, num_found=found)
            for kind, (found, drawn) in sorted(outcome.recapture.by_type.items())
        ],
        at_most_by_recapture=outcome.at_most_by_recapture,
        num_without_places=outcome.num_without_places,
        survivors=[wire.ResidualFinding(**asdict(one)) for one in outcome.survivors],
    )


def outcome_from_wire(sent: wire.ResidualOutcome) -> Outcome:
    """The outcome that was sent."""
    by_type = {one.entity_type: (one.num_found, one.num_drawn) for one in sent.recapture}
    return Outcome(
        snapshot_id=sent.snapshot_id,
        seed=sent.seed,
        detectors=tuple(sent.detectors),
        whole=_stratum_from_wire(sent.whole),
        sources=tuple(map(_stratum_from_wire, sent.sources)),
        entity_types=tuple(map(_stratum_from_wire, sent.entity_types)),
        recapture=Recapture(
            num_drawn=sum(drawn for _, drawn in by_type.values()),
            num_found=sum(found for found, _ in by_type.values()),
            by_type=by_type,
        ),
        num_without_places=sent.num_without_places,
        survivors=tuple(
            Survivor(
                example_id=one.example_id,
                source=one.source,
                verdict=one.verdict,
                entity_type=one.entity_type,
                message=one.message,
                start=one.start,
                end=one.end,
                stage=one.stage,
                shape=one.shape,
            )
            for one in sent.survivors
        ),
    )


def _stratum_to_wire(one: Stratum) -> wire.ResidualStratum:
    return wire.ResidualStratum(
        name=one.name,
        num_examples=one.num_examples,
        num_sampled=one.num_sampled,
        num_surviving=one.num_surviving,
        num_undecidable=one.num_undecidable,
        at_most=one.at_most,
        at_most_with_undecidable=one.at_most_with_undecidable,
    )


def _stratum_from_wire(sent: wire.ResidualStratum) -> Stratum:
    return Stratum(
        name=sent.name,
        num_examples=sent.num_examples,
        num_sampled=sent.num_sampled,
        num_surviving=sent.num_surviving,
        num_undecidable=sent.num_undecidable,
    )
