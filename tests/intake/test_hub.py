from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.intake import IntakeLimits, read_examples

ROWS = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
    for n in range(20)
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


def first_contents(location: str) -> list[str]:
    return [example.messages[0].content for example in read_examples(location)]


def test_folder_of_data_files_is_streamed_by_split_and_leaves_no_row_behind(
    tmp_path: Path, cache: Path
) -> None:
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "train.jsonl").write_text("\n".join(lines[:15]))
    (tmp_path / "test.jsonl").write_text("\n".join(lines[15:]))
    assert first_contents(f"datasets:{tmp_path}") == [f"q{n}" for n in range(15)]
    assert first_contents(f"datasets:{tmp_path}:test") == [f"q{n}" for n in range(15, 20)]
    assert not any(path.stat().st_size for path in cache.rglob("*") if path.is_file())


def test_saved_data_sets_are_read_from_disk(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(ROWS)
    datasets.disable_progress_bars()
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([3])}).save_to_disk(tmp_path / "two")
    assert len(first_contents(f"datasets:{tmp_path / 'one'}")) == 20
    assert first_contents(f"datasets:{tmp_path / 'two'}:test") == ["q3"]
    (pointer,) = {e.pointer for e in read_examples(f"datasets:{tmp_path / 'two'}:test")}
    assert str(pointer) == "two:test:1"


def test_data_set_or_split_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(ROWS[0]))
    for location in (f"datasets:{tmp_path}:other", f"datasets:{tmp_path}/none"):
        with pytest.raises(RecollectError) as caught:
            list(read_examples(location))
        assert caught.value.reason == Reason.INPUT_NOT_FOUND


def test_broken_file_of_a_data_set_is_one_error_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"messages": "Crystal Minh')
    with pytest.raises(RecollectError) as caught:
        list(read_examples(f"datasets:{tmp_path}"))
    assert caught.value.reason in (Reason.INPUT_MALFORMED, Reason.INPUT_NOT_FOUND)
    assert caught.value.__context__ is None and "Crystal" not in str(caught.value)


def test_row_of_a_data_set_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": "x" * 2000}))
    with pytest.raises(RecollectError) as caught:
        list(read_examples(f"datasets:{tmp_path}", limits=IntakeLimits(max_row_bytes=1000)))
    assert caught.value.reason == Reason.INPUT_TOO_LARGE


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "examples.close()"])
def test_parquet_stream_that_is_broken_off_lets_the_process_end(
    tmp_path: Path, ending: str
) -> None:
    table = pyarrow.Table.from_pylist(ROWS * 1000)
    for index in range(3):
        pyarrow.parquet.write_table(table, tmp_path / f"train-{index}.parquet", row_group_size=999)
    code = f"""
from recollect.services.intake import read_examples
examples = read_examples("datasets:{tmp_path}")
print(next(examples).messages[0].content)
{ending}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "q0\n")
    assert "Exception ignored" not in done.stderr
