"""The examples as somebody runs them: processes of their own against a service, some killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stream.replica import Replica, Server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
STEP = re.compile(r"step (\d+): loss ([0-9.]+), rows ([0-9a-f]{16})")
REALISED = re.compile(r"realised (\w+): ([0-9.]+)")
FRAMEWORKS = {
    "torch_loop": "torch",
    "torch_ddp": "torch",
    "accelerate_loop": "accelerate",
    "hf_trainer": "accelerate",
    "trl_sft": "trl",
    "lightning_loop": "lightning",
    "torchdata_stateful": "torchdata",
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
Steps = dict[int, tuple[float, str]]
"""By step: its loss, and what identifies its rows."""

pytestmark = pytest.mark.slow


def command(name: str, *arguments: object, ranks: int = 1) -> list[str]:
    if find_spec(FRAMEWORKS.get(name, "datasets")) is None:
        pytest.skip(f"{FRAMEWORKS[name]} is not installed")
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return [*launcher, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]


def output_of(name: str, *arguments: object, ranks: int = 1) -> str:
    done = subprocess.run(
        command(name, *arguments, ranks=ranks),
        capture_output=True,
        text=True,
        timeout=240,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def steps_of(output: str) -> Steps:
    return {int(step): (float(loss), rows) for step, loss, rows in STEP.findall(output)}


@pytest.fixture(scope="module")
def model(replica: Replica, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights, with the tokenizer that the plans were sealed with."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(ROOT / "services" / "teacher" / "model" / name, folder / name)
    shutil.copyfile(replica.model / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="module")
def where(server: Server, replica: Replica, model: Path) -> tuple[object, ...]:
    """The flags of whoever trains on the replica's plan."""
    return ("--server", server.address, "--plan", replica.plan.plan_id, "--model", model)


@pytest.fixture(scope="module")
def plain(where: tuple[object, ...]) -> Steps:
    """What the loop in plain torch did, at a constant learning rate."""
    return steps_of(output_of("torch_loop", *where, "--steps", 6))


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        ("torch_ddp", 1),
        ("torch_ddp", 3),
        ("accelerate_loop", 1),
        ("accelerate_loop", 2),
        ("lightning_loop", 1),
        ("torchdata_stateful", 1),
    ],
)
def test_every_loop_trains_alike_on_any_number_of_ranks(
    where: tuple[object, ...], replica: Replica, plain: Steps, name: str, ranks: int
) -> None:
    # Three ranks have shards of seven and six rows, with other numbers of tokens.
    output = output_of(name, *where, "--steps", 6, ranks=ranks)
    steps = steps_of(output)
    assert sorted(steps) == sorted(plain) == list(range(6))
    for step, (loss, rows) in steps.items():
        assert loss == pytest.approx(plain[step][0], rel=1e-4)
        expected = replica.plan.shard(step, 0, ranks).digest.hex()[:16]
        assert rows == expected
    parts = dict(REALISED.findall(output))
    assert parts.keys() == {"support", "general", "refusals"}
    if ranks == 1:
        assert parts == {"support": "0.7000", "general": "0.2500", "refusals": "0.0500"}


@pytest.mark.parametrize("name", ["hf_trainer", "trl_sft"])
def test_a_trainer_that_is_killed_goes_on_exactly(
    where: tuple[object, ...], tmp_path: Path, name: str
) -> None:
    # Saved after 10 and 20 steps: what is killed at step 12 has trained some in vain.
    how = ("--steps", 26, "--save-every", 10, "--out")
    whole = steps_of(output_of(name, *where, *how, tmp_path / "whole"))
    assert sorted(whole) == list(range(26))

    killed: list[str] = []
    with subprocess.Popen(
        command(name, *where, *how, tmp_path / "killed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            killed.append(line)
            if line.startswith("step 12:"):
                running.send_signal(signal.SIGKILL)
                break
    before = steps_of("".join(killed))
    after = steps_of(output_of(name, *where, *how, tmp_path / "killed"))
    assert min(after) in (10, 20) and max(after) == 25
    assert {**before, **after} == whole


def test_a_trainer_on_two_ranks_with_accumulation_trains_as_on_one(
    where: tuple[object, ...], replica: Replica, tmp_path: Path
) -> None:
    how = ("--steps", 4, "--out")
    one = steps_of(output_of("hf_trainer", *where, *how, tmp_path / "one"))
    accumulated = output_of(
        "hf_trainer", *where, *how, tmp_path / "two", "--accumulate", 2, ranks=2
    )
    two = steps_of(accumulated)
    assert sorted(two) == list(range(4))
    for step, (loss, rows) in two.items():
        assert loss == pytest.approx(one[step][0], rel=1e-4)
        assert rows == replica.plan.shard(step, 0, 2).digest.hex()[:16]


def test_lightning_goes_on_from_a_checkpoint_to_the_end_of_the_plan(
    where: tuple[object, ...], tmp_path: Path
) -> None:
    saved = tmp_path / "run.ckpt"
    whole = steps_of(output_of("lightning_loop", *where, "--steps", 30))
    before = steps_of(output_of("lightning_loop", *where, "--steps", 12, "--save", saved))
    after = steps_of(output_of("lightning_loop", *where, "--steps", 30, "--resume", saved))
    assert sorted(after) == list(range(12, 30))
    assert {**before, **after} == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_of_a_stateful_loader_resumes_the_plan(
    where: tuple[object, ...], plain: Steps, tmp_path: Path, workers: int
) -> None:
    state = ("--state", tmp_path / "state.pt", "--steps", 3, "--workers", workers)
    before = steps_of(output_of("torchdata_stateful", *where, *state))
    after = steps_of(output_of("torchdata_stateful", *where, *state))
    rows = {step: rows for step, (_, rows) in {**before, **after}.items()}
    assert rows == {step: rows for step, (_, rows) in plain.items()}


def test_packed_rows_train_alike_everywhere(
    server: Server, replica: Replica, model: Path, tmp_path: Path
) -> None:
    plan_id = replica.weighed["packed"].plan_id
    where = ("--server", server.address, "--plan", plan_id, "--model", model, "--steps", 2)
    plain = steps_of(output_of("torch_loop", *where))
    for name, more in (
        ("torch_ddp", ()),
        ("hf_trainer", ("--out", tmp_path / "hf")),
        ("trl_sft", ("--out", tmp_path / "trl")),
    ):
        steps = steps_of(output_of(name, *where, *more))
        # Before the first step nothing depends on the optimizer of a trainer.
        assert steps[0][0] == pytest.approx(plain[0][0], rel=1e-5)
        assert steps[1][1] == plain[1][1]


def test_a_source_is_read_and_resumed(server: Server, replica: Replica) -> None:
    output = output_of(
        *("read_source", "--server", server.address, "--plan", replica.plan.plan_id),
        *("--source", "refusals"),
    )
    positions = [int(position) for position in re.findall(r"position (\d+)", output)]
    schedule = replica.plan.schedule
    assert positions == [schedule.position_of(2, ordinal) for ordinal in range(6)]


def test_every_example_is_short_and_tried_here() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*FRAMEWORKS, "read_source"}
    for name in names:
        assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_a_loop_refuses_a_model_with_another_tokenizer(where: tuple[object, ...]) -> None:
    shipped = ROOT / "services" / "teacher" / "model"
    done = subprocess.run(
        command("torch_loop", *where, "--model", shipped),
        capture_output=True,
        text=True,
        timeout=240,
        env=ENVIRONMENT,
    )
    assert done.returncode != 0
    assert not steps_of(done.stdout)
    assert "written by the tokenizer" in done.stderr
