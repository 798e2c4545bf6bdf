"""Whole runs on packs and token units: trained, interrupted, measured, told in their unit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import typer
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.cli import train
from recollect.trainer.evals.guardrails import Guardrails
from recollect.trainer.evals.likelihood import mean_losses, pooled
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.loop import StepRecord
from recollect.trainer.model import load_model, weights_digest
from recollect.trainer.session import Job, Session
from recollect.trainer.settings import Settings

if TYPE_CHECKING:
    from stream.replica import Replica, Server

    from recollect.mixer.plan import Plan

SETTINGS = Settings(learning_rate=0.01, warm_up_steps=2, threads=1)
NAMES = ["packed", "split", "weighed"]


def model_folder(folder: Path, replica: Replica, *, positions: int) -> Path:
    torch.manual_seed(12)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    model.save_pretrained(folder)
    shutil.copyfile(replica.model / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="module")
def base(replica: Replica, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("base"), replica, positions=256)


@pytest.fixture(params=NAMES)
def job(
    server: Server, replica: Replica, base: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Job:
    return Job(
        server=server.address,
        plan_id=replica.weighed[request.param].plan_id,
        model=base,
        out=tmp_path / "out",
        run_id=tmp_path.name,
        settings=SETTINGS,
    )


class Killed:
    """Ends the session at a step, after its acknowledgement, as a kill would."""

    def __init__(self, at: int) -> None:
        self._at = at

    def stage(self, name: str) -> None:
        pass

    def begin(self, plan: Plan, first_step: int) -> None:
        pass

    def step(self, record: StepRecord) -> None:
        if record.step == self._at:
            raise KeyboardInterrupt


def finish(job: Job, **changes: Any) -> dict[str, Any]:
    return Session(job=replace(job, **changes), watcher=Killed(-1)).train()


def test_a_killed_run_resumes_to_the_same_weights_and_counts(job: Job) -> None:
    whole = finish(job)
    assert whole["steps"][-1]["loss"] < whole["steps"][0]["loss"]
    second = replace(
        job,
        out=job.out.with_name("second"),
        run_id=f"{job.run_id}-second",
        settings=SETTINGS.model_copy(update={"checkpoint_every": 4, "micro_rows": 5}),
    )
    with pytest.raises(KeyboardInterrupt):
        Session(job=second, watcher=Killed(10)).train()
    resumed = finish(second, resume=True)
    for name in ("realised", "realised_tokens", "realised_supervised_tokens", "unit"):
        assert resumed[name] == whole[name]
    one, other = (load_model(folder / "model") for folder in (job.out, second.out))
    for mine, yours in zip(one.parameters(), other.parameters(), strict=True):
        # Not to the bit: the second takes its rows in smaller groups.
        torch.testing.assert_close(mine, yours, rtol=1e-3, atol=1e-4)
    assert weights_digest(job.out / "model") == whole["tuned_digest"]


def test_the_command_tells_shares_in_the_unit_of_the_plan(job: Job, replica: Replica) -> None:
    app = typer.Typer()
    app.command()(train)
    arguments = ["--server", job.server, "--plan", job.plan_id, "--model", job.model]
    arguments += ["--out", job.out, "--run-id", job.run_id, "--threads", 1]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    report = json.loads((job.out / "run.json").read_text())
    plan = next(plan for plan in replica.weighed.values() if plan.plan_id == job.plan_id)
    unit = {"tokens": "tokens", "supervised_tokens": "supervised tokens"}[report["unit"]]
    realised = report[f"realised_{report['unit']}"]
    for source in plan.sources:
        amount = realised[source.name]
        share = f"{amount / sum(realised.values()):.2%} (share {source.share})"
        assert f"{source.name}: {amount:,} {unit}, {share}" in result.stdout


def test_rows_longer_than_the_positions_of_the_model_are_refused(
    server: Server, replica: Replica, tmp_path: Path
) -> None:
    short = Job(
        server=server.address,
        plan_id=replica.weighed["packed"].plan_id,
        model=model_folder(tmp_path / "base", replica, positions=64),
        out=tmp_path / "out",
        run_id=tmp_path.name,
    )
    with pytest.raises(RecollectError, match="160") as caught:
        finish(short)
    assert (caught.value.reason, caught.value.where) == (Reason.MIX_INVALID, "max_length")


def test_what_is_measured_on_packs_is_what_is_measured_on_rows(
    server: Server, replica: Replica, base: Path
) -> None:
    model = load_model(base)
    figures = []
    for plan in (replica.held_out, replica.weighed["held_out"]):
        with ReplayLoader(server.address, plan.plan_id) as loader:
            losses = mean_losses(model, loader, ["held_out"])
        figures.append((losses["held_out"].num_tokens, pooled(losses.values())))
        assert losses["held_out"].num_rows == plan.num_positions
    (num_tokens, of_rows), (num_packed_tokens, of_packs) = figures
    assert num_packed_tokens == num_tokens
    assert of_packs == pytest.approx(of_rows, rel=1e-4)
    assert replica.weighed["held_out"].num_positions < replica.held_out.num_positions


def test_refusals_are_not_measured_on_packs(
    server: Server, replica: Replica, base: Path, tmp_path: Path
) -> None:
    asking = Job(
        server=server.address,
        plan_id=replica.plan.plan_id,
        model=base,
        out=tmp_path / "out",
        run_id=tmp_path.name,
        guardrails=Guardrails(refusals={"own": replica.weighed["held_out"].plan_id}),
    )
    with pytest.raises(RecollectError, match="packs") as caught:
        finish(asking)
    assert (caught.value.reason, caught.value.where) == (Reason.MIX_INVALID, "packing")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("rank", "world_size", "first_step", "reason"),
    [
        (3, 3, 0, Reason.RANK_INVALID),
        (-1, 3, 0, Reason.RANK_INVALID),
        (0, 0, 0, Reason.RANK_INVALID),
        (0, 13, 0, Reason.RANK_INVALID),
        (0, 1, 31, Reason.PLAN_OUT_OF_RANGE),
        (0, 1, -1, Reason.PLAN_OUT_OF_RANGE),
    ],
)
def test_what_no_plan_has_is_one_typed_error(
    server: Server,
    replica: Replica,
    name: str,
    rank: int,
    world_size: int,
    first_step: int,
    reason: Reason,
) -> None:
    plan_id = replica.weighed[name].plan_id
    with ReplayLoader(server.address, plan_id) as loader:
        with pytest.raises(RecollectError) as caught:
            next(loader.client.fetch(plan_id, first_step, 1, rank=rank, world_size=world_size))
        assert caught.value.reason is reason
