"""`recollect serve`: runs the service."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from .terminal import (
    ConfigOption,
    JsonOption,
    SetOption,
    console,
    notes,
    print_json,
    settings_from,
)


def serve(
    config: ConfigOption = None,
    overrides: SetOption = None,
    stop_with_stdin: Annotated[
        bool, typer.Option("--stop-with-stdin", help="Stop when standard input ends as well.")
    ] = False,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby",
            help="Load everything, wait until nobody serves the data folder, then take over.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C.

    It prints one line with its address, and what protects the way to it, when it is ready. It
    listens on a Unix socket in the data folder unless `address` says otherwise; TCP needs a
    certificate. A second one with --standby takes over within a second when the first ends, however
    it ends.
    """
    settings = settings_from(config, overrides)
    from ..listening import Way
    from ..server import serve as run

    def ready(address: str, way: Way) -> None:
        if way is Way.INSECURE:
            # Also beside --json: whoever reads the log of a service has to come across it.
            notes.print(
                f"[bold white on red] INSECURE [/] {address}: calls, data and tokens travel in the "
                "clear, and without a credential in its register the service answers anybody",
                highlight=False,
            )
        if as_json:
            told = {"address": address, "way": way.name.lower()}
            print_json(told | {"data_folder": str(settings.data_folder)})
        else:
            serving = f"serving {settings.data_folder} on {address} ({way})"
            console.print(serving, highlight=False, soft_wrap=True)
        console.file.flush()

    def waiting() -> None:
        told = f"standing by for {settings.data_folder}"
        notes.print(told, highlight=False, soft_wrap=True, markup=False)

    serving = run(
        settings,
        ready=ready,
        stop_with_stdin=stop_with_stdin,
        standby=waiting if standby else None,
    )
    asyncio.run(serving)
