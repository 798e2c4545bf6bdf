"""`recollect mix list` and `mix show`: which plans there are, and what is in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import RenderableType

from ...mixer.mix import Mix
from ...mixer.plan import Plan
from ...mixer.shares import format_percent, format_share
from ...v1 import mix_pb2 as wire
from ...v1 import store_pb2
from ..client import JOB_SECONDS, ServiceClient, connect
from .mix_files import PLAN_HELP, find_plan
from .terminal import DEFAULT_SERVER, JsonOption, ServerOption, console, print_json, table

_SHORT = 12
"""Digits of an id in a table; 8 are enough to name a plan again."""


def list_plans(server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """List the sealed plans in the order in which they were sealed."""
    with connect(server) as client:
        plans = list(_plans(client))
    if as_json:
        print_json(
            [
                {
                    "plan_id": plan.plan_id,
                    "mix": plan.mix,
                    "num_steps": plan.num_steps,
                    "unit": plan.unit,
                    "purpose": _purpose(plan),
                    "sealed_time": plan.sealed_time,
                    "actor": plan.actor,
                }
                for plan in plans
            ]
        )
        return
    rows = [
        (
            plan.plan_id[:_SHORT],
            plan.mix,
            _purpose(plan),
            plan.unit.replace("_", " "),
            f"{plan.sealed_time[:19]}Z",
            plan.actor,
            f"{plan.num_steps:,}",
        )
        for plan in plans
    ]
    columns = ("plan", "mix", "purpose", "unit", "sealed", "by", "steps")
    shown = table("Plans", columns, rows, numbers=1)
    # An id that is broken over two lines names no plan, however narrow the terminal is.
    shown.columns[0].no_wrap = True
    console.print(shown, highlight=False)


def show(
    plan: Annotated[str, typer.Argument(help=PLAN_HELP)],
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Show what a plan was sealed of: mix, sources, shares, snapshot, steps."""
    found = find_plan(plan, server, with_measures=False)
    if as_json:
        sealed = json.loads(found.to_json())
        print_json({"plan_id": found.plan_id, "num_steps": found.num_steps, "plan": sealed})
        return
    for name, value in _facts(found):
        console.print(f"{name:<14}{value}", highlight=False, markup=False, soft_wrap=True)
    for part in _tables(found):
        console.print(part, highlight=False)


def _plans(client: ServiceClient) -> Iterator[wire.PlanSummary]:
    request = wire.ListPlansRequest()
    while True:
        answer = client.mix.ListPlans(request, timeout=JOB_SECONDS)
        yield from answer.plans
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _purpose(plan: wire.PlanSummary) -> str:
    return store_pb2.Purpose.Name(plan.purpose).removeprefix("PURPOSE_").lower()


def _facts(plan: Plan) -> list[tuple[str, str]]:
    mix = plan.mix
    facts = [
        ("plan", plan.plan_id),
        ("mix", mix.name),
        ("description", mix.description),
        ("purpose", str(mix.purpose)),
        ("steps", f"{plan.num_steps:,} of {mix.batch_size:,} rows, {plan.num_positions:,} in all"),
        ("shares count", mix.unit.replace("_", " ")),
        ("packing", str(mix.packing)),
        ("row", f"at most {mix.max_length:,} tokens"),
        ("seed", str(mix.seed)),
        ("policy", plan.policy.name if plan.policy else ""),
        ("snapshot", plan.snapshot_id),
        ("tokenizer", plan.tokenizer_digest),
    ]
    return [fact for fact in facts if fact[1]]


def _tables(plan: Plan) -> Iterator[RenderableType]:
    mix = plan.mix
    yield table(
        "Sources",
        ("source", "role", "when used up", "share", "examples", "rows of a pass"),
        [
            (
                source.name,
                str(source.role),
                f"{source.on_exhaustion}, {source.max_epochs:,} passes"
                if source.max_epochs
                else str(source.on_exhaustion),
                f"{format_share(source.share)} ({format_percent(source.share)})",
                f"{source.num_examples:,}",
                f"{source.num_rows:,}",
            )
            for source in plan.sources
        ],
        numbers=3,
    )
    if mix.changes:
        yield _changes(mix)


def _changes(mix: Mix) -> RenderableType:
    names = [item.source for item in mix.sources]
    return table(
        "Changes",
        ("from step", "shares", "reason"),
        [
            (
                f"{change.first_step:,}",
                ", ".join(f"{name} {format_percent(change.shares[name])}" for name in names),
                change.reason,
            )
            for change in mix.changes
        ],
    )
