"""`recollect serve`: runs the service."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from .terminal import ConfigOption, JsonOption, SetOption, console, print_json, settings_from


def serve(
    config: ConfigOption = None,
    overrides: SetOption = None,
    stop_with_stdin: Annotated[
        bool, typer.Option("--stop-with-stdin", help="Stop when standard input ends as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C.

    It prints one line with its address when it is ready.
    """
    settings = settings_from(config, overrides)
    from ..server import serve as run

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address, "data_folder": str(settings.data_folder)})
        else:
            console.print(f"serving {settings.data_folder} on {address}", highlight=False)
        console.file.flush()

    asyncio.run(run(settings, ready=ready, stop_with_stdin=stop_with_stdin))
