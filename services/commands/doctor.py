"""`recollect doctor`: what this installation can do, and what it lacks."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict

import typer

from ...mixer.errors import RecollectError
from ..config import Settings, to_json
from .finding import Finding
from .terminal import (
    ConfigOption,
    JsonOption,
    SetOption,
    console,
    print_json,
    settings_from,
    table,
)

_NEEDED_GIB = 2.0
_PACKAGES = {
    "server": (
        "presidio_analyzer",
        "prometheus_client",
        "cryptography",
        "duckdb",
        "pyarrow",
        "tokenizers",
        "transformers",
        "datasets",
    ),
    "trainer": ("torch", "safetensors", "pyarrow", "tokenizers", "transformers", "datasets"),
}
_DISTRIBUTIONS = {"presidio_analyzer": "presidio-analyzer"}


def _packages() -> Iterator[Finding]:
    for extra, modules in _PACKAGES.items():
        for module in modules:
            subject = f"{extra}: {module}"
            if importlib.util.find_spec(module) is None:
                fix = f'pip install "recollect[{extra}]"'
                yield Finding(subject=subject, state="missing", detail=fix)
            else:
                version = importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
                yield Finding(subject=subject, state="ok", detail=version)


def _faiss() -> Finding:
    from ..replay.index import VectorIndex

    try:
        device = VectorIndex().device
    except RecollectError as error:
        return Finding(subject="FAISS", state="missing", detail=str(error))
    return Finding(subject="FAISS", state="ok", detail=f"searches on {device}")


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(subject="GPU", state="missing", detail="torch is missing", required=False)
    import torch

    if torch.cuda.is_available():
        return Finding(subject="GPU", state="ok", detail=torch.cuda.get_device_name(0))
    detail = "none seen by torch: everything runs on the CPU"
    return Finding(subject="GPU", state="missing", detail=detail, required=False)


def _teacher(settings: Settings) -> Finding:
    from ..teacher.frozen import FrozenTeacher

    try:
        teacher = FrozenTeacher.load(settings.teacher.folder, pinned_digest=settings.teacher.digest)
    except RecollectError as error:
        return Finding(subject="teacher", state="broken", detail=str(error))
    detail = f"{teacher.num_parameters:,} parameters, digest {teacher.digest[:12]}"
    return Finding(subject="teacher", state="ok", detail=detail)


def _ratio_policy(settings: Settings) -> Iterator[Finding]:
    if settings.ratio_policy is None:
        return
    from ..ratio_policy import read_ratio_policy

    try:
        policy = read_ratio_policy(settings.ratio_policy)
    except RecollectError as error:
        yield Finding(subject="ratio policy", state="broken", detail=str(error))
    else:
        num_limits = len(policy.roles) + len(policy.sources)
        detail = f"{policy.name}, limits for {num_limits} roles and sources"
        yield Finding(subject="ratio policy", state="ok", detail=detail)


def _access(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("cryptography") is None:
        return
    from .doctor_access import access

    yield from access(settings)


def _deidentification(settings: Settings) -> Finding:
    from ..privacy import Deidentifier

    try:
        deidentifier = Deidentifier(settings.privacy, bytes(32))
        deidentifier.prove()
    except RecollectError as error:
        return Finding(subject="de-identification", state="broken", detail=str(error))
    policy = deidentifier.policy
    detail = (
        f"policy {policy.name} {policy.version}, {len(deidentifier.recognizers)} recognizers "
        "loaded, context words raise scores, no socket is opened"
    )
    return Finding(subject="de-identification", state="ok", detail=detail)


def _disk(settings: Settings) -> Finding:
    folder = settings.data_folder.absolute()
    existing = next(f for f in (folder, *folder.parents) if f.exists())
    free = shutil.disk_usage(existing).free / 2**30
    enough = free >= _NEEDED_GIB and os.access(existing, os.W_OK)
    detail = f"{free:.1f} GiB free at {existing}"
    return Finding(subject="disk", state="ok" if enough else "broken", detail=detail)


def _examine(settings: Settings) -> list[Finding]:
    findings = [Finding(subject="Python", state="ok", detail=platform.python_version())]
    findings += _packages()
    findings += _ratio_policy(settings)
    findings += _access(settings)
    missing = any(f.state == "missing" for f in findings)
    checks: list[Callable[[], Finding]] = [_gpu, lambda: _disk(settings)]
    if not missing:
        checks += [_faiss, lambda: _deidentification(settings), lambda: _teacher(settings)]
    return findings + [check() for check in checks]


def doctor(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Show the effective configuration and what is missing: packages, GPU, FAISS build, models.

    Exit code 0: ready to serve. Exit code 1: something that is needed is missing or broken.
    """
    settings = settings_from(config, overrides)
    findings = _examine(settings)
    ready = all(f.state == "ok" or not f.required for f in findings)
    if as_json:
        print_json(
            {
                "ready": ready,
                "findings": [asdict(f) for f in findings],
                "settings": json.loads(to_json(settings)),
            }
        )
    else:
        colours = {"ok": "green", "missing": "yellow", "broken": "red"}
        report = table("Installation", ("what", "state", "detail"), [])
        for f in findings:
            report.add_row(f.subject, f"[{colours[f.state]}]{f.state}[/]", f.detail)
        console.print(report)
        console.print("[bold]Effective configuration[/bold]")
        console.print_json(to_json(settings))
        console.print("[green]ready[/green]" if ready else "[red]not ready[/red]")
    if not ready:
        raise typer.Exit(1)
