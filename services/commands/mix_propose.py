"""`recollect mix propose` and `replay`: shares that a policy would change, and the proof."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ...mixer.errors import Reason, RecollectError
from ...mixer.limits import BASIS_POINTS, Limits, RatioPolicy
from ...mixer.mix import Mix
from ...mixer.projection import project
from ...mixer.proposals import Observation, Proposal, Proposer
from ...mixer.proposers import replay
from ...mixer.ramp import Ramp
from ...mixer.shares import format_percent
from ..ratio_policy import read_ratio_policy
from ..yaml_text import proposer_from_yaml
from .mix_files import (
    ABOUT_LIMITS,
    ABOUT_POLICY,
    naming,
    read_recipe,
    read_text,
    require_folder,
    write_text,
)
from .terminal import JsonOption, console, print_json

NO_LIMITS = RatioPolicy(name="none")


def propose(
    mix: Annotated[Path, typer.Argument(help="YAML file of the mix.")],
    proposer: Annotated[
        Path,
        typer.Argument(
            help="YAML file of the policy: ramp, guardrail_loop, ado_like or exp3_like."
        ),
    ],
    observations: Annotated[
        Path | None,
        typer.Option(help="JSON lines of what was measured: step, values and rows; not for ramps."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Ratio policy that has to be kept.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Also write each proposal with all its inputs here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the changes of shares that a policy would make, ready for the mix; change nothing."""
    require_folder(record)
    recipe = read_recipe(mix)
    agreed = NO_LIMITS if policy is None else read_ratio_policy(policy)
    with naming(policy, "policy", ABOUT_POLICY | ABOUT_LIMITS):
        limits = Limits.of(agreed, {item.source: item.role for item in recipe.sources})
    text = read_text(proposer, "proposer")
    with naming(proposer, "proposer", ABOUT_POLICY):
        chosen = proposer_from_yaml(text)
    # A ramp has shares of its own to be held against the limits; the others begin with the mix's.
    measured = proposer if isinstance(chosen, Ramp) else mix
    with naming(measured, "shares", ABOUT_LIMITS), naming(proposer, "proposer", ABOUT_POLICY):
        found = list(_proposals(chosen, recipe, limits, observations))
    if record is not None:
        write_text(record, "".join(f"{item.to_json()}\n" for item in found))
    names = [item.source for item in recipe.sources]
    changes = [
        {
            "first_step": item.first_step,
            "shares": {
                name: format_percent(share).replace(" ", "")
                for name, share in zip(names, item.shares, strict=True)
            },
            "reason": item.reason,
        }
        for item in found
    ]
    if as_json:
        print_json({"changes": changes})
    elif changes:
        if recipe.changes:
            console.print("# add these to the changes that the mix has", markup=False)
        text = yaml.safe_dump({"changes": changes}, sort_keys=False, default_flow_style=None)
        console.print(text.rstrip(), highlight=False, markup=False, soft_wrap=True)
    else:
        console.print("nothing to change")


def check_record(
    record: Annotated[Path, typer.Argument(help="What `mix propose --record` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Work recorded proposals out again from their inputs alone; exit 65 if one differs."""
    lines = read_text(record, "record").splitlines()
    for number, line in enumerate(lines, start=1):
        where = f"{record}:{number}"
        again = replay(_object(line, where).get("inputs", {}))
        if again is None or again.to_json() != line:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "the recorded proposal is not what its inputs give.",
                where=where,
                fix="Do not trust this record; ask who changed it.",
            )
    if as_json:
        print_json({"num_proposals": len(lines), "replayed": True})
    else:
        console.print(f"{len(lines)} proposals, each worked out again to the last basis point")


def _proposals(
    chosen: Proposer | Ramp, recipe: Mix, limits: Limits, observations: Path | None
) -> Iterator[Proposal]:
    """What the policy proposes, if each proposal is accepted."""
    if isinstance(chosen, Ramp):
        yield from chosen.proposals(limits)
        return
    if observations is None:
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "this policy proposes from what was measured.",
            where="--observations",
            fix="Name a file of JSON lines with step, values and, for exp3_like, rows.",
        )
    shares = recipe.timeline.stages[-1].shares
    memory, current = chosen.begin(limits, shares), project(shares, limits)
    for number, line in enumerate(read_text(observations, "observations").splitlines(), start=1):
        found = _object(line, f"{observations}:{number}")
        observation = Observation.of(
            found.get("step", -1), found.get("values", {}), found.get("rows")
        )
        _require_last_stage(recipe, observation.step, f"{observations}:{number}")
        memory, proposal = chosen.propose(limits, current, memory, observation)
        if proposal is not None:
            current = tuple(int(share * BASIS_POINTS) for share in proposal.shares)
            yield proposal


def _require_last_stage(recipe: Mix, step: int, where: str) -> None:
    """Refuses to start from shares that are not in force when something is measured."""
    if recipe.changes and step < recipe.changes[-1].first_step:
        raise RecollectError(
            Reason.MEASUREMENT_INVALID,
            f"step {step} was measured before the mix changes its own shares at step "
            f"{recipe.changes[-1].first_step}.",
            where=where,
            fix="Leave out what was measured before, or propose for the mix without that change.",
        )


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RecollectError(
            Reason.INPUT_MALFORMED, "the line is not one JSON object.", where=where
        )
    return found
