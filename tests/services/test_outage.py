"""A trainer whose service is killed: it waits, goes on with the same batches, or ends clearly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recollect.mixer.plan import Plan
from recollect.mixer.sealing import read_plan
from recollect.services.config import SHIPPED_MODEL
from recollect.services.ledger import Ledger
from recollect.services.verification import verify_folder
from recollect.trainer import checkpoint
from recollect.trainer.loop import FineTuning
from recollect.trainer.model import load_model, weights_digest
from recollect.trainer.settings import Settings

from .conftest import Service, own_environment, run_command

pytestmark = [pytest.mark.slow, pytest.mark.faults]

NUM_STEPS = 120
KILLED_AFTER = 15
CHECKPOINT_EVERY = 10
PATIENCE_S = 3.0
MIX = f"""
name: outage
batch_size: 8
num_steps: {NUM_STEPS}
max_length: 48
sources:
  - {{source: task, role: task, share: 3/4}}
  - {{source: general, role: general, share: 1/4}}
"""
ROW = '{"messages":[{"role":"user","content":"%s %d?"},{"role":"assistant","content":"Yes %d."}]}\n'
TRAIN = """
from recollect.trainer import Patience
Patience.__init__.__kwdefaults__["outage_s"] = float({patience})
from recollect.services.cli import main
main()
"""


@dataclass
class Scene:
    """A data folder with a sealed plan, its service, and a base model."""

    folder: Path
    service: Service
    plan: Plan

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def base(self) -> Path:
        return self.folder / "base"

    def restart(self) -> None:
        """Serves the same folder at the same address again."""
        self.service = Service(self.data, address=self.service.address)

    def train(self, run_id: str, *options: object, patience: float = 60.0) -> subprocess.Popen[str]:
        """Starts a trainer in a process of its own."""
        arguments = [
            *("train", "--plan", self.plan.plan_id, "--model", self.base, "--json"),
            *("--out", self.folder / run_id, "--run-id", run_id, "--threads", 1),
            *("--server", self.service.address, *options),
        ]
        return subprocess.Popen(
            [sys.executable, "-c", TRAIN.format(patience=patience), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=own_environment() | {"OMP_NUM_THREADS": "1"},
        )

    def batches(self, run_id: str) -> list[tuple[int, str, dict[str, int]]]:
        """The batches of a run in the order in which the ledger has them."""
        bodies: list[Any] = [
            entry.body
            for entry in Ledger.read(self.data / "ledger")
            if entry.kind == "batch_acknowledged" and entry.body["run_id"] == run_id
        ]
        return [(body["step"], body["digest"], body["counts"]) for body in bodies]

    def kill_the_service_amid(self, run_id: str, trainer: subprocess.Popen[str]) -> None:
        """Kills the service once a run has taken some of its steps, but not all."""
        ledger = self.data / "ledger" / "ledger.jsonl"
        # Every acknowledgement names its run, and so does the entry of its start.
        while ledger.read_bytes().count(f'"{run_id}"'.encode()) <= KILLED_AFTER:
            assert trainer.poll() is None, trainer.communicate()
            time.sleep(0.01)
        self.service.kill()
        assert KILLED_AFTER <= len(self.batches(run_id)) < NUM_STEPS
        assert trainer.poll() is None


def _make_base(folder: Path) -> None:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    shutil.copyfile(SHIPPED_MODEL / "tokenizer.json", folder / "tokenizer.json")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("outage")
    _make_base(folder / "base")
    # Of a fixed name: the next service takes over what a killed one leaves behind.
    address = f"unix:{folder}/socket"
    with ExitStack() as stack:
        service = Service(folder / "data", address=address)
        stack.callback(service.kill)
        made = Scene(folder=folder, service=service, plan=_seal(folder, address))
        # The service that is running by then is another one.
        stack.callback(lambda: made.service.kill())
        yield made


def _seal(folder: Path, address: str) -> Plan:
    """The plan of two small sources, sealed by the service."""
    for name in ("task", "general"):
        rows = folder / f"{name}.jsonl"
        rows.write_text("".join(ROW % (name, n, n) for n in range(40)), encoding="utf-8")
        into = ("--source", name, "--role", name, "--server", address)
        assert run_command("ingest", rows, *into).returncode == 0
    mix = folder / "mix.yaml"
    mix.write_text(MIX, encoding="utf-8")
    sealed = run_command("mix", "seal", mix, "--server", address, "--json")
    assert sealed.returncode == 0, sealed.stderr
    return read_plan(json.dumps(json.loads(sealed.stdout)["plan"]))


@pytest.fixture(scope="module")
def undisturbed(scene: Scene) -> dict[str, Any]:
    """The report of a run that nothing happened to."""
    trainer = scene.train("undisturbed")
    output, errors = trainer.communicate(timeout=300)
    assert trainer.returncode == 0, errors
    report: dict[str, Any] = json.loads(output)
    return report


def _check_the_run_is_the_undisturbed_one(
    scene: Scene, undisturbed: dict[str, Any], run_id: str
) -> None:
    """Every batch once, in order, with the digest that the plan gives it; and the same weights."""
    assert scene.batches(run_id) == scene.batches("undisturbed")
    assert [digest for _, digest, _ in scene.batches(run_id)] == [
        scene.plan.batch(step).digest.hex() for step in range(NUM_STEPS)
    ]
    report = json.loads((scene.folder / run_id / "run.json").read_text(encoding="utf-8"))
    assert report["tuned_digest"] == undisturbed["tuned_digest"]
    assert weights_digest(scene.folder / run_id / "model") == undisturbed["tuned_digest"]
    audit = run_command("audit", "run", run_id, "--server", scene.service.address, "--json")
    assert audit.returncode == 0, audit.stdout
    assert json.loads(audit.stdout)["finished"] is True
    verify_folder(scene.data)


def test_a_trainer_goes_on_after_its_service_was_killed_and_started_again(
    scene: Scene, undisturbed: dict[str, Any]
) -> None:
    trainer = scene.train("disturbed")
    scene.kill_the_service_amid("disturbed", trainer)
    time.sleep(1.0)
    scene.restart()
    _, errors = trainer.communicate(timeout=300)
    assert trainer.returncode == 0, errors
    _check_the_run_is_the_undisturbed_one(scene, undisturbed, "disturbed")


def test_a_trainer_whose_service_stays_away_ends_with_one_error_and_can_be_resumed(
    scene: Scene, undisturbed: dict[str, Any]
) -> None:
    every = ("--checkpoint-every", CHECKPOINT_EVERY)
    trainer = scene.train("abandoned", *every, patience=PATIENCE_S)
    scene.kill_the_service_amid("abandoned", trainer)
    began = time.monotonic()
    output, errors = trainer.communicate(timeout=60)
    assert time.monotonic() - began > PATIENCE_S / 2
    assert trainer.returncode == 69
    assert output == ""
    error = json.loads(errors)["error"]
    assert error["reason"] == "SERVER_UNAVAILABLE"
    assert error["where"] == scene.service.address
    assert "resume" in error["fix"]

    out = scene.folder / "abandoned"
    assert [path.name for path in out.iterdir()] == ["checkpoints-0"]
    path = checkpoint.newest(out / "checkpoints-0")
    assert path is not None and [path] == list(path.parent.iterdir())
    settings = Settings(threads=1, checkpoint_every=CHECKPOINT_EVERY)
    names = [source.name for source in scene.plan.sources]
    tuning = FineTuning(load_model(scene.base), settings, num_steps=NUM_STEPS, sources=names)
    digest = weights_digest(scene.base)
    kept = checkpoint.restore(path, tuning, plan_id=scene.plan.plan_id, base_digest=digest)
    # What is kept was acknowledged: no step is lost, and none is counted that was not taken.
    assert KILLED_AFTER - CHECKPOINT_EVERY < kept.next_step <= len(scene.batches("abandoned"))

    scene.restart()
    resumed = scene.train("abandoned", *every, "--resume")
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    _check_the_run_is_the_undisturbed_one(scene, undisturbed, "abandoned")
