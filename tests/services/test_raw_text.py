"""Law 1: what was detected is nowhere on the disk, in any form; what was missed is listed."""

import json
from pathlib import Path

import pytest

from recollect.services.demo.processes import service_process
from recollect.services.demo.sample import DATA
from recollect.services.labelled import examine
from recollect.services.privacy import Policy, scan_bytes

from .conftest import run_command

pytestmark = pytest.mark.slow

LABELLED = DATA / "authored" / "pii.jsonl"
SECRET = "Zebediah Quillfeather-Oakenshaw"


def _as_chats(path: Path) -> Path:
    """The invented rows as one-question chats."""
    with path.open("w", encoding="utf-8") as file:
        for line in LABELLED.read_text(encoding="utf-8").splitlines():
            chat = {"prompt": json.loads(line)["text"], "completion": "Thank you, I will see."}
            file.write(json.dumps(chat, ensure_ascii=False) + "\n")
    return path


def test_detected_identifiers_are_nowhere_under_the_data_folder(tmp_path: Path) -> None:
    chats = _as_chats(tmp_path / "chats.jsonl")
    place = tmp_path / "place"
    place.mkdir()
    mix = tmp_path / "mix.yaml"
    mix.write_text(
        "version: 1\nname: pii\nunit: examples\nbatch_size: 8\nnum_steps: 4\nmax_length: 96\n"
        "seed: 0\nsources:\n  - {source: invented, role: task, share: 1}\n",
        encoding="utf-8",
    )
    with service_process(place, threads=1) as address:
        for command in (
            ("ingest", chats, "--source", "invented"),
            ("sources", "duplicates", "invented"),
            ("sources", "search", "invented", "refund"),
            ("mix", "seal", mix),
        ):
            result = run_command(*command, "--server", address)
            assert result.returncode == 0, result.stderr
    (place / "service.log").rename(place / "data" / "service.log")
    examined = examine(place / "data", LABELLED, Policy())
    assert examined.num_values > 100
    assert examined.leaks == []


NAMES = (
    "orla.wintermoor@mail.example.com.jsonl",
    "Complaint of Rosalind Wintermoor.jsonl",
    "Rosalind_Wintermoor_+12025550143.jsonl",
)
IDENTIFIERS = ("orla", "rosalind", "wintermoor", "2025550143")


def test_identifiers_in_the_name_of_a_file_are_nowhere(tmp_path: Path) -> None:
    rows = [{"prompt": f"Parcel {n} is late", "completion": "I am sorry."} for n in range(3)]
    # Too long for the policy: the row is quarantined, and the ledger points to it.
    rows.append({"prompt": "x" * 1_000_001, "completion": "No."})
    place = tmp_path / "place"
    place.mkdir()
    stored_names = []
    with service_process(place, threads=1) as address:
        for number, name in enumerate(NAMES):
            (tmp_path / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
            into = ("--source", f"s{number}", "--server", address, "--json")
            ingested = run_command("ingest", tmp_path / name, *into)
            assert ingested.returncode == 0, ingested.stderr
            told = json.loads(ingested.stdout)
            assert (told["num_stored"], told["num_quarantined"]) == (3, 1)
            asked = run_command("audit", "origins", "--file", name, "--server", address, "--json")
            # It is found by its name, which is stored under another.
            origins = json.loads(asked.stdout)
            assert [origin["row"] for origin in origins] == [1, 2, 3]
            (stored_name,) = {origin["file"] for origin in origins}
            assert told["quarantined"][0]["file"] == stored_name != name
            assert not [i for i in IDENTIFIERS if i in (ingested.stdout + asked.stdout).lower()]
            stored_names.append(stored_name)
    (place / "service.log").rename(place / "data" / "service.log")
    assert {leak.value for leak in scan_bytes(place / "data", stored_names)} == {0, 1, 2}
    assert scan_bytes(place / "data", IDENTIFIERS) == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    result = run_command("audit", "scan", tmp_path, LABELLED, "--json")
    assert result.returncode == 66
    assert json.loads(result.stderr)["error"]["reason"] == "INPUT_NOT_FOUND"


def test_the_scan_would_find_a_leak_and_lists_what_is_missed(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger.jsonl").touch()
    line = json.loads(LABELLED.read_text(encoding="utf-8").splitlines()[0])
    (tmp_path / "leak.bin").write_bytes(b"\x00\x01" + line["text"].upper().encode() + b"\xff")
    examined = examine(tmp_path, LABELLED, Policy())
    assert any("leak.bin" in leak for leak in examined.leaks)
    # Places are no target of this policy, though two pass for addresses: the scan has to say so.
    assert examined.recall["LOCATION"] == pytest.approx(2 / 14)
    assert [kind for _, kind, _ in examined.missed].count("LOCATION") == 12


def test_an_error_on_a_private_row_repeats_nothing_of_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "' + SECRET + '", "completion": }\n', encoding="utf-8")
    with service_process(tmp_path, threads=1) as address:
        for flags in ((), ("--json",), ("--skip-bad-rows",)):
            result = run_command("ingest", broken, "--source", "s", "--server", address, *flags)
            assert result.returncode == 65
            assert SECRET.split()[0] not in result.stdout + result.stderr
    assert SECRET.encode() not in (tmp_path / "service.log").read_bytes()
