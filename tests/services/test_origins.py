"""Where examples came from, and caches that can be thrown away."""

import json
import shutil
from pathlib import Path

import pytest

from recollect.services.demo.processes import service_process

from .conftest import run_command

pytestmark = pytest.mark.slow


def test_origins_are_found_by_person_file_and_example_and_survive_a_lost_cache(
    tmp_path: Path,
) -> None:
    rows = [
        {"prompt": f"Parcel {n} is late", "completion": "I am sorry.", "who": f"customer-{n % 2}"}
        for n in range(6)
    ]
    chats = tmp_path / "parcels.jsonl"
    chats.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("subject: who\n", encoding="utf-8")

    def origins(*question: str) -> list[dict[str, object]]:
        result = run_command("audit", "origins", *question, "--server", address, "--json")
        assert result.returncode == 0, result.stderr
        found: list[dict[str, object]] = json.loads(result.stdout)
        return found

    with service_process(tmp_path, threads=1) as address:
        stored = run_command(
            "ingest", chats, "--source", "parcels", "--mapping", mapping, "--server", address
        )
        assert stored.returncode == 0, stored.stderr
        about = origins("--subject", "customer-1")
        assert [origin["row"] for origin in about] == [2, 4, 6]
        assert len(origins("--file", "parcels.jsonl")) == 6
        assert origins("--example", str(about[0]["example_id"])) == [about[0]]
        assert origins("--subject", "customer-7") == []
        locked = run_command("audit", "rebuild", tmp_path / "data", "--json")
        assert locked.returncode == 75
    shutil.rmtree(tmp_path / "data" / "cache")
    rebuilt = run_command("audit", "rebuild", tmp_path / "data", "--json")
    assert json.loads(rebuilt.stdout) == {"num_examples": 6, "num_indexes": 1}
    with service_process(tmp_path, threads=1) as address:
        assert origins("--subject", "customer-1") == about
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or b"customer-1" not in path.read_bytes()


def test_exactly_one_question_is_asked() -> None:
    assert run_command("audit", "origins").returncode == 78
    assert run_command("audit", "origins", "--file", "a", "--subject", "b").returncode == 78
    assert run_command("audit", "rebuild", "/nonexistent").returncode == 66
