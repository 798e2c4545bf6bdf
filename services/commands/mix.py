"""`recollect mix`: validates, previews and seals mixes."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ...mixer.errors import Reason, RecollectError
from ...v1 import mix_pb2 as wire
from ..client import JOB_SECONDS, connect
from ..roles import role_word
from .terminal import DEFAULT_SERVER, JsonOption, ServerOption, console, print_json, table

app = typer.Typer(help="Validate, preview and seal mixes.", no_args_is_help=True)

MixArgument = Annotated[Path, typer.Argument(help="YAML file of the mix.")]


def read_mix(path: Path) -> str:
    """The text of a mix file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            f"cannot read the mix ({type(error).__name__}).",
            where=str(path),
            fix="Name an existing UTF-8 file.",
        ) from None


@app.command(epilog="Example: recollect mix check support.yaml")
def check(
    mix: MixArgument, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False
) -> None:
    """Validate a mix against what the store holds."""
    with connect(server) as client:
        answer = client.mix.CheckMix(
            wire.CheckMixRequest(mix_yaml=read_mix(mix)), timeout=JOB_SECONDS
        )
    if as_json:
        print_json({"valid": True, "fingerprint": answer.fingerprint})
    else:
        console.print(f"valid; fingerprint {answer.fingerprint}", highlight=False)


def _preview_tables(answer: wire.PreviewMixResponse) -> Iterator[Table]:
    """What is served, and what it is made of; two tables, so that both fit 80 columns."""
    yield table(
        f"{answer.num_steps:,} steps, {answer.num_rows:,} rows",
        ("source", "share", "rows", "epochs", "most served", "all used at step"),
        [
            (
                row.source,
                row.share,
                f"{row.num_rows:,}",
                f"{row.epochs:.2f}",
                f"{row.max_repeats} ×",
                "never" if row.exhaustion_step < 0 else f"{row.exhaustion_step:,}",
            )
            for row in answer.sources
        ],
        numbers=5,
    )
    yield table(
        "",
        ("source", "role", "examples", "cut", "tokens served", "of them learnt"),
        [
            (
                row.source,
                role_word(row.role),
                f"{row.num_examples:,}",
                f"{row.num_truncated:,}",
                f"{row.num_tokens:,}",
                f"{row.num_supervised_tokens:,}",
            )
            for row in answer.sources
        ],
        numbers=4,
    )


@app.command(epilog="Example: recollect mix preview support.yaml --json")
def preview(
    mix: MixArgument, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False
) -> None:
    """Show what a plan would serve: rows, epochs, repeats, exhaustion and tokens per source."""
    with connect(server) as client:
        answer = client.mix.PreviewMix(
            wire.PreviewMixRequest(mix_yaml=read_mix(mix)), timeout=JOB_SECONDS
        )
    if not as_json:
        for part in _preview_tables(answer):
            console.print(part)
        return
    print_json(
        {
            "num_steps": answer.num_steps,
            "num_rows": answer.num_rows,
            "sources": [preview_row(row) for row in answer.sources],
        }
    )


def preview_row(row: wire.SourcePreview) -> dict[str, object]:
    """One source of a preview as JSON."""
    return {
        "source": row.source,
        "role": role_word(row.role),
        "share": row.share,
        "num_examples": row.num_examples,
        "num_rows": row.num_rows,
        "epochs": row.epochs,
        "max_repeats": row.max_repeats,
        "exhaustion_step": None if row.exhaustion_step < 0 else row.exhaustion_step,
        "num_tokens": row.num_tokens,
        "num_supervised_tokens": row.num_supervised_tokens,
        "num_truncated": row.num_truncated,
    }


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
    with connect(server) as client:
        answer = client.mix.SealPlan(
            wire.SealPlanRequest(mix_yaml=read_mix(mix), actor=getpass.getuser()),
            timeout=JOB_SECONDS,
        )
    if output is not None:
        output.write_text(answer.plan_json, encoding="utf-8")
    if as_json:
        print_json({"plan_id": answer.plan_id, "plan": json.loads(answer.plan_json)})
    else:
        console.print(answer.plan_id, highlight=False)
