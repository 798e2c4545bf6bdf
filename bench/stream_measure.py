"""How a stream is measured: the same loop for the peers and for ours.

The consumer does nothing but look at the first token of every row, which names its source.
Processor time is that of the process and of all its living and reaped children, from /proc.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stream_task import BATCH_SIZE, SHARES, Batch, Stream

RESUME_ROWS = 50_000
RESUME_REPEATS = 5
RESUME_SECONDS = 60.0
"""After so long no further repeat of a slow resume is begun."""
COMPARED_BATCHES = 4
TICK = os.sysconf("SC_CLK_TCK")


def tree() -> list[int]:
    """This process and everything under it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            after = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        children.setdefault(int(after[1]), []).append(int(entry.name))
    found = [os.getpid()]
    for process in found:
        found.extend(children.get(process, []))
    return found


def processor_seconds() -> tuple[float, float]:
    """User and system time so far: of this process, and of those under it."""
    own = children = 0.0
    for process in tree():
        try:
            after = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system, of_user, of_system = (int(field) / TICK for field in after[11:15])
        if process == os.getpid():
            own += user + system
        else:
            children += user + system
        children += of_user + of_system
    return own, children


def peak_memory() -> float:
    """MiB that the processes held at most, added up; what they share counts in each."""
    total = 0
    for process in tree():
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return total / 1024


def check(batch: Batch, length: int) -> None:
    """Refuses what a model could not take as it is."""
    wanted = {
        "input_ids": (torch.int32,),
        "loss_mask": (torch.bool,),
        "position_ids": (torch.int32, torch.int64),
    }
    for name, types in wanted.items():
        tensor = batch[name]
        if tuple(tensor.shape) != (BATCH_SIZE, length) or tensor.dtype not in types:
            raise TypeError(f"{name} is {tensor.dtype} of {tuple(tensor.shape)}")
    if not batch["loss_mask"][:, -1].all() or batch["loss_mask"][:, 0].any():
        raise ValueError("a mask that is not the row's")
    if batch["position_ids"][0, -1] != length - 1:
        raise ValueError("positions that are not the row's")
    if int(batch["input_ids"][:, 0].max()) >= len(SHARES):
        raise ValueError("a first token that names no source")


def _at_full_speed(batches: Iterator[Batch], length: int, seconds: float) -> dict[str, Any]:
    waits, counts = [], np.zeros(len(SHARES), np.int64)
    own, children = processor_seconds()
    start = now = time.perf_counter()
    while now - start < seconds:
        batch = next(batches)
        then, now = now, time.perf_counter()
        waits.append(now - then)
        counts += np.bincount(batch["input_ids"][:, 0].numpy(), minlength=len(SHARES))
    took = now - start
    own_after, children_after = processor_seconds()
    num_tokens = len(waits) * BATCH_SIZE * length
    return {
        "num_batches": len(waits),
        "tokens_per_s": num_tokens / took,
        "cpu_s_per_M_tokens": (own_after + children_after - own - children) / num_tokens * 1e6,
        "cpu_s_per_M_tokens_children": (children_after - children) / num_tokens * 1e6,
        "wait_p50_ms": float(np.percentile(waits, 50)) * 1e3,
        "wait_p99_ms": float(np.percentile(waits, 99)) * 1e3,
        "batches_per_s": len(waits) / took,
        "shares": [round(float(share), 4) for share in counts / counts.sum()],
    }


def _at_half_speed(batches: Iterator[Batch], batches_per_s: float, seconds: float) -> float:
    """The p99 of the wait, in ms, of a trainer that takes half of what there is to have."""
    waits, pause = [], 2 / batches_per_s
    start = due = time.perf_counter()
    while due - start < seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        before = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - before)
        # One who was kept waiting does not hurry afterwards.
        due = max(due + pause, time.perf_counter())
    return float(np.percentile(waits, 99)) * 1e3


def measure(make: Callable[[Any], Stream], length: int, seconds: float) -> dict[str, Any]:
    """Speed, waits and memory of a stream.

    Args:
        make: opens the stream, at a saved place or, given None, at the start.
        length: tokens of a row.
        seconds: how long it is read at full speed, and then half as long at half of it.
    """
    imported = peak_memory()
    start = time.perf_counter()
    batches = iter(make(None).batches)
    first = next(batches)
    first_batch = time.perf_counter() - start
    check(first, length)
    figures = _at_full_speed(batches, length, seconds)
    half = _at_half_speed(batches, figures.pop("batches_per_s"), seconds / 2)
    return {
        "first_batch_s": first_batch,
        **figures,
        "half_speed_wait_p99_ms": half,
        "peak_MiB": peak_memory(),
        "imported_MiB": imported,
    }


def resume(make: Callable[[Any], Stream]) -> dict[str, Any]:
    """How long a saved place takes to come back to, and whether the rows are the same."""
    stream = make(None)
    if stream.save is None:
        return {"resume": "none"}
    batches = iter(stream.batches)
    num_batches = -(-RESUME_ROWS // BATCH_SIZE)
    for _ in range(num_batches):
        next(batches)
    # As from a checkpoint: some loaders write into a state that they have given or were given.
    state = copy.deepcopy(stream.save(num_batches))
    undisturbed = [next(batches)["input_ids"].clone() for _ in range(COMPARED_BATCHES)]
    took: list[float] = []
    exact = True
    while len(took) < RESUME_REPEATS and sum(took) < RESUME_SECONDS:
        loaded = copy.deepcopy(state)
        start = time.perf_counter()
        again = iter(make(loaded).batches)
        first = next(again)["input_ids"]
        took.append(time.perf_counter() - start)
        rows = [first, *(next(again)["input_ids"] for _ in range(COMPARED_BATCHES - 1))]
        exact &= all(map(torch.equal, rows, undisturbed))
        del again
    return {
        "resume_s": float(np.median(took)),
        "resume_min_s": min(took),
        "resume_max_s": max(took),
        "resume_exact": exact,
        "state_bytes": len(json.dumps(state, default=str)),
        "state_after_rows": num_batches * BATCH_SIZE,
    }
