"""Bad input: one clear error for each kind, bounded memory, and never a word of the content."""

from __future__ import annotations

import gc
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.intake import IntakeLimits, IntakeReport, read_examples

Written = Callable[[str, bytes | str], Path]
SECRET = "Crystal-Minh-4711"
CUT_GZIP = gzip.compress(SECRET.encode(), mtime=0)[:-9]


def reachable_text(error: BaseException | None) -> Iterator[str]:
    """What a logger could print of an error and of everything that hangs on it."""
    while error is not None:
        yield f"{error!s} {error!r} {error.args!r} {vars(error)!r}"
        yield repr([getattr(error, name, None) for name in ("doc", "object", "msg")])
        assert error.__cause__ is None
        error = error.__context__


def refusal(path: Path, **settings: object) -> RecollectError:
    with pytest.raises(RecollectError) as caught:
        list(read_examples(path, **settings))  # type: ignore[arg-type]
    assert SECRET not in "".join(reachable_text(caught.value))
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "reason", "where"),
    [
        ("a.jsonl", f'{{"text": "{SECRET}"}}\n{{"text": "{SECRET}" x', "INPUT_MALFORMED", ":2:30"),
        ("a.jsonl", f'{{"text": "{SECRET}\n', "INPUT_MALFORMED", ":1:10"),
        ("a.jsonl", f'{{"text": "{SECRET}\\q"}}', "INPUT_MALFORMED", ":1:28"),
        ("a.jsonl", f'"{SECRET}"', "INPUT_MALFORMED", ":1:1"),
        ("a.jsonl", f'{{"text": "{SECRET} \\ud800"}}', "INPUT_MALFORMED", ":1:1"),
        ("a.jsonl", f'{{"{SECRET}": ' + "9" * 5000 + "}", "INPUT_MALFORMED", ":1:1"),
        ("a.jsonl", f'{{"{SECRET}": ' + "[" * 100_000, "INPUT_MALFORMED", ":1:1"),
        ("a.jsonl", f'{{"messages": "{SECRET}"}}', "INPUT_MALFORMED", ":1:messages"),
        ("a.jsonl", f'{{"messages": "[{SECRET}"}}', "INPUT_MALFORMED", ":1:messages"),
        ("a.jsonl", f'{{"messages": [["{SECRET}"]]}}', "INPUT_MALFORMED", ":1:messages[0]"),
        ("a.jsonl", f'{{"messages": [{{"text": "{SECRET}"}}]}}', "INPUT_MALFORMED", "[0]"),
        ("a.jsonl", f'{{"messages": [["{SECRET}", "x"]]}}', "INPUT_UNKNOWN_SPEAKER", ":1"),
        ("a.jsonl", f'{{"messages": {{"{SECRET}": "x"}}}}', "INPUT_MALFORMED", ":1:messages"),
        ("a.jsonl", f'{{"text": {{"{SECRET}": "x"}}}}', "INPUT_MALFORMED", ":1:text"),
        ("a.jsonl", f'{{"instruction": "", "instances": ["{SECRET}"]}}', "INPUT_MALFORMED", "[0]"),
        ("a.json", f'[{{"text": "{SECRET}"}},\n {{"text": "{SECRET}]', "INPUT_MALFORMED", ":2"),
        ("a.json", f'[{{"text": "{SECRET}"}},\n {{"text": {SECRET}}}]', "INPUT_MALFORMED", ":2:11"),
        ("a.json", f'[{{"text": "a"}}] {{"{SECRET}": 1}}', "INPUT_MALFORMED", "a.json"),
        ("a.json", f'[{{"text": "a"}}, ["{SECRET}"]]', "INPUT_MALFORMED", ":1:17"),
        ("a.json", f'[{{"text": "{SECRET}"}},]', "INPUT_MALFORMED", ":1:32"),
        ("a.json", f'{{"text":\n"{SECRET}"}}', "INPUT_MALFORMED", ":1:9"),
        ("a.csv", f'text,n\n{SECRET},1\n"{SECRET}"x,2\n', "INPUT_MALFORMED", ":3"),
        ("a.csv", f"text,n\n{SECRET}\n", "INPUT_MALFORMED", ":2"),
        ("a.csv", f'text,n\n"{SECRET}\n', "INPUT_MALFORMED", ":2"),
        ("a.csv", f"text,text\n{SECRET},1\n", "INPUT_MALFORMED", ":1"),
        ("a.csv", f"text,n\r{SECRET},1\r", "INPUT_MALFORMED", ":1"),
        ("a.csv", f"{SECRET} 1,{SECRET} 2\nx,y\n", "INPUT_UNKNOWN_FORMAT", ":2"),
        ("a.jsonl.gz", CUT_GZIP, "INPUT_MALFORMED", "a.jsonl.gz"),
        ("a.jsonl", b"\x1f\x8bx" + SECRET.encode(), "INPUT_MALFORMED", "a.jsonl"),
        ("a.parquet", SECRET.encode(), "INPUT_MALFORMED", "a.parquet"),
        ("a.parquet", b"", "INPUT_MALFORMED", "a.parquet"),
        ("a.jsonl", f'{{"text": "{SECRET}"}}'.encode("utf-16"), "INPUT_ENCODING", ":1"),
        ("a.csv", f"text\n{SECRET}\xe9\n".encode("latin-1"), "INPUT_ENCODING", ":2"),
        ("a.txt", f"{SECRET}\xe9\n".encode("latin-1"), "INPUT_ENCODING", ":1"),
        ("a.json", f'[\n"{SECRET}\xe9"]'.encode("latin-1"), "INPUT_ENCODING", ":2"),
    ],
)
def test_each_bad_input_is_one_error_with_its_place_and_without_its_content(
    written: Written, name: str, content: bytes | str, reason: str, where: str
) -> None:
    error = refusal(written(name, content))
    assert error.reason.name == reason
    assert error.where.startswith(name) and error.where.endswith(where)
    assert error.message.endswith(".") and "\n" not in str(error)


def test_wrong_encoding_names_the_byte_and_the_line(written: Written) -> None:
    error = refusal(written("a.jsonl", b'{"text": "one"}\n{"text": "caf\xe9"}\n'))
    assert error.where == "a.jsonl:2"
    assert "offset 29 " in error.message


@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".parquet"]))
@example(b"[", ".json")
@example(b'["\\', ".json")
@example(b"[}", ".json")
def test_any_bytes_give_examples_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        assert all(item.messages for item in read_examples(path, on_bad_row="skip"))
    except RecollectError as error:
        assert 100 <= error.reason < 200


def test_truncated_gzip_gives_its_whole_rows_first_and_is_never_skipped(written: Written) -> None:
    rows = "".join(json.dumps({"text": os.urandom(40).hex()}) + "\n" for _ in range(5000))
    path = written("a.jsonl.gz", gzip.compress(rows.encode())[:-100_000])
    report = IntakeReport()
    error = refusal(path, report=report, on_bad_row="skip")
    assert "truncated" in error.message
    assert 0 < report.num_examples < 5000 and not report.rejected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "' + "x" * 5000 + '"}\n{"text": "b"}\n'),
        ("a.json", '[{"text": "a"}, {"text": "' + "x\n" * 99_000 + '"}, {"text": "b"}]'),
        ("a.csv", 'text,n\na,1\n"' + "x" * 5000 + '",2\nb,3\n'),
        ("a.csv", 'text,n\na,1\n"' + "x\n" * 520 + '",2\nb,3\n'),
        ("a.txt", "a\n\n" + "x" * 5000 + "\n\nb"),
    ],
)
def test_row_beyond_the_limit_is_refused_or_passed_over(
    written: Written, name: str, content: str
) -> None:
    limits, report = IntakeLimits(max_row_bytes=1000), IntakeReport()
    path = written(name, content)
    assert refusal(path, limits=limits).reason == Reason.INPUT_TOO_LARGE
    examples = read_examples(path, limits=limits, report=report, on_bad_row="skip")
    assert {item.messages[0].content for item in examples} >= {"a"}
    assert report.rejected[Reason.INPUT_TOO_LARGE].num_rows == 1


CHILD = """
import resource, sys
from recollect.mixer.errors import RecollectError
from recollect.services.intake import read_examples
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(read_examples(sys.argv[1], on_bad_row=sys.argv[2]))
except RecollectError as error:
    print(error.reason.name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("on_bad_row", ["stop", "skip"])
@pytest.mark.parametrize("name", ["line.jsonl", "element.json", "cell.csv", "paragraph.txt"])
def test_line_of_a_gigabyte_is_refused_in_bounded_memory(
    tmp_path: Path, name: str, on_bad_row: str
) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.write({".json": b'[{"text": "', ".csv": b'text\n"'}.get(path.suffix, b'{"text": "'))
        file.truncate(2**30)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), on_bad_row], capture_output=True, text=True
    )
    path.unlink()
    reason, kilobytes = done.stdout.split()
    assert reason in ("INPUT_TOO_LARGE", "INPUT_EMPTY", "INPUT_MALFORMED")
    assert (reason == "INPUT_TOO_LARGE") == (on_bad_row == "stop")
    assert int(kilobytes) < 100 * 1024


@pytest.mark.slow
def test_parquet_with_one_huge_row_group_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.parquet"
    schema = pyarrow.schema([("text", pyarrow.string()), ("unused", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        texts = [f"{index} " + "word " * 200 for index in range(150_000)]
        writer.write_table(pyarrow.table([texts, texts], schema=schema), row_group_size=10**6)
    del texts
    gc.collect()
    code = (
        CHILD.replace("list(", "print(sum(1 for _ in ")
        .replace("[2])", "[2]))")
        .replace(
            "except RecollectError as error:\n    print(error.reason.name,", "finally:\n    print("
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), "stop"], capture_output=True, text=True, check=True
    )
    num_examples, kilobytes = map(int, done.stdout.split())
    assert num_examples == 150_000
    assert kilobytes < 150 * 1024
