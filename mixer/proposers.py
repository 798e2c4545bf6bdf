"""Proposers: all kinds of policies that propose shares, read by their kind and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from .bandit import Exp3Like
from .document import quote, read_model
from .errors import Reason, RecollectError
from .example import Role
from .guardrail_loop import GuardrailLoop
from .limits import Limits, RatioPolicy
from .proposals import Observation, PointsField, Proposal, Proposer, Step
from .ramp import Ramp
from .scaling_law import AdoLike

PROPOSERS: Mapping[str, type[Proposer] | type[Ramp]] = {
    "ado_like": AdoLike,
    "exp3_like": Exp3Like,
    "guardrail_loop": GuardrailLoop,
    "ramp": Ramp,
}

Model = TypeVar("Model", bound=BaseModel)
JsonObject: TypeAlias = dict[str, Any]


class Inputs(BaseModel):
    """What a proposal was worked out from, as it is recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    proposer: JsonObject
    policy: JsonObject
    sources: tuple[tuple[str, Role], ...]


class MeasuredInputs(Inputs):
    """Those of a proposer that measures."""

    current: PointsField
    memory: JsonObject
    observation: JsonObject


class TimetableInputs(Inputs):
    """Those of a ramp."""

    first_step: Step


def read_proposer(data: object) -> Proposer | Ramp:
    """The proposer that parsed YAML or JSON describes; its `kind` says which.

    Raises:
        RecollectError: `POLICY_INVALID`, with the field that is wrong.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in PROPOSERS:
        raise RecollectError(
            Reason.POLICY_INVALID,
            f"it must be one of {', '.join(PROPOSERS)}; {quote(kind)} was given",
            where="kind",
        )
    return read_model(PROPOSERS[kind], data, noun="proposer", reason=Reason.POLICY_INVALID)


def replay(inputs: Mapping[str, Any]) -> Proposal | None:
    """Works a proposal out again from its recorded inputs, after whatever way through JSON.

    Raises:
        RecollectError: `VERSION_UNKNOWN`, `POLICY_INVALID` or `MEASUREMENT_INVALID`, if they are
            not the inputs of a proposal.
    """
    version = inputs.get("version")
    if version != 1:
        raise RecollectError(
            Reason.VERSION_UNKNOWN,
            f"the inputs have version {quote(version)}; 1 is known",
            where="inputs.version",
        )
    proposer = read_proposer(inputs.get("proposer"))
    if isinstance(proposer, Ramp):
        timetable = _read(TimetableInputs, inputs)
        found = proposer.proposals(_limits(timetable))
        return next((item for item in found if item.first_step == timetable.first_step), None)
    measured = _read(MeasuredInputs, inputs)
    memory = _read(proposer.memory, measured.memory)
    observation = read_model(
        Observation, measured.observation, noun="observation", reason=Reason.MEASUREMENT_INVALID
    )
    return proposer.propose(_limits(measured), measured.current, memory, observation)[1]


def _limits(inputs: Inputs) -> Limits:
    return Limits(policy=RatioPolicy.from_mapping(inputs.policy), sources=inputs.sources)


def _read(model: type[Model], data: Mapping[str, Any]) -> Model:
    return read_model(model, dict(data), noun="inputs", reason=Reason.POLICY_INVALID)
