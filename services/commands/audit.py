"""`recollect audit`: what happened, and what went into a model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ...mixer.errors import Reason, RecollectError
from ...v1 import audit_pb2 as wire
from ..client import JOB_SECONDS, connect
from ..core_dumps import refuse_core_dumps
from .terminal import (
    DEFAULT_SERVER,
    ConfigOption,
    JsonOption,
    ServerOption,
    SetOption,
    console,
    print_json,
    settings_from,
    table,
)

app = typer.Typer(help="Ask what happened, and what went into a model.", no_args_is_help=True)


@app.command(epilog="Example: recollect audit log --kind plan_sealed")
def log(
    kind: Annotated[str, typer.Option("--kind", help="Only entries of this kind.")] = "",
    first: Annotated[int, typer.Option("--first", min=0, help="First sequence number.")] = 0,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Print the ledger; with --json one entry per line."""
    with connect(server) as client:
        request = wire.ListEntriesRequest(first_sequence=first, kind=kind)
        for entry in client.audit.ListEntries(request, timeout=JOB_SECONDS):
            if as_json:
                body = {
                    "sequence": entry.sequence,
                    "time": entry.time,
                    "kind": entry.kind,
                    "actor": entry.actor,
                    "body": json.loads(entry.body_json),
                    "digest": entry.digest,
                }
                typer.echo(json.dumps(body))
            else:
                brief = _brief(json.loads(entry.body_json))
                line = f"{entry.sequence:>6}  {entry.time[:19]}Z  {entry.kind:<19} {brief}"
                console.print(
                    line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True
                )


_FIRST = ("run_id", "mix", "step", "rank", "source", "plan_id", "num_stored")
"""What tells entries of one kind apart comes first."""


def _brief(body: dict[str, object]) -> str:
    """The short values of an entry on one line; digests by their beginning."""
    rank = {name: place for place, name in enumerate(_FIRST)}
    ordered = sorted(body, key=lambda name: (rank.get(name, len(rank)), name))
    shown = {n: body[n] for n in ordered if isinstance(body[n], str | int | float)}
    line = " ".join(
        f"{name}={value[:12] if isinstance(value, str) and len(value) >= 64 else value}"
        for name, value in shown.items()
    )
    # What clients sent must not steer the terminal.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


@app.command(epilog="Example: recollect audit run support-mix-0")
def run(
    run_id: Annotated[str, typer.Argument(help="Id of the run.")],
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Recount from the ledger what a run was trained on and check it against its plan.

    Exit code 0: nothing differs from the plan. Exit code 1: something does.
    """
    with connect(server) as client:
        answer = client.audit.AuditRun(wire.AuditRunRequest(run_id=run_id), timeout=JOB_SECONDS)
    if as_json:
        print_json(audit_body(run_id, answer))
    else:
        rows = [
            (
                s.source,
                s.share,
                f"{s.num_planned:,}",
                f"{s.num_trained:,}",
                f"{s.realised_share:.2%}",
                f"{s.max_deviation:.3f}",
            )
            for s in answer.sources
        ]
        state = "finished" if answer.finished else "not finished"
        unit = (answer.unit or "examples").replace("_", " ")
        realised = f"share of {'rows' if unit == 'examples' else unit}"
        columns = ("source", "share", "planned rows", "trained rows", realised, "worst deviation")
        title = f"{run_id}: {answer.num_steps:,} steps, {state}, plan {answer.plan_id[:12]}"
        console.print(table(title, columns, rows, numbers=4))
        for difference in answer.differences:
            console.print(f"[red]differs[/red] {difference}", highlight=False)
        if not answer.differences:
            console.print("[green]nothing differs from the plan[/green]")
    if answer.differences:
        raise typer.Exit(1)


def audit_body(run_id: str, answer: wire.AuditRunResponse) -> dict[str, object]:
    """An audit as JSON."""
    return {
        "run_id": run_id,
        "plan_id": answer.plan_id,
        "num_steps": answer.num_steps,
        "unit": answer.unit,
        "finished": answer.finished,
        "differences": list(answer.differences),
        "sources": [
            {
                "source": s.source,
                "share": s.share,
                "num_planned": s.num_planned,
                "num_trained": s.num_trained,
                "num_tokens": s.num_tokens,
                "num_supervised_tokens": s.num_supervised_tokens,
                "realised_share": s.realised_share,
                "max_deviation": s.max_deviation,
            }
            for s in answer.sources
        ],
        "measurements": json.loads(answer.measurements_json or "[]"),
    }


@app.command(epilog="Example: recollect audit origins --file my_chats.jsonl")
def origins(
    example_id: Annotated[str, typer.Option("--example", help="Id of an example.")] = "",
    subject: Annotated[
        str, typer.Option("--subject", help="Identifier of a person, as the input had it.")
    ] = "",
    file: Annotated[str, typer.Option("--file", help="Name of an input file.")] = "",
    row: Annotated[
        str, typer.Option("--row", help="PLAN_ID:POSITION of a row that a plan serves.")
    ] = "",
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Say where stored examples came from: by example, person, input file or row of a plan.

    The origins of a row are those of all examples that are packed into it, in their order.
    """
    given = {"example_id": example_id, "subject": subject, "file": file, "row": row}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value}
    if len(asked) != 1:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{len(asked)} things were asked for.",
            where="audit origins",
            fix="Give exactly one of --example, --subject, --file and --row.",
        )
    if row:
        asked["row"] = _position(row)
    with connect(server) as client:
        answer = client.audit.FindOrigins(wire.FindOriginsRequest(**asked), timeout=JOB_SECONDS)
    found = [
        {
            "example_id": o.example_id,
            "source": o.source,
            "file": o.pointer.file,
            "row": o.pointer.row,
            "policy": o.policy,
            "segment_id": o.segment_id,
        }
        for o in answer.origins
    ]
    if as_json:
        print_json(found)
        return
    rows = [[str(value) for value in origin.values()] for origin in found]
    columns = ("example", "source", "file", "row", "policy", "segment")
    console.print(table(f"{len(found):,} examples", columns, rows))


def _position(row: str) -> wire.PlanPosition:
    plan_id, _, position = row.partition(":")
    if not (plan_id and position.isdecimal() and len(position) < 19):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{row!r:.90} is not PLAN_ID:POSITION.",
            where="--row",
            fix="Rows of a plan are numbered from 0 on; batch_size of them are a step.",
        )
    return wire.PlanPosition(plan_id=plan_id, position=int(position))


@app.command(epilog="Example: recollect audit rebuild recollect-data")
def rebuild(
    data_folder: Annotated[Path, typer.Argument(help="Data folder of a service that is stopped.")],
    as_json: JsonOption = False,
) -> None:
    """Throw every cache away and make catalog and indexes anew from segments and ledger.

    Token caches are made again when a plan first needs them.
    """
    from ..rebuilding import rebuild_caches

    result = rebuild_caches(data_folder)
    if as_json:
        print_json(asdict(result))
    else:
        console.print(
            f"[green]rebuilt[/green]: catalog of {result.num_examples:,} examples, "
            f"{result.num_indexes:,} indexes",
            highlight=False,
        )


@app.command(epilog="Example: recollect audit verify recollect-data")
def verify(
    data_folder: Annotated[Path, typer.Argument(help="Data folder of a service, running or not.")],
    as_json: JsonOption = False,
) -> None:
    """Check the ledger's chain of digests and every segment's bytes, without the service."""
    from ..verification import verify_folder

    result = verify_folder(data_folder)
    if as_json:
        print_json(
            {
                "num_entries": result.num_entries,
                "num_segments": result.num_segments,
                "head": result.head,
            }
        )
    else:
        console.print(
            f"[green]intact[/green]: {result.num_entries:,} entries, {result.num_segments:,} "
            f"segments, head {result.head[:16]}",
            highlight=False,
        )


@app.command(epilog="Example: recollect audit scan recollect-data labelled.jsonl")
def scan(
    data_folder: Annotated[Path, typer.Argument(help="Data folder that the rows went into.")],
    labelled: Annotated[
        Path,
        typer.Argument(
            help="JSONL of invented rows: id, text, and spans of entity_type, start, end."
        ),
    ],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure de-identification on labelled invented rows, and scan every byte of a data folder.

    Lists what the detector misses, by type; and where a value that it does find lies in the folder
    all the same. Exit code 0: nowhere. Exit code 1: somewhere.
    """
    from ..labelled import examine

    refuse_core_dumps()
    result = examine(data_folder, labelled, settings_from(config, overrides).privacy)
    if as_json:
        print_json(asdict(result))
    else:
        rows = [
            (kind, f"{n:,}", f"{result.num_missed.get(kind, 0):,}", f"{result.recall[kind]:.0%}")
            for kind, n in result.num_spans.items()
        ]
        columns = ("type", "labelled", "missed", "recall")
        console.print(table("De-identification, measured", columns, rows, numbers=3))
        for row_id, kind, text in result.missed:
            console.print(f"missed {kind} in {row_id}: {text}", highlight=False, markup=False)
        for leak in result.leaks:
            console.print(f"[red]leaked[/red] {leak}", highlight=False)
        console.print(
            f"{result.num_values:,} detected values looked for, {len(result.leaks)} found"
        )
    if result.leaks:
        raise typer.Exit(1)
