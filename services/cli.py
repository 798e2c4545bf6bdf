"""The command line: `recollect`.

Commands outside this package join through the entry-point group `recollect.commands`, so that the
service never imports the trainer. Heavy packages are imported by the commands that need them.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..mixer.errors import Reason, RecollectError
from .commands import access, audit, config, deid, mix, quarantine, sources, teacher
from .commands.demo import demo
from .commands.doctor import doctor
from .commands.ingest import ingest
from .commands.serve import serve
from .commands.terminal import console, print_error

app = typer.Typer(
    name="recollect",
    help="Keep what the model knew; never keep who said it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Begin with: recollect demo",
)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"recollect {__version__}", highlight=False)
        raise typer.Exit


def _file_option(name: str, words: str) -> typer.models.OptionInfo:
    variable = f"RECOLLECT_{name.upper().replace('-', '_')}"
    option: typer.models.OptionInfo = typer.Option(f"--{name}", envvar=variable, help=words)
    return option


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    token_file: Annotated[
        Path | None, _file_option("token-file", "File that holds the bearer token to show.")
    ] = None,
    ca: Annotated[
        Path | None, _file_option("ca", "Certificates of those who may sign the service's.")
    ] = None,
    certificate: Annotated[
        Path | None, _file_option("certificate", "Certificate to show, for mutual TLS.")
    ] = None,
    key: Annotated[Path | None, _file_option("key", "Key of that certificate.")] = None,
    plaintext: Annotated[
        bool,
        typer.Option(
            "--plaintext",
            envvar="RECOLLECT_PLAINTEXT",
            help="Speak TCP without TLS, token included: only where the network is trusted.",
        ),
    ] = False,
) -> None:
    """Keep what the model knew; never keep who said it."""
    # To the environment, where every client of this process, and its children, find them. A token
    # itself is no option: the arguments of a process are for all to read.
    files = {"TOKEN_FILE": token_file, "CA": ca, "CERTIFICATE": certificate, "KEY": key}
    for name, path in files.items():
        if path is not None:
            os.environ[f"RECOLLECT_{name}"] = str(path)
    if plaintext:
        os.environ["RECOLLECT_PLAINTEXT"] = "1"


app.command(epilog="Example: recollect serve --set data_folder=/srv/recollect")(serve)
app.command(
    epilog="Example: recollect ingest chats.jsonl --source support --role task --licence MIT"
)(ingest)
app.add_typer(deid.app, name="deid")
app.add_typer(sources.app, name="sources")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(mix.app, name="mix")
app.add_typer(teacher.app, name="teacher")
app.add_typer(audit.app, name="audit")
app.add_typer(access.app, name="access")
app.add_typer(config.app, name="config")
app.command(epilog="Example: recollect demo --keep ./demo")(demo)
app.command(epilog="Example: recollect doctor --json")(doctor)


def add_plugins() -> None:
    """Adds the commands of the entry-point group `recollect.commands`."""
    for entry in sorted(importlib.metadata.entry_points(group="recollect.commands")):
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            app.command(entry.name)(_missing(entry.name, error.name or "a package"))
        else:
            app.command(entry.name, epilog=getattr(command, "example", None))(command)


def _missing(command: str, package: str) -> Callable[[], None]:
    def report() -> None:
        raise missing_package(package)

    report.__doc__ = f"Not installed: `recollect {command}` needs {package}."
    return report


def missing_package(package: str) -> RecollectError:
    """The error for a package that an optional part needs."""
    return RecollectError(
        Reason.PACKAGE_MISSING,
        f"the package {package} is not installed.",
        fix='Install what the command needs: pip install "recollect[server]" to serve, '
        '"recollect[trainer]" to train.',
    )


def main() -> None:
    """Runs a command; a refusal becomes one clear message and an exit code that means something."""
    add_plugins()
    as_json = "--json" in sys.argv
    try:
        app()
    except RecollectError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        refusal = missing_package(error.name or "unknown")
        print_error(refusal, as_json=as_json)
        sys.exit(refusal.exit_code)
