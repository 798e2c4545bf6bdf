"""A trainer that may be killed at any moment: the real loader, and a journal for its checkpoints.

What it has in place of weights is a digest into which every batch goes, tensors and all. It is kept
in the journal with the loader's state after each acknowledged step, as a checkpoint is; a batch
that is lost, doubled or changed anywhere before the end makes it another one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recollect.mixer.errors import RecollectError
from recollect.trainer import Patience, ReplayLoader, client
from recollect.trainer.batch import TrainBatch
from recollect.v1.connection import Credentials

BASE = "ab" * 32
IN_THE_CLEAR = Credentials(plaintext=True)
PATIENCE = Patience(deadline_s=20.0, outage_s=120.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a trainer is to do."""

    address: str
    plan_id: str
    run_id: str
    journal: Path
    steps_per_stream: int = 256
    seconds_per_step: float = 0.0
    """What an optimizer step takes."""
    credentials: Credentials = IN_THE_CLEAR


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the journal: a step that was trained on, acknowledged and kept."""

    step: int
    digest: str
    """Of its restore keys."""
    weights: str
    """Of every batch up to here."""
    at: float
    """When it was acknowledged, in seconds of the monotonic clock of the machine."""
    state: dict[str, Any]


def read(journal: Path, first_byte: int = 0) -> tuple[list[Line], int]:
    """The lines that are whole, from a byte on, and where they end."""
    try:
        with journal.open("rb") as file:
            file.seek(first_byte)
            text = file.read()
    except FileNotFoundError:
        return [], first_byte
    whole = text[: text.rfind(b"\n") + 1]
    return [Line(**json.loads(line)) for line in whole.splitlines()], first_byte + len(whole)


def trained(weights: str, batch: TrainBatch) -> str:
    """The weights after a batch."""
    digest = hashlib.sha256(bytes.fromhex(weights))
    for tensor in (batch.input_ids, batch.labels, batch.position_ids, batch.sources):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def undisturbed(job: Job) -> Iterator[tuple[str, str]]:
    """Digest of the restore keys and weights after every step, when nothing happens."""
    os.environ.update(_variables(job.credentials))
    weights = BASE
    with ReplayLoader(job.address, job.plan_id, patience=PATIENCE) as loader:
        for batch in loader:
            weights = trained(weights, batch)
            yield batch.digest.hex(), weights


def run(job: Job) -> None:
    """Trains from where the journal ends; what ends it otherwise than by a kill is in `.error`."""
    try:
        _train(job)
    except RecollectError as error:
        told = {"reason": error.reason.name, "message": error.message, "where": error.where}
        with job.journal.with_suffix(".error").open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        os._exit(3)
    os._exit(0)


def _train(job: Job) -> None:
    client.STEPS_PER_STREAM = job.steps_per_stream
    os.environ.update(_variables(job.credentials))
    before, num_bytes = read(job.journal)
    weights = before[-1].weights if before else BASE
    loader = ReplayLoader(job.address, job.plan_id, patience=PATIENCE)
    if before:
        loader.load_state_dict(before[-1].state)
    loader.client.start_run(
        job.run_id, job.plan_id, base_digest=BASE, ledger_head=loader.ledger_head
    )
    file = os.open(job.journal, os.O_WRONLY | os.O_CREAT, 0o600)
    os.ftruncate(file, num_bytes)
    os.lseek(file, 0, os.SEEK_END)
    for batch in loader:
        weights = trained(weights, batch)
        time.sleep(job.seconds_per_step)
        loader.ack(job.run_id, batch)
        line = Line(
            step=batch.step,
            digest=batch.digest.hex(),
            weights=weights,
            at=time.monotonic(),
            state=loader.state_dict(),
        )
        os.write(file, json.dumps(asdict(line)).encode() + b"\n")


def _variables(credentials: Credentials) -> dict[str, str]:
    """What `Credentials.from_environment` makes these of."""
    named = {
        "TOKEN": credentials.token,
        "CA": credentials.ca,
        "CERTIFICATE": credentials.certificate,
        "KEY": credentials.key,
        "PLAINTEXT": "1" if credentials.plaintext else "",
    }
    return {f"RECOLLECT_{name}": str(value or "") for name, value in named.items()}
