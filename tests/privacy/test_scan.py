from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier, missed, scan_bytes

VALUES = ["Rosalind Achterberg", "quokka_91", "Ångström"]


def write(folder: Path, form: str, text: str) -> None:
    path = folder / "sub" / "file"
    path.parent.mkdir()
    if form == "parquet":
        column = pa.array([text] * 50).dictionary_encode()
        parquet.write_table(pa.table({"text": column}), path, compression="zstd")
    elif form == "nested":
        rows = pa.array([[{"content": text}]])
        parquet.write_table(pa.table({"messages": rows}), path, compression="zstd")
    elif form == "arrow":
        table = pa.table({"text": [text] * 50, "ids": [[1, 2]] * 50})
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table)
    elif form == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode(form))


@pytest.mark.parametrize(
    "form", ["utf-8", "utf-16-le", "utf-16-be", "gzip", "parquet", "nested", "arrow"]
)
def test_a_value_is_found_in_every_form_and_any_case(tmp_path: Path, form: str) -> None:
    write(tmp_path, form, "… said ROSALIND achterberg, twice")
    leaks = scan_bytes(tmp_path, VALUES)
    assert {(leak.file, leak.value) for leak in leaks} == {("sub/file", 0)}


@pytest.mark.parametrize("form", ["utf-8", "utf-16-le", "utf-16-be", "gzip", "parquet", "arrow"])
def test_other_letters_than_ascii_are_found_in_any_case(tmp_path: Path, form: str) -> None:
    write(tmp_path, form, "per ångström")
    assert {leak.value for leak in scan_bytes(tmp_path, VALUES)} == {2}


def test_a_clean_folder_gives_no_leaks(tmp_path: Path) -> None:
    write(tmp_path, "parquet", "nothing to see")
    assert scan_bytes(tmp_path, VALUES) == []


@pytest.mark.parametrize("form", ["parquet", "arrow", "gzip"])
def test_what_is_left_of_a_damaged_file_is_read(tmp_path: Path, form: str) -> None:
    noise = " ".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))
    write(tmp_path, form, "said quokka_91 " + noise)
    path = tmp_path / "sub" / "file"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 20])
    assert {leak.value for leak in scan_bytes(tmp_path, VALUES)} == {1}
    path.write_bytes(content[:6])
    assert scan_bytes(tmp_path, VALUES) == []


def test_a_value_in_base64_or_escapes_is_found_and_its_spelling_told(tmp_path: Path) -> None:
    for name, text in {
        "header": base64.b64encode(b"user:Rosalind Achterberg"),
        "ledger": json.dumps({"name": "Ångström"}).encode(),
        "log": gzip.compress(b"said Rosalind\nAchterberg"),
    }.items():
        (tmp_path / name).write_bytes(text)
    found = {(leak.file, leak.value, leak.form) for leak in scan_bytes(tmp_path, VALUES)}
    assert found == {
        ("header", 0, "bytes, base64"),
        ("ledger", 2, "bytes, escaped"),
        ("log", 0, "gzip, escaped"),
    }


def test_a_value_across_two_blocks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recollect.services.privacy.scan._BLOCK", 8)
    (tmp_path / "file").write_text("xxxx quokka_91 xxxx")
    assert [leak.value for leak in scan_bytes(tmp_path, VALUES)] == [1]


def test_a_leak_does_not_repeat_the_value(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("quokka_91")
    assert "quokka" not in repr(scan_bytes(tmp_path, VALUES))


def test_detected_values_of_the_invented_rows_reach_no_file(
    tmp_path: Path, deidentifier: Deidentifier, invented: list[dict[str, Any]]
) -> None:
    raw = []
    with (tmp_path / "out.jsonl").open("w", encoding="utf-8") as stream:
        for row in invented:
            text = row["text"]
            found = deidentifier.find(text)
            raw += [text[f.start : f.end] for f in found if f.end - f.start > 7]
            out = deidentifier.deidentify([Message(speaker=Speaker.USER, content=text)])
            stream.write(json.dumps(out.messages[0].content, ensure_ascii=False) + "\n")
    assert len(raw) > 2
    assert scan_bytes(tmp_path, raw) == []


def test_missed_spans_are_listed_by_type(deidentifier: Deidentifier) -> None:
    text = "my name is Rosalind Achterberg from Saltmere"
    row = {
        "id": "one",
        "text": text,
        "spans": [
            {"entity_type": "PERSON", "start": 11, "end": 30},
            {"entity_type": "LOCATION", "start": 36, "end": 44},
        ],
    }
    report = missed([row], deidentifier)
    assert report.recall() == {"LOCATION": 0.0, "PERSON": 1.0}
    assert report.spans == (("one", "LOCATION", "Saltmere"),)


def test_recall_on_the_invented_rows_does_not_sink(
    deidentifier: Deidentifier, invented: list[dict[str, Any]]
) -> None:
    recall = missed(invented, deidentifier).recall()
    floors = {"EMAIL_ADDRESS": 1.0, "PHONE_NUMBER": 0.95, "CREDIT_CARD": 0.95, "PERSON": 0.65}
    floors |= {"IBAN_CODE": 1.0, "US_SSN": 1.0, "IP_ADDRESS": 1.0, "ORDER_ID": 0.75}
    sunk = {kind: recall[kind] for kind, floor in floors.items() if recall.get(kind, 1) < floor}
    assert not sunk


@pytest.mark.parametrize("pad", [0, (1 << 22) - 3])
def test_a_short_number_counts_by_itself_but_not_within_a_longer_one(
    pad: int, tmp_path: Path
) -> None:
    (tmp_path / "longer").write_bytes(b" " * pad + b"order 7199999 and 999991")
    assert scan_bytes(tmp_path, ["99999"]) == []
    (tmp_path / "alone").write_bytes(b" " * pad + b"in 99999 Lindenau")
    assert [leak.file for leak in scan_bytes(tmp_path, ["99999"])] == ["alone"]
