"""Files of rows: what comes out, what is quarantined, and what a crash leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.deid_files import apply_rows
from recollect.services.deid_rows import RowOptions
from recollect.services.privacy.policy import load_policy

KEY = bytes(range(32))
MAIL = "rosa.acht@mail.example.com"


def options(**changes: Any) -> RowOptions:
    values: dict[str, Any] = {"policy": load_policy("gdpr-pseudonymous"), "key": KEY}
    return RowOptions(**(values | changes))


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_spans_lie_in_the_input_and_surrogates_in_the_output(tmp_path: Path) -> None:
    text = f"Hello, my name is Rosalind Achterberg. Write to {MAIL}, thanks."
    source = write(tmp_path / "in.jsonl", {"id": 7, "text": text, "secret": MAIL})
    done = apply_rows(source, tmp_path / "out.jsonl", options(spans=True))
    (row,) = read(tmp_path / "out.jsonl")
    assert (done.num_rows, done.num_written, done.quarantined) == (1, 1, {})
    assert row["id"] == 7
    assert "secret" not in row
    rebuilt, end = "", 0
    for span in row["spans"]:
        rebuilt += text[end : span["start"]] + span["surrogate"]
        end = span["end"]
        assert {"class", "score", "stage"} <= span.keys()
    assert rebuilt + text[end:] == row["text"]
    found = {text[s["start"] : s["end"]]: s["class"] for s in row["spans"]}
    assert found == {"Rosalind Achterberg": "PERSON", MAIL: "EMAIL_ADDRESS"}
    assert row["findings"] == {"EMAIL_ADDRESS": 1, "PERSON": 1}
    assert row["policy"].startswith("gdpr-pseudonymous ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_dialogues_keep_roles_and_one_person_stays_one(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "My name is Rosalind Achterberg.", "ip": "8.8.8.8"},
        {"role": "agent", "content": "Thank you, Rosalind."},
    ]
    source = write(tmp_path / "in.jsonl", {"turns": turns})
    apply_rows(source, tmp_path / "out.jsonl", options(spans=True))
    (row,) = read(tmp_path / "out.jsonl")
    assert [turn["role"] for turn in row["turns"]] == ["user", "agent"]
    assert "8.8.8.8" not in json.dumps(row)
    names = [span["surrogate"] for span in row["spans"]]
    assert names[0].startswith(names[1])
    assert [span["field"] for span in row["spans"]] == ["turns[0].content", "turns[1].content"]


def test_identifying_fields_are_looked_for_in_the_text(tmp_path: Path) -> None:
    row = {"text": "the zarquon account is locked", "customer": "zarquon"}
    source = write(tmp_path / "in.jsonl", row)
    apply_rows(source, tmp_path / "out.jsonl", options(identifiers=("customer",), spans=True))
    (new,) = read(tmp_path / "out.jsonl")
    assert "zarquon" not in json.dumps(new)
    assert new["spans"][0]["stage"] == "known"


def test_a_bad_row_never_stops_the_rest(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {"text": "fine"},
        b"\xff\xfe",
        b"{",
        b"[1]",
        {"body": f"nobody looks at {MAIL}"},
        {"turns": [{"role": "user"}]},
        {"text": f"{MAIL} " * 100},
        {"text": "fine again"},
        b"[" * 100_000,
        b'{"id": "\\ud800", "text": "lone"}',
        b'{"text": "\\ud800 lone"}',
    )
    small = load_policy("strict").model_copy(update={"max_characters": 1_000})
    done = apply_rows(source, tmp_path / "out.jsonl", options(policy=small))
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == ["fine", "fine again"]
    lost = read(tmp_path / "out.jsonl.quarantine.jsonl")
    assert [(entry["row"], entry["reason"]) for entry in lost] == [
        (2, "INPUT_ENCODING"),
        (3, "INPUT_MALFORMED"),
        (4, "INPUT_MALFORMED"),
        (5, "INPUT_EMPTY"),
        (6, "INPUT_MALFORMED"),
        (7, "INPUT_TOO_LARGE"),
        (9, "INPUT_MALFORMED"),
        (10, "INPUT_ENCODING"),
        (11, "INPUT_ENCODING"),
    ]
    assert done.num_rows == 11
    assert MAIL not in (tmp_path / "out.jsonl.quarantine.jsonl").read_text()


def test_the_same_key_gives_the_same_file_in_any_number_of_processes(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"I am Rosalind Achterberg, order {n}12345-AB"} for n in range(150)]
    source = write(tmp_path / "in.jsonl", *rows)
    apply_rows(source, tmp_path / "one.jsonl", options())
    apply_rows(source, tmp_path / "two.jsonl", options(), workers=2)
    apply_rows(source, tmp_path / "other.jsonl", options(key=bytes(32)))
    one = (tmp_path / "one.jsonl").read_bytes()
    assert one == (tmp_path / "two.jsonl").read_bytes()
    others = read(tmp_path / "other.jsonl")
    assert all(
        a["text"] != b["text"] for a, b in zip(read(tmp_path / "one.jsonl"), others, strict=True)
    )


_KILLS = """
import os, sys
from pathlib import Path
from recollect.services import deid_files, deid_rows
from recollect.services.privacy.policy import load_policy

def deadly(self, line):
    if b"kill me" in line:
        os.kill(os.getpid(), 9)
    return "{}", {}

deid_rows.RowDeidentifier.__call__ = deadly
if __name__ == "__main__":
    options = deid_rows.RowOptions(policy=load_policy("strict"), key=bytes(32))
    done = deid_files.apply_rows(Path(sys.argv[1]), Path(sys.argv[2]), options, workers=2)
    print(done.num_written, dict(done.quarantined))
"""


@pytest.mark.faults
@pytest.mark.slow
def test_a_row_that_kills_its_process_is_quarantined_and_no_other(tmp_path: Path) -> None:
    script = tmp_path / "kills.py"
    script.write_text(_KILLS)
    source = write(
        tmp_path / "in.jsonl", *[{"text": "kill me" if n == 70 else ""} for n in range(80)]
    )
    command = [sys.executable, str(script), str(source), str(tmp_path / "out.jsonl")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.stdout.strip() == "79 {'DEIDENTIFICATION_FAILED': 1}", ended.stderr
    (entry,) = read(tmp_path / "out.jsonl.quarantine.jsonl")
    assert entry["row"] == 71


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_job_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = [
        {"id": n, "text": f"I am Rosalind Achterberg of order {n}-1234567"} for n in range(1_500)
    ]
    rows[3] = {"nothing": 1}
    source = write(tmp_path / "in.jsonl", *rows)
    apply_rows(source, tmp_path / "whole.jsonl", options(policy=load_policy("strict")))
    key = tmp_path / "k.key"
    key.write_bytes(KEY)
    command = [sys.executable, "-m", "recollect.services", "deid", "apply", str(source)]
    command += [str(tmp_path / "out.jsonl"), "--policy", "strict", "--key-file", str(key)]
    state = tmp_path / "out.jsonl.state"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < json.loads(state.read_text())["done"]["num_rows"] < 1_500
    assert not (tmp_path / "out.jsonl").exists()
    # What was written but not noted must not be written twice.
    with (tmp_path / "out.jsonl.part").open("ab") as file:
        file.write(b'{"half a li')
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [e["row"] for e in read(tmp_path / "out.jsonl.quarantine.jsonl")] == [4]
    assert not state.exists()


def test_a_job_of_another_policy_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.jsonl", *[{"text": f"mail {MAIL} {n}"} for n in range(100)])

    class Stopped(Exception):
        pass

    def stop(_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        apply_rows(source, tmp_path / "out.jsonl", options(), tell=stop)
    assert (tmp_path / "out.jsonl.state").exists()
    strict = options(policy=load_policy("strict"))
    apply_rows(source, tmp_path / "out.jsonl", strict)
    texts = [row["text"] for row in read(tmp_path / "out.jsonl")]
    assert len(texts) == 100
    assert all(text.startswith("mail [EMAIL_ADDRESS]") for text in texts)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        apply_rows(tmp_path / "none.jsonl", tmp_path / "out.jsonl", options())
    assert caught.value.reason is Reason.INPUT_NOT_FOUND


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": MAIL})
    (tmp_path / "link.jsonl").symlink_to(source)
    for target in ("in.jsonl", "link.jsonl"):
        with pytest.raises(RecollectError) as caught:
            apply_rows(source, tmp_path / target, options())
        assert caught.value.reason is Reason.CONFIG_INVALID
    assert read(source) == [{"text": MAIL}]


def test_files_beside_the_result_are_their_owners_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": "fine"}, b"{")
    apply_rows(source, tmp_path / "out.jsonl", options())
    for name in ("out.jsonl", "out.jsonl.quarantine.jsonl"):
        assert os.stat(tmp_path / name).st_mode & 0o077 == 0


def test_a_data_set_is_mapped_and_bad_rows_stay_behind() -> None:
    from datasets import Dataset

    from recollect.services.deid_dataset import DatasetDeidentifier

    rows = [
        {"id": 1, "text": f"I am Rosalind Achterberg, {MAIL}", "ip": "8.8.8.8"},
        {"id": 2, "text": None, "ip": "8.8.4.4"},
        {"id": 3, "text": "nothing here", "ip": "9.9.9.9"},
    ]
    data = Dataset.from_list(rows)
    mapped = data.map(
        DatasetDeidentifier(options(spans=True)),
        batched=True,
        remove_columns=data.column_names,
        load_from_cache_file=False,
    )
    assert sorted(mapped.column_names) == ["findings", "id", "key", "policy", "spans", "text"]
    assert mapped["id"] == [1, 3]
    assert MAIL not in mapped[0]["text"]
    assert json.loads(mapped[0]["findings"]) == {"EMAIL_ADDRESS": 1, "PERSON": 1}


def test_a_compressed_file_is_refused_in_words(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"text": "hi"}\n'))
    with pytest.raises(RecollectError) as caught:
        apply_rows(source, tmp_path / "out.jsonl", options())
    assert caught.value.reason is Reason.INPUT_ENCODING
    assert not (tmp_path / "out.jsonl").exists()


def test_a_role_that_is_a_name_is_text_like_any_other(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    row = {
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "rosa.acht@mail.example.net", "content": "hi"},
            {"from": "Rosalind Achterberg", "value": "I am Rosalind Achterberg"},
        ]
    }
    source.write_text(json.dumps(row) + "\n", encoding="utf-8")
    done = apply_rows(source, tmp_path / "out.jsonl", options())
    assert done.num_written == 1
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "acht" not in written.lower() and "rosa" not in written.lower()
    turns = json.loads(written)["messages"]
    assert [len(turn) for turn in turns] == [2, 2, 2]
    assert turns[0] == {"role": "user", "content": "hello"}
    assert turns[2]["value"].endswith(turns[2]["from"])


def test_each_value_of_a_list_is_known(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    row = {"text": "the zqx-7 unit of plover came", "customer": ["zqx-7", {"nick": "plover"}]}
    source.write_text(json.dumps(row) + "\n", encoding="utf-8")
    apply_rows(source, tmp_path / "out.jsonl", options(identifiers=("customer",)))
    written = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))["text"]
    assert "plover" not in written and "zqx" not in written
