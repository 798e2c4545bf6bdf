from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.intake import ColumnMapping, IntakeLimits, IntakeReport, read_examples

Written = Callable[[str, bytes | str], Path]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiter_is_told_from_the_header(written: Written, delimiter: str) -> None:
    rows = [["id", "question", "answer"], ["1", '"a\n,;\tb"', "c"], [], ["2", "d", "e"]]
    path = written("a.csv", "\n".join(delimiter.join(row) for row in rows))
    first, second = read_examples(path)
    assert [message.content for message in first.messages] == ["a\n,;\tb", "c"]
    assert [message.content for message in second.messages] == ["d", "e"]
    assert (first.pointer.row, second.pointer.row) == (2, 5)


def test_csv_row_that_cannot_be_read_is_passed_over_alone(written: Written) -> None:
    report = IntakeReport()
    path = written("a.csv", b'text,n\na,1\n"b"b,2\nc,3\nd\ne\xff,5\nf,6\n')
    examples = list(read_examples(path, report=report, on_bad_row="skip"))
    assert [example.messages[0].content for example in examples] == ["a", "c", "f"]
    assert report.rejected[Reason.INPUT_MALFORMED].num_rows == 2
    assert report.rejected[Reason.INPUT_ENCODING].num_rows == 1


def test_parquet_reads_nested_paths_and_only_needed_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"text": "Hi Ann", "who": {"name": "Ann", "age": 3}, "extra": b"\xff"}] * 130
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    examples = list(read_examples(path, ColumnMapping(identifiers=("who.name",))))
    assert [example.pointer.row for example in examples] == list(range(1, 131))
    assert {example.known_values for example in examples} == {("Ann",)}


def test_parquet_value_that_is_not_text_is_an_encoding_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = pyarrow.array([b"fine", b"caf\xe9"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": broken}), path)
    with pytest.raises(RecollectError) as caught:
        list(read_examples(path))
    assert caught.value.reason == Reason.INPUT_ENCODING
    assert caught.value.where == "a.parquet:2"
    assert caught.value.__context__ is None


def test_parquet_row_beyond_the_limit_is_passed_over(tmp_path: Path) -> None:
    path, report = tmp_path / "a.parquet", IntakeReport()
    table = pyarrow.table({"text": ["a", "x" * 5000, "b"]})
    pyarrow.parquet.write_table(table, path)
    limits = IntakeLimits(max_row_bytes=1000, max_batch_bytes=10)
    examples = read_examples(path, limits=limits, report=report, on_bad_row="skip")
    assert [example.messages[0].content for example in examples] == ["a", "b"]
    assert report.rejected[Reason.INPUT_TOO_LARGE].first[0].row == 2


def test_parquet_whose_pages_are_damaged_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"text {index}" for index in range(1000)]})
    pyarrow.parquet.write_table(table, path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[40:400] = b"\xff" * 360
    path.write_bytes(content)
    with pytest.raises(RecollectError) as caught:
        list(read_examples(path))
    assert caught.value.reason == Reason.INPUT_MALFORMED


def test_parquet_without_rows_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(RecollectError) as caught:
        list(read_examples(path))
    assert caught.value.reason == Reason.INPUT_EMPTY
