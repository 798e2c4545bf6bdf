"""`recollect mix policy`: checks a ratio policy, and mixes against it, without a service."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from ...mixer.limits import ANY_SHARE, BASIS_POINTS, Limits, Margin, Range, check_limits
from ...mixer.shares import format_percent
from ..ratio_policy import read_ratio_policy
from .mix_files import ABOUT_MIX, naming, read_recipe
from .terminal import JsonOption, console, print_json, table

app = typer.Typer(help="Check floors and ceilings of shares.", no_args_is_help=True)


@app.command(epilog="Example: recollect mix policy check limits.yaml support.yaml")
def check(
    policy: Annotated[Path, typer.Argument(help="YAML file of the ratio policy.")],
    mix: Annotated[
        Path | None, typer.Argument(help="YAML file of a mix that has to keep it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a ratio policy and, if one is named, the shares of a mix against it."""
    read = read_ratio_policy(policy)
    margins: list[Margin] = []
    if mix is not None:
        recipe = read_recipe(mix)
        roles = {item.source: item.role for item in recipe.sources}
        stages = [stage.shares for stage in recipe.timeline.stages]
        with naming(mix, "mix", ABOUT_MIX):
            limits = check_limits(read, roles, *stages)
        margins = _narrowest(limits, stages)
    if as_json:
        print_json(
            {
                "valid": True,
                "fingerprint": read.fingerprint,
                "margins": [_margin_json(margin) for margin in margins],
            }
        )
        return
    console.print(f"valid; fingerprint {read.fingerprint}", highlight=False)
    if margins:
        rows = [
            (m.path, format_percent(m.share), _floor(m.limit), _ceiling(m.limit)) for m in margins
        ]
        console.print(
            table("Nearest to a limit", ("limit", "share", "floor", "ceiling"), rows, numbers=3),
            highlight=False,
        )


def _narrowest(limits: Limits, stages: list[tuple[Fraction, ...]]) -> list[Margin]:
    """For each limit that is set, the share of the stage that comes nearest to it."""
    by_limit = zip(*(limits.margins(shares) for shares in stages), strict=True)
    return [
        min(margins, key=lambda margin: min(margin.above_floor, margin.below_ceiling))
        for margins in by_limit
        if margins[0].limit != ANY_SHARE
    ]


def _floor(limit: Range) -> str:
    return format_percent(Fraction(limit.floor, BASIS_POINTS)) if limit.floor else ""


def _ceiling(limit: Range) -> str:
    if limit.ceiling == BASIS_POINTS:
        return ""
    return format_percent(Fraction(limit.ceiling, BASIS_POINTS))


def _margin_json(margin: Margin) -> dict[str, object]:
    return {
        "path": margin.path,
        "share": str(margin.share),
        "floor": margin.limit.floor,
        "ceiling": margin.limit.ceiling,
    }
