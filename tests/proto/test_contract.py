"""The wire contract: lint-clean, current, and complete in the docs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_the_contract_passes_the_style_rules() -> None:
    result = subprocess.run([BIN / "buf", "lint"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_committed_stubs_are_what_the_contract_generates() -> None:
    result = subprocess.run(
        [ROOT / "proto" / "check_generated.sh", sys.executable], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_stale_stub_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "proto"
    subprocess.run(["cp", "-rL", ROOT / "proto", copy], check=True)
    stub = copy / "recollect" / "v1" / "mix_pb2.py"
    stub.write_text(stub.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    result = subprocess.run(
        [copy / "check_generated.sh", sys.executable], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "mix_pb2.py is stale" in result.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "proto" / "recollect" / "v1").glob("*.proto")))
def test_every_call_is_documented(path: Path) -> None:
    reference = (ROOT / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
    calls = re.findall(r"^  rpc (\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert calls
    assert [call for call in calls if f"`{call}`" not in reference] == []
