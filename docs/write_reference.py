"""Writes docs/reference/ from the code, so that it cannot drift: `python docs/write_reference.py`.

A test runs it with --check and fails if a page is stale.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.core import TyperArgument, TyperGroup, TyperOption

from recollect.mixer.document import models_in
from recollect.mixer.errors import CATALOG, Reason
from recollect.mixer.proposers import PROPOSERS
from recollect.services import cli, config

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
SERVICES = ("store", "mix", "stream", "teacher", "audit", "deid")


def errors() -> str:
    """The page of reasons."""
    lines = [
        "# Errors",
        "",
        "Every refusal has a reason. Its number is never reused; the command line exits with its",
        "code, gRPC answers with its status and carries `google.rpc.ErrorInfo` (domain",
        "`recollect`, the reason, and `message`, `where`, `fix` as metadata). Exit codes follow",
        "BSD `sysexits.h`. Exit code 1 means that a check was made and found something",
        "(`audit run`, `audit scan`, `deid audit`, `doctor`, `mix diff`), 2 a wrong command line,",
        "130 Ctrl-C.",
        "",
        "| reason | number | exit code | gRPC status | meaning | what to do |",
        "|---|---|---|---|---|---|",
    ]
    for reason in Reason:
        means = CATALOG[reason]
        cells = (f"`{reason.name}`", reason.value, means.exit_code, f"`{means.status}`")
        lines.append("| " + " | ".join(map(str, (*cells, means.public, means.advice))) + " |")
    return "\n".join(lines) + "\n"


def _comments_then(pattern: str, text: str) -> Iterator[tuple[str, re.Match[str]]]:
    expression = re.compile(rf"((?:^ *//.*\n)*)^ *{pattern}", flags=re.MULTILINE)
    for match in expression.finditer(text):
        words = re.sub(r"^ *// ?", "", match[1], flags=re.MULTILINE).split()
        yield " ".join(words), match


def wire() -> str:
    """The page of calls."""
    lines = [
        "# Wire contract",
        "",
        "Package `recollect.v1`; the files in `proto/recollect/v1/` hold every field with its",
        "comment. Standard health checking and server reflection are on. Deadlines are the",
        "caller's to set.",
        "",
    ]
    for name in SERVICES:
        text = (ROOT / "proto" / "recollect" / "v1" / f"{name}.proto").read_text(encoding="utf-8")
        words, service = next(_comments_then(r"service (\w+) \{", text))
        lines += [
            f"## {service[2]}",
            "",
            words,
            "",
            "| call | takes | gives | does |",
            "|---|---|---|---|",
        ]
        call = r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);"
        for words, rpc in _comments_then(call, text):
            takes, gives = f"{rpc[3] or ''}`{rpc[4]}`", f"{rpc[5] or ''}`{rpc[6]}`"
            lines.append(f"| `{rpc[2]}` | {takes} | {gives} | {words} |")
        lines.append("")
    return "\n".join(lines)


def _field_docs(model: type[Any]) -> dict[str, str]:
    """The strings that stand under the fields of a class."""
    field = r'^    (\w+): [^\n]*(?:\n(?!    [\w"])[^\n]*)*\n    """(.*?)"""'
    return {
        name: " ".join(text.split())
        for base in reversed(model.__mro__)
        if issubclass(base, BaseModel) and base is not BaseModel
        for name, text in re.findall(field, inspect.getsource(base), re.M | re.S)
    }


def configuration() -> str:
    """The page of settings."""
    schema = config.json_schema()
    lines = [
        "# Configuration",
        "",
        "One YAML file, named with `--config` or `RECOLLECT_CONFIG`. A value is overridden by the",
        "environment (`RECOLLECT_TEACHER__THREADS=4`) and, above that, by a flag",
        "(`--set teacher.threads=4`). `recollect config schema` prints the JSON Schema,",
        "`recollect doctor` the effective values.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    documented = _field_docs(config.Settings)
    for name, field in config.Settings.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            section = " ".join((nested.__doc__ or "").split())
            lines.append(f"| `{name}` | | {section} |")
            below = _field_docs(nested)
            values = schema["$defs"][nested.__name__]["properties"]
            for key in nested.model_fields:
                default = values[key].get("default")
                shown = ", ".join(default) if isinstance(default, list) else default
                lines.append(f"| · `{key}` | `{shown}` | {below[key]} |")
                for found in models_in(nested.model_fields[key].annotation):
                    lines += _nested_settings(found)
        else:
            lines.append(f"| `{name}` | `{field.default}` | {documented[name]} |")
    return "\n".join(lines) + "\n"


def _nested_settings(model: type[BaseModel]) -> Iterator[str]:
    """Rows for the fields of a setting that is a mapping of its own, or nothing."""
    documented = _field_docs(model)
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`"
        yield f"| · · `{name}` | {default} | {documented[name]} |"


def proposers() -> str:
    """The page of the policies that propose shares."""
    lines = [
        "# Policies that propose shares",
        "",
        "One YAML file, given to `recollect mix propose`; its `kind` says which of these it is. A",
        "basis point is 1/100 %. What they do with the figures:",
        "[docs/how-to/mix.md](../how-to/mix.md).",
    ]
    for kind, model in PROPOSERS.items():
        lines += ["", f"## `kind: {kind}`", "", *_fields(model)]
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """What a model is for, and its fields; then those of the models that it is made of."""
    values = model.model_json_schema()["properties"]
    documented = _field_docs(model)
    yield " ".join((model.__doc__ or "").split())
    yield ""
    yield "| field | is | default | meaning |"
    yield "|---|---|---|---|"
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        nested += [(name, found) for found in models_in(field.annotation)]
        default = "required" if field.is_required() else f"`{_default(field.default)}`"
        yield f"| `{name}` | {_kind(values[name])} | {default} | {documented[name]} |"
    for name, found in nested:
        yield ""
        yield f"### Each entry of `{name}`"
        yield ""
        yield from _fields(found)


def _default(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _kind(schema: Mapping[str, Any]) -> str:
    """What a field may be."""
    known = schema.get("type")
    if known == "integer":
        return f"{schema['minimum']:,} … {schema['maximum']:,}"
    if known in ("array", "object"):
        return {"array": "list", "object": "mapping"}[known]
    choices = [item for item in schema.get("anyOf", ()) if item.get("type") != "null"]
    return "number" if any(item.get("type") == "number" for item in choices) else "a role"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(command, TyperGroup):
        for name in sorted(command.commands):
            yield from _commands(command.commands[name], f"{path} {name}")
    else:
        yield path, command


def _parameter(parameter: Any) -> str | None:
    if isinstance(parameter, TyperArgument):
        return f"- `{(parameter.name or '').upper()}`: {parameter.help or ''}"
    if isinstance(parameter, TyperOption) and not parameter.hidden:
        return f"- `{', '.join(parameter.opts)}`: {parameter.help or ''}{_otherwise(parameter)}"
    return None


def _otherwise(option: TyperOption) -> str:
    """What an option is where it is not given."""
    parts = [f"environment: `{name}`" for name in _names(option.envvar)]
    shown = option.default
    # A path may be another on every machine.
    told = isinstance(shown, int | float | str) and shown != "" and "/" not in str(shown)
    if told and not option.is_flag:
        parts.append(f"default: `{shown}`")
    return f" ({'; '.join(parts)})" if parts else ""


def _names(given: str | Sequence[str] | None) -> Sequence[str]:
    return [given] if isinstance(given, str) else given or ()


def command_line() -> str:
    """The page of commands."""
    cli.add_plugins()
    lines = [
        "# Command line",
        "",
        "Every command has `--help`. `--json` prints what a program may read on standard output,",
        "and errors as JSON on standard error; [exit codes](errors.md) mean something.",
        "",
        "## Before the command",
        "",
        "Who asks, and whom to trust; `recollect --token-file token mix list`. Each has an",
        "environment variable, as `--server` has, so that a shell says it once. The token itself",
        "may be in `RECOLLECT_TOKEN`, and `RECOLLECT_DATA_FOLDER` names the data folder whose",
        "socket is asked where no `--server` is given.",
        "",
    ]
    app = typer.main.get_command(cli.app)
    lines += [line for line in map(_parameter, app.params) if line]
    for path, command in _commands(app, "recollect"):
        paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
        words = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        lines += ["", f"## `{path}`", "", words, ""]
        if command.epilog:
            lines += [f"`{command.epilog.removeprefix('Example: ')}`", ""]
        lines += [line for line in map(_parameter, command.params) if line]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the pages, or with --check says which are stale."""
    pages = {
        "errors.md": errors(),
        "wire.md": wire(),
        "configuration.md": configuration(),
        "command-line.md": command_line(),
        "proposers.md": proposers(),
    }
    stale = []
    for name, text in pages.items():
        path = REFERENCE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print(f"stale: {', '.join(stale)}; run python docs/write_reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
