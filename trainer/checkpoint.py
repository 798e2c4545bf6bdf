"""Checkpoints: folders that appear whole or not at all, tensors in safetensors, the rest in JSON.

A checkpoint and the plan are all that a run needs to go on: the learning rate, the batches and
their order are functions of the step.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..mixer.errors import Reason, RecollectError
from .client import UNHEARD, LedgerHead
from .loop import FineTuning

VERSION = 1
_STATE = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is."""

    plan_id: str
    base_digest: str
    next_step: int
    steps: tuple[dict[str, Any], ...]
    """What each step so far did, for the report."""
    ledger_head: LedgerHead = UNHEARD
    """Of the ledger when the last step was acknowledged."""


def save(folder: Path, tuning: FineTuning, progress: Progress) -> None:
    """Writes a checkpoint into `folder`, in place of the one before."""
    partial = folder / f"step-{progress.next_step:08d}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: p.detach().contiguous() for name, p in tuning.model.named_parameters()}
    save_file(weights, partial / "model.safetensors")
    save_file(_optimizer_tensors(tuning.optimizer), partial / "optimizer.safetensors")
    state = {
        "version": VERSION,
        "plan_id": progress.plan_id,
        "base_digest": progress.base_digest,
        "next_step": progress.next_step,
        "steps": progress.steps,
        "ledger_length": progress.ledger_head.length,
        "ledger_head": progress.ledger_head.digest.hex(),
    }
    (partial / _STATE).write_text(json.dumps(state), encoding="utf-8")
    for path in partial.iterdir():
        _sync(path)
    older = [path for path in folder.iterdir() if path != partial]
    partial.rename(partial.with_suffix(""))
    _sync(folder)
    for path in older:
        shutil.rmtree(path)


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a folder, if there is one."""
    if not folder.is_dir():
        return None
    return max((p for p in folder.iterdir() if p.suffix != ".part"), default=None)


def restore(path: Path, tuning: FineTuning, *, plan_id: str, base_digest: str) -> Progress:
    """Puts a checkpoint's state into a run.

    Raises:
        RecollectError: `VERSION_UNKNOWN`; `CONFIG_INVALID` if it is of another plan or base model;
            `STORAGE_CORRUPT` if it cannot be read.
    """
    try:
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        weights = load_file(path / "model.safetensors")
        moments = load_file(path / "optimizer.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise RecollectError(
            Reason.STORAGE_CORRUPT,
            f"The checkpoint cannot be read ({type(error).__name__}).",
            where=str(path),
            fix="Delete it and train again: without it the run starts from its first step.",
        ) from error
    _require_same(path, state, plan_id=plan_id, base_digest=base_digest)
    own = dict(tuning.model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    _load_optimizer(tuning.optimizer, moments)
    return Progress(
        plan_id=plan_id,
        base_digest=base_digest,
        next_step=int(state["next_step"]),
        steps=tuple(state["steps"]),
        ledger_head=LedgerHead(
            int(state.get("ledger_length", 0)), bytes.fromhex(state.get("ledger_head", ""))
        ),
    )


def _require_same(path: Path, state: dict[str, Any], *, plan_id: str, base_digest: str) -> None:
    if state["version"] != VERSION:
        raise RecollectError(
            Reason.VERSION_UNKNOWN,
            f"The checkpoint has version {state['version']!r:.20}.",
            where=str(path),
            fix=f"This installation knows version {VERSION}.",
        )
    for name, wanted in (("plan_id", plan_id), ("base_digest", base_digest)):
        if state[name] != wanted:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"The checkpoint has the {name} {state[name]!r:.80}, not {wanted}.",
                where=str(path),
                fix="Resume with what the run began with, or train into another folder.",
            )


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, values in state.items()
        for name, value in values.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    whole = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**whole, "state": state})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
