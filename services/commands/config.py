"""`recollect config`: the schema and the effective values of the configuration."""

from __future__ import annotations

import json

import typer

from ..config import json_schema, to_json
from .terminal import ConfigOption, SetOption, console, settings_from

app = typer.Typer(help="See the configuration and its schema.", no_args_is_help=True)


@app.command(epilog="Example: recollect config schema > recollect.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    console.print_json(json.dumps(json_schema()))


@app.command(epilog="Example: recollect config show --set teacher.threads=4")
def show(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Print the effective values as JSON."""
    console.print_json(to_json(settings_from(config, overrides)))
