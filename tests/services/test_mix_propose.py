"""Proposed shares through the command line: printed, kept within limits, recorded and replayed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from recollect.mixer.mix import Mix

from .conftest import run_command

MIX = """
name: support
batch_size: 20
num_steps: 400
max_length: 192
sources:
  - {source: support, role: task, share: 70%}
  - {source: instructions, role: general, share: 25%}
  - {source: refusals, role: refusal, share: 5%}
"""
LOOP = """
kind: guardrail_loop
step: 200
lead: 10
guards:
  refusal: {baseline: 1.5, raise_above: 500, give_back_at: 200}
taken_from: task
"""
RAMP = """
kind: ramp
every: 50
points:
  - {step: 100, shares: {support: 7000, instructions: 2500, refusals: 500}}
  - {step: 200, shares: {support: 6000, instructions: 2500, refusals: 1500}}
"""
LOSSES = [(50, 1.51), (100, 1.71), (150, 1.72), (200, 1.5)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("mix", MIX), ("loop", LOOP), ("ramp", RAMP)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    lines = [json.dumps({"step": step, "values": {"refusal": loss}}) for step, loss in LOSSES]
    (tmp_path / "losses.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "limits.yaml").write_text(
        "name: house\nroles: {refusal: {ceiling: 800}}\n", encoding="utf-8"
    )
    return tmp_path


def propose(files: Path, policy: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run_command("mix", "propose", str(files / "mix.yaml"), str(files / policy), *more)


def test_errors_of_a_proposer_name_its_file(files: Path) -> None:
    path = files / "ramp.yaml"
    path.write_text(RAMP.replace("support: 6000", "nobody: 6000"), encoding="utf-8")
    error = json.loads(propose(files, "ramp.yaml", "--json").stderr)["error"]
    assert (error["reason"], error["where"]) == ("POLICY_INVALID", f"{path}: points[1].shares")
    limits = files / "limits.yaml"
    limits.write_text("name: house\nroles: {refusal: {floor: 800}}\n", encoding="utf-8")
    options = ("--policy", str(limits), "--observations", str(files / "losses.jsonl"), "--json")
    error = json.loads(propose(files, "loop.yaml", *options).stderr)["error"]
    assert error["reason"] == "LIMIT_VIOLATED"
    assert error["where"].startswith(str(files / "mix.yaml"))


def test_what_is_proposed_becomes_part_of_the_mix(files: Path) -> None:
    done = propose(files, "loop.yaml", "--observations", str(files / "losses.jsonl"))
    assert done.returncode == 0, done.stderr
    timeline = Mix.from_mapping({**yaml.safe_load(MIX), **yaml.safe_load(done.stdout)}).timeline
    assert timeline.firsts == [0, 110 * 20, 160 * 20, 210 * 20]
    assert [float(stage.shares[2]) for stage in timeline.stages] == [0.05, 0.07, 0.09, 0.07]


def test_limits_are_kept(files: Path) -> None:
    options = "--observations", str(files / "losses.jsonl"), "--policy", str(files / "limits.yaml")
    done = propose(files, "loop.yaml", *options, "--json")
    shares = [change["shares"]["refusals"] for change in json.loads(done.stdout)["changes"]]
    assert shares == ["7%", "8%", "6%"]


def test_a_ramp_needs_no_measurements(files: Path) -> None:
    changes = yaml.safe_load(propose(files, "ramp.yaml").stdout)["changes"]
    assert [change["first_step"] for change in changes] == [100, 150, 200]
    assert [change["shares"]["refusals"] for change in changes] == ["5%", "10%", "15%"]


def test_a_record_replays_and_a_changed_one_does_not(files: Path) -> None:
    record = files / "record.jsonl"
    options = "--observations", str(files / "losses.jsonl"), "--record", str(record)
    propose(files, "loop.yaml", *options)
    assert len(record.read_text(encoding="utf-8").splitlines()) == 3
    assert run_command("mix", "replay", str(record)).returncode == 0
    forged = record.read_text(encoding="utf-8").replace('"first_step":160', '"first_step":161')
    record.write_text(forged, encoding="utf-8")
    refused = run_command("mix", "replay", str(record))
    assert refused.returncode == 65
    assert "record.jsonl:2" in refused.stderr.replace("\n", "")


def test_measurements_that_are_missing_or_broken_are_named(files: Path) -> None:
    missing = propose(files, "loop.yaml")
    assert missing.returncode == 66
    assert "--observations" in missing.stderr
    broken = files / "broken.jsonl"
    broken.write_text('{"step": 1, "values": {"refusal": 1.6}}\n[', encoding="utf-8")
    refused = propose(files, "loop.yaml", "--observations", str(broken))
    assert refused.returncode == 65
    assert "broken.jsonl:2" in refused.stderr.replace("\n", "")


def test_what_was_measured_under_other_shares_than_the_last_is_refused(files: Path) -> None:
    changed = MIX + (
        "changes:\n"
        "  - {first_step: 120, shares: {support: 60%, instructions: 30%, refusals: 10%}}\n"
    )
    (files / "mix.yaml").write_text(changed, encoding="utf-8")
    options = "--observations", str(files / "losses.jsonl")
    refused = propose(files, "loop.yaml", *options)
    assert refused.returncode == 65
    told = " ".join(refused.stderr.split())
    assert "step 120" in told and "MEASUREMENT_INVALID" in told
    later = (files / "losses.jsonl").read_text(encoding="utf-8").splitlines()[2:]
    (files / "losses.jsonl").write_text("\n".join(later), encoding="utf-8")
    done = propose(files, "loop.yaml", *options)
    assert done.stdout.startswith("# add these")
    [raised, *_] = yaml.safe_load(done.stdout)["changes"]
    assert (raised["first_step"], raised["shares"]["refusals"]) == (160, "12%")


@pytest.mark.parametrize("command", ["propose", "compare"])
def test_a_file_that_cannot_be_written_is_told_before_any_work(files: Path, command: str) -> None:
    nowhere = str(files / "nowhere" / "file.svg")
    options = {
        "propose": [str(files / "ramp.yaml"), "--record", nowhere],
        "compare": ["--picture", nowhere],
    }[command]
    refused = run_command("mix", command, str(files / "mix.yaml"), *options)
    assert refused.returncode == 78
    assert "CONFIG_INVALID" in refused.stderr and "Traceback" not in refused.stderr
    assert refused.stdout == ""
