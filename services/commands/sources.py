"""`recollect sources`: what the replay store holds."""

from __future__ import annotations

from typing import Annotated

import typer

from ...v1 import store_pb2 as wire
from ..client import JOB_SECONDS, connect
from ..roles import role_word
from .terminal import DEFAULT_SERVER, JsonOption, ServerOption, console, print_json, table

app = typer.Typer(help="See what the replay store holds.", no_args_is_help=True)

SourceArgument = Annotated[str, typer.Argument(help="Name of the source.")]


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


@app.command("list", epilog="Example: recollect sources list --json")
def list_sources(server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """List the sources with their examples and what was replaced in them."""
    with connect(server) as client:
        answer = client.store.ListSources(wire.ListSourcesRequest(), timeout=JOB_SECONDS)
    rows = [
        {
            "source": item.source.name,
            "role": role_word(item.source.role),
            "purpose": _word(wire.Purpose.Name(item.source.purpose), "PURPOSE_"),
            "licence": item.source.licence,
            "legal_basis": item.source.legal_basis,
            "num_examples": item.num_examples,
            "num_segments": item.num_segments,
            "num_quarantined": item.num_quarantined,
            "findings": {f.entity_type: f.count for f in item.findings},
        }
        for item in answer.sources
    ]
    if as_json:
        print_json(rows)
        return
    columns = ("source", "role", "purpose", "licence", "examples", "quarantined", "replaced")
    cells = [
        (
            str(row["source"]),
            str(row["role"]),
            str(row["purpose"]),
            str(row["licence"]),
            f"{row['num_examples']:,}",
            f"{row['num_quarantined']:,}",
            f"{sum(f.count for f in item.findings):,}",
        )
        for row, item in zip(rows, answer.sources, strict=True)
    ]
    console.print(table("Sources", columns, cells, numbers=3))


@app.command(epilog="Example: recollect sources duplicates support --threshold 0.95")
def duplicates(
    source: SourceArgument,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1.0, help="Least cosine similarity.")
    ] = 0.0,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Report groups of nearly equal examples."""
    with connect(server) as client:
        answer = client.store.FindNearDuplicates(
            wire.FindNearDuplicatesRequest(source=source, threshold=threshold), timeout=JOB_SECONDS
        )
    if as_json:
        print_json(
            {
                "num_examples": answer.num_examples,
                "groups": [
                    {"example_ids": list(g.example_ids), "similarity": g.similarity}
                    for g in answer.groups
                ],
            }
        )
        return
    console.print(f"{len(answer.groups):,} groups among {answer.num_examples:,} examples")
    for group in answer.groups[:20]:
        ids = ", ".join(group.example_ids[:6])
        console.print(f"  {group.similarity:.3f}  {ids}", highlight=False)


@app.command(epilog='Example: recollect sources search support "parcel arrived broken"')
def search(
    source: SourceArgument,
    text: Annotated[str, typer.Argument(help="What to look for; de-identified first.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many to show.")] = 5,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Find the stored examples nearest to a text."""
    with connect(server) as client:
        answer = client.store.Search(
            wire.SearchRequest(source=source, text=text, limit=limit), timeout=JOB_SECONDS
        )
    if as_json:
        print_json(
            [
                {
                    "example_id": r.example_id,
                    "similarity": r.similarity,
                    "messages": [{"role": m.speaker, "content": m.content} for m in r.messages],
                }
                for r in answer.results
            ]
        )
        return
    for result in answer.results:
        first = result.messages[0].content if result.messages else ""
        console.print(f"{result.similarity:.3f}  {result.example_id}  {first[:90]!r}", markup=False)
