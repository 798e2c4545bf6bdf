"""`recollect mix`: validates, previews, seals, lists, traces and compares mixes."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...mixer.sealing import differences
from ...v1 import mix_pb2 as wire
from ..client import JOB_SECONDS, connect
from ..yaml_text import mix_from_yaml
from . import mix_policy
from .mix_compare import compare
from .mix_files import (
    ABOUT_MIX,
    ABOUT_POLICY,
    PLAN_HELP,
    find_plan,
    naming,
    read_mix,
    read_text,
    require_folder,
    write_text,
)
from .mix_list import list_plans, show
from .mix_preview import preview_json, preview_tables
from .mix_propose import check_record, propose
from .mix_trace import trace
from .terminal import DEFAULT_SERVER, JsonOption, ServerOption, console, print_json, table

app = typer.Typer(
    help="Validate, preview, seal, list, trace and compare mixes.", no_args_is_help=True
)

PlanArgument = Annotated[str, typer.Argument(help=PLAN_HELP)]
MixArgument = Annotated[Path, typer.Argument(help="YAML file of the mix.")]


@app.command(epilog="Example: recollect mix check support.yaml")
def check(
    mix: MixArgument, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False
) -> None:
    """Validate a mix against what the store holds and the ratio policy of the service."""
    request = wire.CheckMixRequest(mix_yaml=read_mix(mix))
    with naming(mix, "mix", ABOUT_MIX), connect(server) as client:
        answer = client.mix.CheckMix(request, timeout=JOB_SECONDS)
    if as_json:
        print_json({"valid": True, "fingerprint": answer.fingerprint})
    else:
        console.print(f"valid; fingerprint {answer.fingerprint}", highlight=False)


@app.command(epilog="Example: recollect mix preview support.yaml --world 1 --world 8")
def preview(
    mix: MixArgument,
    worlds: Annotated[
        list[int] | None,
        typer.Option("--world", help="Also deal the rows to so many ranks; may be repeated."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Try this ratio policy in place of that of the service."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Show what a plan would serve: rows, repeats, exhaustion, tokens, padding, limits, ranks."""
    mix_yaml = read_mix(mix)
    request = wire.PreviewMixRequest(
        mix_yaml=mix_yaml,
        world_sizes=worlds or (),
        policy_yaml=read_text(policy, "ratio policy") if policy else "",
    )
    with (
        naming(mix, "mix", ABOUT_MIX),
        naming(policy, "policy", ABOUT_POLICY),
        connect(server) as client,
    ):
        answer = client.mix.PreviewMix(request, timeout=JOB_SECONDS)
    recipe = mix_from_yaml(mix_yaml)
    if as_json:
        print_json(preview_json(answer, recipe))
        return
    for part in preview_tables(answer, recipe):
        console.print(part, highlight=False)


@app.command(epilog="Example: recollect mix seal support.yaml")
def seal(
    mix: MixArgument,
    server: ServerOption = DEFAULT_SERVER,
    output: Annotated[
        Path | None, typer.Option("--output", help="Also write the plan as JSON to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Seal a mix, the store's present snapshot and the tokenizer to a plan, and print its id."""
    require_folder(output)
    request = wire.SealPlanRequest(mix_yaml=read_mix(mix), actor=getpass.getuser())
    with naming(mix, "mix", ABOUT_MIX), connect(server) as client:
        answer = client.mix.SealPlan(request, timeout=JOB_SECONDS)
    if output is not None:
        write_text(output, answer.plan_json)
    if as_json:
        print_json({"plan_id": answer.plan_id, "plan": json.loads(answer.plan_json)})
    else:
        console.print(answer.plan_id, highlight=False)


@app.command(epilog="Example: recollect mix diff PLAN_ID plan.json")
def diff(
    one: PlanArgument,
    other: PlanArgument,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Say where two plans differ, field by field; exit code 1 if they do."""
    plans = [find_plan(given, server, with_measures=False) for given in (one, other)]
    paths = differences(*plans)
    contents = [plan.content() for plan in plans]
    rows = [(path, *(_shown(_value(content, path)) for content in contents)) for path in paths]
    if as_json:
        print_json([{"field": path, "one": mine, "other": yours} for path, mine, yours in rows])
    elif rows:
        columns = ("field", plans[0].plan_id[:12], plans[1].plan_id[:12])
        console.print(table(f"{len(rows)} differences", columns, rows), highlight=False)
    else:
        console.print(f"the same plan, {plans[0].plan_id}", highlight=False)
    if rows:
        raise typer.Exit(1)


def _value(content: Any, path: str) -> Any:
    """What a path such as `sources[1].name` leads to."""
    for key in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(content, list):
            content = content[int(key)]
        else:
            content = content.get(key) if isinstance(content, dict) else None
    return content


def _shown(value: Any) -> str:
    """A value for a table: cut short, since what differs may be a whole list."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 24 else f"{text[:23]}…"


app.command("list", epilog="Example: recollect mix list")(list_plans)
app.command(epilog="Example: recollect mix show 8eb9bafb")(show)
app.command(epilog="Example: recollect mix trace PLAN_ID --from 0 --to 640 --world 8")(trace)
app.command(epilog="Example: recollect mix compare support.yaml --world 4")(compare)
app.command(
    epilog="Example: recollect mix propose support.yaml loop.yaml --observations losses.jsonl"
)(propose)
app.command("replay", epilog="Example: recollect mix replay proposals.jsonl")(check_record)
app.add_typer(mix_policy.app, name="policy")
