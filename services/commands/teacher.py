"""`recollect teacher`: lets the frozen teacher write and annotate."""

from __future__ import annotations

from typing import Annotated

import typer

from ...v1 import teacher_pb2 as wire
from ..client import CALL_SECONDS, JOB_SECONDS, connect
from ..rehearsing import rehearse_into
from .terminal import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    console,
    print_json,
    progress,
    table,
)

app = typer.Typer(help="Let the frozen teacher write and annotate.", no_args_is_help=True)


@app.command(epilog="Example: recollect teacher describe")
def describe(server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """Say which teacher serves."""
    with connect(server) as client:
        answer = client.teacher.DescribeTeacher(wire.DescribeTeacherRequest(), timeout=CALL_SECONDS)
    body: dict[str, str | int] = {
        "digest": answer.digest,
        "tokenizer_digest": answer.tokenizer_digest,
        "num_parameters": answer.num_parameters,
        "max_length": answer.max_length,
    }
    if as_json:
        print_json(body)
    else:
        rows = [
            (name, f"{value:,}" if isinstance(value, int) else value)
            for name, value in body.items()
        ]
        console.print(table("Teacher", ("property", "value"), rows))


@app.command(epilog="Example: recollect teacher rehearse synthetic --examples 200")
def rehearse(
    source: Annotated[str, typer.Argument(help="Name of the synthetic source.")],
    num_examples: Annotated[int, typer.Option("--examples", min=1, help="How many to keep.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampler.")] = 0,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Write pseudo-rehearsal examples with the teacher.

    They pass the same de-identification as what people wrote, and carry their lineage.
    """
    with connect(server) as client, progress(as_json=as_json) as bar:
        answer = rehearse_into(client, source, num_examples=num_examples, seed=seed, bar=bar)
    drops = {drop.reason: drop.count for drop in answer.drops}
    if as_json:
        print_json({"num_written": answer.num_written, "num_kept": answer.num_kept, "drops": drops})
        return
    console.print(f"{answer.num_kept:,} kept of {answer.num_written:,} written")
    for reason, count in sorted(drops.items()):
        console.print(f"  dropped {count:,}: {reason}")


@app.command(epilog="Example: recollect teacher annotate PLAN_ID")
def annotate(
    plan_id: Annotated[str, typer.Argument(help="Id of a sealed plan.")],
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Annotate every token of a plan's sources with the teacher's log-probability."""
    sources: dict[str, wire.AnnotateResponse] = {}
    with connect(server) as client, progress(as_json=as_json) as bar:
        task = bar.add_task("annotate", total=None)
        for answer in client.teacher.Annotate(
            wire.AnnotateRequest(plan_id=plan_id), timeout=JOB_SECONDS
        ):
            if answer.source:
                sources[answer.source] = answer
                bar.update(task, description=f"annotate {answer.source}: {answer.num_examples:,}")
    if as_json:
        print_json(
            {
                name: {
                    "num_examples": a.num_examples,
                    "num_tokens": a.num_tokens,
                    "mean_nll": a.mean_nll,
                }
                for name, a in sources.items()
            }
        )
        return
    rows = [
        (name, f"{a.num_examples:,}", f"{a.num_tokens:,}", f"{a.mean_nll:.3f}")
        for name, a in sources.items()
    ]
    columns = ("source", "examples", "supervised tokens", "nats per token")
    console.print(table("What the teacher says of each source", columns, rows, numbers=3))
