from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import typer
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from recollect.mixer.errors import Reason, RecollectError
from recollect.trainer.cli import train
from recollect.trainer.evals.guardrails import Guardrails, evaluate
from recollect.trainer.loader import ReplayLoader
from recollect.trainer.loop import StepRecord
from recollect.trainer.model import load_model, load_tokenizer, weights_digest
from recollect.trainer.session import Job, Session
from recollect.trainer.settings import Settings

if TYPE_CHECKING:
    from stream.replica import Replica, Server

    from recollect.mixer.plan import Plan

SETTINGS = Settings(learning_rate=0.01, warm_up_steps=2, threads=1)


@pytest.fixture(scope="module")
def base(replica: Replica, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with the tokenizer of the replica."""
    torch.manual_seed(11)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400,
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
    )
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    shutil.copyfile(replica.model / "tokenizer.json", folder / "tokenizer.json")
    return folder


class Silent:
    def stage(self, name: str) -> None:
        pass

    def begin(self, plan: Plan, first_step: int) -> None:
        pass

    def step(self, record: StepRecord) -> None:
        pass


class Killed(Silent):
    """Ends the session at a step, after its acknowledgement, as a kill would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, record: StepRecord) -> None:
        if record.step == self._step:
            raise KeyboardInterrupt


@pytest.fixture
def job(server: Server, replica: Replica, base: Path, tmp_path: Path) -> Job:
    plan_id = replica.plan.plan_id
    return Job(
        server=server.address,
        plan_id=plan_id,
        model=base,
        out=tmp_path / "out",
        # The server of the session keeps every run.
        run_id=tmp_path.name,
        settings=SETTINGS,
        guardrails=Guardrails(
            likelihood={"own": replica.held_out.plan_id},
            refusals={"own": replica.held_out.plan_id},
        ),
    )


def finish(job: Job, **changes: Any) -> dict[str, Any]:
    return Session(job=replace(job, **changes), watcher=Silent()).train()


def invoke(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(train)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_run_learns_and_records_what_it_did(job: Job, replica: Replica) -> None:
    report = finish(job)
    assert report == json.loads((job.out / "run.json").read_text())
    assert [step["step"] for step in report["steps"]] == list(range(30))
    assert report["steps"][-1]["loss"] < report["steps"][0]["loss"]
    assert report["realised"] == {"support": 420, "general": 150, "refusals": 30}
    assert report["shares"] == {"support": "7/10", "general": "1/4", "refusals": "1/20"}
    nll, rate = report["measurements"]
    assert (nll["metric"], nll["subject"]) == ("nll", "own")
    assert nll["after"] < nll["before"]
    assert (rate["metric"], rate["before"]) == ("refusal_rate", 0.0)
    assert report["tuned_digest"] == weights_digest(job.out / "model")
    assert report["tuned_digest"] != report["base_digest"]
    assert load_model(job.out / "model").num_parameters() > 0
    assert (job.out / "model" / "tokenizer.json").exists()


def test_the_tuned_model_is_read_as_its_base_is(job: Job, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|end|>"}')
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    finish(job, model=folder, guardrails=Guardrails())
    kept = {path.name: path.read_bytes() for path in folder.glob("*") if "model" not in path.name}
    tuned = {
        name: (job.out / "model" / name).read_bytes() for name in kept if name != "config.json"
    }
    assert {**kept, **tuned} == kept and {
        "special_tokens_map.json",
        "tokenizer.json",
    } < tuned.keys()


def test_a_killed_run_resumes_to_the_same_weights(job: Job) -> None:
    whole = finish(job, guardrails=Guardrails())
    settings = SETTINGS.model_copy(update={"checkpoint_every": 4})
    interrupted = replace(
        job,
        out=job.out.with_name("second"),
        run_id=f"{job.run_id}-second",
        settings=settings,
        guardrails=Guardrails(),
    )
    with pytest.raises(KeyboardInterrupt):
        Session(job=interrupted, watcher=Killed(10)).train()
    with pytest.raises(RecollectError, match="checkpoint"):
        finish(interrupted)
    report = finish(interrupted, resume=True)
    assert report["tuned_digest"] == whole["tuned_digest"]
    losses = [[step["loss"] for step in r["steps"]] for r in (whole, report)]
    assert losses[0] == losses[1]
    assert sorted(p.name for p in interrupted.out.iterdir()) == ["model", "run.json"]


def test_a_run_id_is_not_used_twice_by_accident(job: Job) -> None:
    finish(job, guardrails=Guardrails())
    with pytest.raises(RecollectError) as refusal:
        finish(job, guardrails=Guardrails(), out=job.out.with_name("again"))
    assert "--resume" in refusal.value.fix


def test_the_base_is_measured_once_for_many_runs(job: Job, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    first = finish(job, baseline=baseline)
    second = finish(job, baseline=baseline, out=tmp_path / "other", run_id=f"{job.run_id}-other")
    assert "evaluate_before" in first["stage_seconds"]
    assert "evaluate_before" not in second["stage_seconds"]
    assert first["measurements"] == second["measurements"]


def test_a_plan_is_used_for_what_it_was_sealed_for(job: Job, replica: Replica) -> None:
    with pytest.raises(RecollectError) as caught:
        finish(job, plan_id=replica.held_out.plan_id)
    assert caught.value.reason is Reason.MIX_PURPOSE
    with pytest.raises(RecollectError) as caught:
        finish(job, guardrails=Guardrails(likelihood={"own": job.plan_id}))
    assert caught.value.reason is Reason.MIX_PURPOSE


def test_the_command_prints_its_report_as_json(job: Job, replica: Replica) -> None:
    result = invoke(
        *("--server", job.server, "--plan", job.plan_id, "--model", job.model),
        *("--out", job.out, "--run-id", job.run_id, "--threads", 1, "--json"),
        *("--evaluate", f"own={replica.held_out.plan_id}"),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["run_id"] == job.run_id
    assert told["measurements"][0]["subject"] == "own"


def test_a_log_gets_a_line_for_each_stage_and_each_tenth_and_no_bar(
    job: Job, replica: Replica
) -> None:
    result = invoke(
        *("--server", job.server, "--plan", job.plan_id, "--model", job.model),
        *("--out", job.out, "--run-id", job.run_id, "--threads", 1),
        *("--evaluate", f"own={replica.held_out.plan_id}"),
    )
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    stages = ["load the model", "measure own before", "measure own after", "save the model"]
    assert [line for line in lines if not line.startswith("step ")] == stages
    told = [line.partition(":")[0] for line in lines if line.startswith("step ")]
    assert told == [f"step {step} of 30" for step in range(3, 31, 3)]
    assert "support 70.0%" in lines[-3]


def test_resuming_without_a_checkpoint_says_that_it_starts_anew(job: Job) -> None:
    result = invoke(
        *("--server", job.server, "--plan", job.plan_id, "--model", job.model),
        *("--out", job.out, "--run-id", job.run_id, "--threads", 1, "--resume", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == f"no checkpoint in {job.checkpoints}: starting at step 0\n"
    assert json.loads((job.out / "run.json").read_text())["steps"][0]["step"] == 0


@pytest.mark.parametrize(
    ("option", "value", "where"),
    [
        ("--evaluate", "general", "--evaluate"),
        ("--refusals", "=id", "--refusals"),
        ("--learning-rate", "-1", "--learning-rate"),
        ("--schedule", "linear", "--schedule"),
        ("--rank", "1", "--rank"),
    ],
)
def test_a_wrong_option_is_named(job: Job, option: str, value: str, where: str) -> None:
    result = invoke(
        *("--server", job.server, "--plan", job.plan_id, "--model", job.model),
        *("--out", job.out, "--run-id", job.run_id, option, value),
    )
    assert isinstance(result.exception, RecollectError)
    assert result.exception.where == where
    assert result.exception.reason in (Reason.CONFIG_INVALID, Reason.RANK_INVALID)


def test_an_unknown_plan_is_refused(job: Job) -> None:
    with pytest.raises(RecollectError) as refusal:
        finish(job, plan_id="ab" * 32)
    assert refusal.value.reason is Reason.PLAN_UNKNOWN


def _spaced(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=1) + "\n\n")


def _other_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    ids = content["model"]["vocab"]
    one, other = sorted(ids, key=ids.__getitem__)[-2:]
    ids[one], ids[other] = ids[other], ids[one]
    (folder / "tokenizer.json").write_text(json.dumps(content))


def _no_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


@pytest.mark.parametrize("harm", [_spaced, _other_vocabulary, _no_json])
def test_a_model_with_another_tokenizer_than_the_plan_is_refused_before_the_run_begins(
    job: Job, base: Path, tmp_path: Path, harm: Any
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    harm(folder)
    with pytest.raises(RecollectError) as refusal:
        finish(job, model=folder)
    assert refusal.value.reason is Reason.MODEL_UNUSABLE
    assert refusal.value.fix
    # Nothing was told to the ledger: the run may begin with the right model.
    finish(job, guardrails=Guardrails())


def test_a_model_folder_without_a_tokenizer_claims_none(
    job: Job, base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    (folder / "tokenizer.json").unlink()
    finish(job, model=folder, guardrails=Guardrails())


def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _broken(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")


def _foreign_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


@pytest.mark.parametrize("harm", [_no_folder, _no_config, _pickled, _broken, _foreign_code])
def test_an_unusable_model_folder_is_refused_with_a_fix(
    job: Job, base: Path, tmp_path: Path, harm: Any
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    harm(folder)
    with pytest.raises(RecollectError) as refusal:
        finish(job, model=folder)
    assert refusal.value.reason is Reason.MODEL_UNUSABLE
    assert refusal.value.fix
    assert not (folder / "ran").exists()


def _with_positions(base: Path, folder: Path, num_positions: int) -> Path:
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = num_positions
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_rows_longer_than_the_model_takes_are_refused(
    job: Job, replica: Replica, base: Path, tmp_path: Path
) -> None:
    longest = replica.plan.mix.max_length
    short = _with_positions(base, tmp_path / "short", longest - 1)
    for guardrails in (Guardrails(), job.guardrails):
        with pytest.raises(RecollectError) as refusal:
            finish(job, model=short, guardrails=guardrails)
        assert refusal.value.reason is Reason.MIX_INVALID
        assert refusal.value.where == "max_length"
        assert f"at most {longest - 1}" in refusal.value.fix
    assert not job.out.exists()
    # The run never began, so its id is free for a model that takes the rows.
    finish(job, model=_with_positions(base, tmp_path / "fits", longest), guardrails=Guardrails())


def test_a_model_is_not_measured_on_rows_longer_than_it_takes(
    job: Job, replica: Replica, base: Path, tmp_path: Path
) -> None:
    plan_id = replica.held_out.plan_id
    short = load_model(_with_positions(base, tmp_path / "short", 47))
    for guardrails in (
        Guardrails(likelihood={"own": plan_id}),
        Guardrails(refusals={"o": plan_id}),
    ):
        with pytest.raises(RecollectError) as refusal:
            evaluate(
                short,
                guardrails,
                open_tokenizer=lambda: load_tokenizer(base),
                open_plan=lambda plan_id: ReplayLoader(job.server, plan_id),
            )
        assert refusal.value.reason is Reason.MIX_INVALID


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one(job: Job) -> None:
    alone = replace(job, guardrails=Guardrails())
    finish(alone)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    out = job.out.with_name("ranks")
    code = "import typer; from recollect.trainer.cli import train; typer.run(train)"
    arguments = [
        *("--server", job.server, "--plan", job.plan_id, "--model", str(job.model)),
        *("--out", str(out), "--run-id", f"{job.run_id}-ranks", "--quiet"),
        *("--learning-rate", "0.01", "--warm-up-steps", "2", "--threads", "1"),
        *("--world-size", "2", "--rank"),
    ]
    ranks = [
        subprocess.Popen([sys.executable, "-c", code, *arguments, str(rank)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in ranks] == [0, 0]
    one = load_file(job.out / "model" / "model.safetensors")
    both = load_file(out / "model" / "model.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(both[name], value, atol=2e-3, rtol=1e-2)
