"""`recollect mix compare`: what a mix would get under the rules of other loaders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ...mixer.mix import Mix, Unit
from ...mixer.packing import Packing
from ...mixer.peers import PeerRow
from ...mixer.peers import compare as compare_rules
from .mix_files import read_recipe, require_folder, write_text
from .terminal import JsonOption, console, notes, print_json, table


def compare(
    mix: Annotated[Path, typer.Argument(help="YAML file of the mix.")],
    world: Annotated[int, typer.Option("--world", min=1, help="Number of ranks.")] = 4,
    num_batches: Annotated[
        int, typer.Option("--batches", min=1, max=100_000, help="Batches to be served.")
    ] = 10_000,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also draw it, as an SVG file of this name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the shares of a mix would become under the rules of other loaders.

    Every rule serves the shares of the first step, in rows of one example; what else the mix asks
    for is left out, and named. No service is needed. "Off own rows" is how far a rank is from the
    shares of the rows that it got itself; `mix preview` says how far it is from what it is owed.
    """
    require_folder(picture)
    recipe = read_recipe(mix)
    # Who rests at the first step is not mixed there.
    present = [item for item in recipe.sources if item.share]
    shares = [item.share for item in present]
    rarest = min(reversed(present), key=lambda item: item.share).source
    rows = compare_rules(
        shares,
        batch_size=recipe.batch_size,
        world_size=world,
        num_batches=num_batches,
        seed=recipe.seed,
    )
    if picture is not None:
        # What draws pictures comes with the demo.
        from ..demo.peer_picture import peer_picture

        drawn = peer_picture(
            shares, rarest_name=rarest, batch_size=recipe.batch_size, world_size=world
        )
        write_text(picture, drawn)
        notes.print(f"drawn: {picture}", highlight=False, markup=False)
    for line in _left_out(recipe):
        notes.print(f"left out: {line}", highlight=False, markup=False)
    if as_json:
        print_json([_row_json(row) for row in rows])
        return
    title = f"{num_batches:,} batches of {recipe.batch_size} rows, {world} ranks"
    for part in _tables(rows, rarest=rarest, title=title):
        console.print(part, highlight=False)
    console.print(_OWN_ROWS, highlight=False)
    for row in rows:
        if row.refusal:
            console.print(f"{row.rule.name}: {row.refusal}", highlight=False, markup=False)


_OWN_ROWS = (
    "off own rows: how far a rank is from the shares of the rows that it got itself. `recollect\n"
    "mix preview` says how far it is from what it is owed, its part of the rows of all ranks."
)


def _left_out(recipe: Mix) -> Iterator[str]:
    """What the mix asks for that the comparison does not follow."""
    if recipe.unit is not Unit.EXAMPLES:
        yield f"unit; shares count rows here, not {recipe.unit.replace('_', ' ')}"
    if recipe.packing is not Packing.NONE:
        yield f"packing; a row is one example here, not a pack ({recipe.packing})"
    if recipe.changes:
        first = recipe.changes[0].first_step
        yield f"changes; the shares of the first step hold here also from step {first} on"


def _tables(rows: Sequence[PeerRow], *, rarest: str, title: str) -> list[Table]:
    served = [(row.rule.name, row.figures) for row in rows if row.figures]
    by_batch = [
        (
            name,
            f"{figures.worst_batch:.2f}",
            f"{figures.worst_window:.2f}",
            f"{figures.long_run:.2f}",
            f"{figures.worst_prefix_rows:,.1f}",
        )
        for name, figures in served
    ]
    by_rank = [
        (
            name,
            f"{figures.batches_without_rarest:.1%}",
            f"{min(figures.rank_shares):.2%}",
            f"{max(figures.rank_shares):.2%}",
            f"{figures.worst_rank_rows:,.1f}",
        )
        for name, figures in served
    ]
    points = ("rule", "batch", "1,000 rows", "in the end", "rows off")
    ranks = ("rule", "batches without", "least", "most", "off own rows")
    return [
        table(f"{title}: percentage points off, at worst", points, by_batch, numbers=4),
        table(f"Who gets {rarest}", ranks, by_rank, numbers=4),
    ]


def _row_json(row: PeerRow) -> dict[str, object]:
    return {
        "rule": row.rule.name,
        "packages": list(row.rule.packages),
        "refusal": row.refusal or None,
        "figures": dataclasses.asdict(row.figures) if row.figures else None,
    }
