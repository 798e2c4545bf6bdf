"""The command line: help with examples, JSON for programs, exit codes that mean something."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from recollect.services import cli

from .conftest import Run, run_command

ROOT = Path(__file__).parents[2]


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _commands(child, (*path, name))
    else:
        yield path


cli.add_plugins()
COMMANDS = sorted(_commands(typer.main.get_command(cli.app), ()))


def test_the_commands_of_the_readme_exist() -> None:
    names = {path[0] for path in COMMANDS}
    assert names >= {"serve", "ingest", "mix", "train", "audit", "demo", "doctor"}


@pytest.mark.parametrize("path", COMMANDS, ids="-".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(cli.app)
    for name in path:
        command = command.commands[name]
    assert command.help
    assert command.epilog and f"recollect {' '.join(path)}" in command.epilog


def test_the_reference_pages_are_current() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "write_reference.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_a_wrong_command_is_a_usage_error() -> None:
    assert run_command("mixx").returncode == 2
    assert run_command("ingest").returncode == 2


def test_no_service_is_said_with_its_exit_code_and_as_json() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        result = run_command("sources", "list", "--server", f"127.0.0.1:{port}", "--json")
    assert result.returncode == 69
    assert json.loads(result.stderr)["error"]["reason"] == "SERVER_UNAVAILABLE"
    assert result.stdout == ""


@pytest.mark.slow
def test_a_file_becomes_a_plan_in_four_commands(
    recollect: Run, chats: Path, tmp_path: Path
) -> None:
    first = recollect("ingest", chats, "--source", "four_commands", "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert (report["num_read"], report["num_stored"]) == (12, 12)
    assert report["findings"]["EMAIL_ADDRESS"] == 12

    again = json.loads(recollect("ingest", chats, "--source", "four_commands", "--json").stdout)
    assert (again["num_stored"], again["num_duplicates"]) == (0, 12)

    mix = tmp_path / "mix.yaml"
    mix.write_text(
        "version: 1\nname: four\nunit: examples\nbatch_size: 4\nnum_steps: 5\nmax_length: 64\n"
        "seed: 1\nsources:\n  - {source: four_commands, role: task, share: 100%}\n",
        encoding="utf-8",
    )
    assert recollect("mix", "check", mix).returncode == 0
    preview = json.loads(recollect("mix", "preview", mix, "--json").stdout)
    assert preview["num_rows"] == 20
    assert preview["sources"][0]["epochs"] == pytest.approx(20 / 12)
    assert preview["sources"][0]["exhaustion_step"] == 3
    sealed = [json.loads(recollect("mix", "seal", mix, "--json").stdout) for _ in range(2)]
    assert sealed[0]["plan_id"] == sealed[1]["plan_id"]

    log = recollect("audit", "log", "--kind", "plan_sealed", "--json").stdout.splitlines()
    assert sum(json.loads(line)["body"]["plan_id"] == sealed[0]["plan_id"] for line in log) == 1


@pytest.mark.slow
def test_doctor_shows_the_effective_configuration_and_that_all_is_there(tmp_path: Path) -> None:
    result = run_command(
        "doctor", "--json", "--set", f"data_folder={tmp_path}", "--set", "teacher.threads=1"
    )
    report = json.loads(result.stdout)
    assert result.returncode == 0, report["findings"]
    assert report["ready"] is True
    assert report["settings"]["teacher"]["threads"] == 1
    subjects = {finding["subject"] for finding in report["findings"]}
    assert {"GPU", "FAISS", "teacher", "de-identification", "disk"} <= subjects


def test_doctor_names_a_model_that_is_missing(tmp_path: Path) -> None:
    result = run_command("doctor", "--json", "--set", f"teacher.folder={tmp_path / 'none'}")
    assert result.returncode == 1
    broken = [f for f in json.loads(result.stdout)["findings"] if f["state"] == "broken"]
    assert [f["subject"] for f in broken] == ["teacher"]


def test_files_are_de_identified_and_measured_from_the_command_line(tmp_path: Path) -> None:
    text = "My name is Rosalind Achterberg, mail rosa.acht@mail.example.com"
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"id": 1, "text": text}) + "\n{\n")
    key = tmp_path / "keys" / "k.key"
    done = run_command(
        "deid", "apply", str(source), str(target), "--spans", "--key-file", str(key), "--json"
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["num_written"], counts["quarantined"]) == (1, {"INPUT_MALFORMED": 1})
    row = json.loads(target.read_text())
    assert "Rosalind" not in row["text"] and "rosa.acht" not in row["text"]
    assert key.stat().st_mode & 0o077 == 0
    spans = [
        {"entity_type": s["class"], "start": s["start"], "end": s["end"]} for s in row["spans"]
    ]
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text(json.dumps({"text": text, "spans": spans}) + "\n")
    measured = run_command("deid", "evaluate", str(labelled), "--stages", "--perturb", "--json")
    assert measured.returncode == 0, measured.stderr
    report = json.loads(measured.stdout)
    assert report["recall"]["value"] == report["precision"]["value"] == 1.0
    assert report["without"]["pattern"]["recall"]["of"] == 2
    assert set(report["perturbed"]) >= {"lower case", "confusables"}
    page = tmp_path / "report.html"
    shown = run_command("deid", "evaluate", str(labelled), "--misses", "3", "--html", str(page))
    assert "character precision" in shown.stdout
    assert "character precision" in page.read_text(encoding="utf-8")
    assert "Achterberg" not in page.read_text(encoding="utf-8")
    listed = run_command("deid", "policies", "--json")
    assert {p["name"] for p in json.loads(listed.stdout)} >= {"strict", "gdpr-pseudonymous"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("apply", "none.jsonl", "out.jsonl"), "INPUT_NOT_FOUND"),
        (("apply", "none.jsonl", "out.jsonl", "--policy", "lax"), "POLICY_INVALID"),
        (("evaluate", "none.jsonl"), "INPUT_NOT_FOUND"),
        (("evaluate", "none.jsonl", "--policy", "./none.yaml"), "POLICY_INVALID"),
    ],
)
def test_what_cannot_be_de_identified_is_an_error_in_words(
    arguments: tuple[str, ...], reason: str
) -> None:
    failed = run_command("deid", *arguments)
    assert failed.returncode == {"INPUT_NOT_FOUND": 66, "POLICY_INVALID": 78}[reason]
    assert reason in failed.stderr
    assert "Traceback" not in failed.stderr
