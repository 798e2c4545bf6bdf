"""Mixes and policies that are refused, through the command line and a real service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.client import connect
from recollect.v1 import mix_pb2 as wire

from .mixing import MIX, Run, here, written


def test_the_policy_of_the_service_goes_into_the_plan(run: Run, tmp_path: Path) -> None:
    plan = json.loads(run("mix", "seal", written(tmp_path), "--json").stdout)["plan"]
    assert plan["policy"]["name"] == "house-rules"
    assert plan["policy"]["roles"]["refusal"]["floor"] == 400


def test_a_mix_below_a_floor_is_refused_by_check_preview_and_seal(run: Run, tmp_path: Path) -> None:
    shares = {"dialogues": "72%", "manuals": "25%", "refusals": "3%"}
    below = [{"first_step": 30, "shares": shares}]
    mix = written(tmp_path, changes=below)
    for command in ("check", "preview", "seal"):
        result = run("mix", command, mix, "--json")
        error = json.loads(result.stderr)["error"]
        assert (error["reason"], result.returncode) == ("LIMIT_VIOLATED", 65)
        assert error["where"] == f"{mix}: stages[1]"
        assert "roles.refusal has 3 %" in error["message"]
    # A policy of one's own may be tried, but not sealed with.
    open_policy = tmp_path / "open.yaml"
    open_policy.write_text("name: open\n", encoding="utf-8")
    assert run("mix", "preview", mix, "--policy", open_policy).returncode == 0


TROUBLE = [
    pytest.param({"sources": [{"source": "nobody", "role": "task", "share": 1}]},
                 "MIX_UNKNOWN_SOURCE", "sources[0].source", id="unknown-source"),
    pytest.param({"sources": [{"source": "dialogues", "role": "refusal", "share": 1}]},
                 "MIX_INVALID", "sources[0].role", id="another-role"),
    pytest.param({"sources": [{"source": "dialogues", "role": "nobody", "share": 1}]},
                 "MIX_INVALID", "sources[0].role", id="unknown-role"),
    pytest.param({"sources": [{"source": "dialogues", "role": "task", "share": 1}]},
                 "LIMIT_VIOLATED", "roles.refusal.floor", id="no-refusals"),
    pytest.param({"unit": "words"}, "MIX_INVALID", "unit", id="unknown-unit"),
    pytest.param({"packing": "tight"}, "MIX_INVALID", "packing", id="unknown-packing"),
    pytest.param({"changes": [{"first_step": 3, "shares": {"dialogues": 1}}]},
                 "MIX_INVALID", "changes[0].shares", id="change-forgets-sources"),
    pytest.param({"packing": "none", "max_length": 2}, "MIX_INVALID", "sources[0]",
                 id="nothing-to-learn"),
    pytest.param({"max_length": 1 << 20}, "MIX_INVALID", "max_length", id="too-long"),
    pytest.param({"num_steps": 30}, "MIX_INVALID", "changes[0].first_step", id="change-too-late"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "where"), TROUBLE)
def test_bad_mixes_of_tokens_are_refused_with_one_error(
    run: Run, tmp_path: Path, changes: dict[str, Any], reason: str, where: str
) -> None:
    if "sources" in changes:
        changes = {**changes, "changes": []}
    mix = written(tmp_path, **changes)
    for command in ("check", "preview", "seal"):
        result = run("mix", command, mix, "--json")
        error = json.loads(result.stderr)["error"]
        assert (error["reason"], result.returncode) == (reason, 65)
        assert error["where"] == f"{mix}: {where}"
        assert result.stdout == ""


def test_a_source_that_may_run_out_is_refused_with_its_step(run: Run, tmp_path: Path) -> None:
    sources = [dict(source) for source in MIX["sources"]]
    sources[2] |= {"on_exhaustion": "error"}
    result = run("mix", "seal", written(tmp_path, sources=sources), "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], result.returncode) == ("MIX_EXHAUSTED", 65)
    assert "it runs out in step" in error["message"]


@pytest.mark.parametrize("world_size", [0, 9])
def test_ranks_that_cannot_be_served_are_refused(run: Run, tmp_path: Path, world_size: int) -> None:
    mix = written(tmp_path)
    plan_id = run("mix", "seal", mix).stdout.strip()
    for arguments in (("preview", mix, "--json"), ("trace", plan_id)):
        result = run("mix", *arguments, "--world", world_size)
        assert result.returncode == 64
        assert "RANK_INVALID" in result.stderr


@pytest.mark.parametrize(
    ("text", "reason", "exit_code", "where"),
    [
        (None, "CONFIG_INVALID", 78, "limits.yaml"),
        (
            "roles: {refusal: {floor: 900, ceiling: 100}}",
            "POLICY_INVALID",
            78,
            "roles.refusal.floor",
        ),
        ("roles: {refusal: {floor: 6000}, task: {floor: 5000}}", "POLICY_INVALID", 78, "roles"),
        ("roles: {nobody: {floor: 1}}", "POLICY_INVALID", 78, "roles"),
        ("roles: [", "POLICY_INVALID", 78, "line 3"),
    ],
)
def test_a_service_does_not_start_with_a_policy_that_is_none(
    tmp_path: Path, text: str | None, reason: str, exit_code: int, where: str
) -> None:
    policy = tmp_path / "limits.yaml"
    if text is not None:
        policy.write_text(f"name: house\n{text}\n", encoding="utf-8")
    overrides = (
        f"ratio_policy={policy}",
        f"data_folder={tmp_path / 'data'}",
        f"address=unix:{tmp_path / 'socket'}",
    )
    options = [word for override in overrides for word in ("--set", override)]
    result = here("serve", "--json", *options)
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], result.returncode) == (reason, exit_code)
    assert str(policy) in error["where"] and where in error["where"]
    assert not (tmp_path / "data").exists()
    checked = here("doctor", "--json", *options)
    broken = [f for f in json.loads(checked.stdout)["findings"] if f["state"] == "broken"]
    assert checked.returncode == 1
    assert [finding["subject"] for finding in broken] == ["ratio policy"]
    if text is not None:
        offline = here("mix", "policy", "check", policy, "--json")
        assert json.loads(offline.stderr)["error"] == error


def test_a_policy_is_checked_without_a_service(place: Path, tmp_path: Path) -> None:
    command = ("mix", "policy", "check", place / "policy.yaml")
    found = json.loads(here(*command, written(tmp_path), "--json").stdout)
    assert {margin["path"]: margin["share"] for margin in found["margins"]} == {
        "roles.task": "7/10",
        "roles.refusal": "1/20",
    }
    shares = {"dialogues": "90%", "manuals": "5%", "refusals": "5%"}
    mix = written(tmp_path, changes=[{"first_step": 1, "shares": shares}])
    result = here(*command, mix, "--json")
    assert result.returncode == 65
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], error["where"]) == ("LIMIT_VIOLATED", f"{mix}: stages[1]")


def test_errors_name_the_file_that_was_given(run: Run, tmp_path: Path) -> None:
    mix, policy = written(tmp_path), tmp_path / "open.yaml"
    policy.write_text("name: open\nroles: {nobody: {floor: 1}}\n", encoding="utf-8")
    for command in (("preview", mix, "--policy", policy), ("policy", "check", policy)):
        error = json.loads(run("mix", *command, "--json").stderr)["error"]
        assert (error["reason"], error["where"][: len(str(policy))]) == (
            "POLICY_INVALID",
            str(policy),
        )
    mix.write_text("[]", encoding="utf-8")
    of_mixes: tuple[tuple[object, ...], ...] = (
        ("check", mix),
        ("seal", mix),
        ("compare", mix),
        ("propose", mix, policy),
    )
    for words in of_mixes:
        error = json.loads(run("mix", *words, "--json").stderr)["error"]
        assert (error["reason"], error["where"]) == ("MIX_INVALID", str(mix))
    error = json.loads(here("mix", "check", mix, "--json").stderr)["error"]
    assert (error["reason"], error["where"]) == ("SERVER_UNAVAILABLE", "127.0.0.1:1")


def test_measures_are_refused_where_there_are_none_to_give(
    service: tuple[Run, str], tmp_path: Path
) -> None:
    run, address = service
    packed = run("mix", "seal", written(tmp_path)).stdout.strip()
    plain = run("mix", "seal", written(tmp_path, unit="examples", packing="none")).stdout.strip()
    for plan_id, source, reason in (
        (packed, "nobody", Reason.MIX_UNKNOWN_SOURCE),
        (plain, "dialogues", Reason.INPUT_MALFORMED),
        ("0" * 64, "dialogues", Reason.PLAN_UNKNOWN),
    ):
        request = wire.GetMeasuresRequest(plan_id=plan_id, source=source)
        with pytest.raises(RecollectError) as caught, connect(address) as client:
            list(client.mix.GetMeasures(request))
        assert caught.value.reason is reason
