"""The command line: `recollect`.

Commands outside this package join through the entry-point group `recollect.commands`, so that the
service never imports the trainer. Heavy packages are imported by the commands that need them.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable

import typer

from .. import __version__
from ..mixer.errors import Reason, RecollectError
from .commands import audit, config, mix, sources, teacher
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


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Keep what the model knew; never keep who said it."""


app.command(epilog="Example: recollect serve --set data_folder=/srv/recollect")(serve)
app.command(
    epilog="Example: recollect ingest chats.jsonl --source support --role task --licence MIT"
)(ingest)
app.add_typer(sources.app, name="sources")
app.add_typer(mix.app, name="mix")
app.add_typer(teacher.app, name="teacher")
app.add_typer(audit.app, name="audit")
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
