"""Well-formed dialogues read back as they were written, whatever the layout and the format."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Pointer, Speaker
from recollect.services.intake import ColumnMapping, IntakeReport, Unusable, read_examples
from recollect.services.intake.reader import FIRST_ROWS

Chat = list[tuple[str, str]]
Written = Callable[[str, bytes | str], Path]
Contents = Callable[..., list[Chat]]
Row = dict[str, object]

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    chat: Chat = []
    if draw(st.booleans()):
        chat.append(("system", draw(words)))
    speaker = draw(st.sampled_from(["user", "assistant"]))
    for _ in range(draw(st.integers(2, 6))):
        chat.append((speaker, draw(words)))
        speaker = "assistant" if speaker == "user" else "user"
    return chat


def as_messages(chat: Chat) -> Row:
    return {"messages": [{"role": who, "content": text} for who, text in chat], "id": 7}


def as_conversations(chat: Chat) -> Row:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[who], "value": text} for who, text in chat]}


def as_turns(chat: Chat) -> Row:
    names = {"user": "Customer", "assistant": "AGENT", "system": "System"}
    return {"id": "c", "turns": [{"role": names[who], "content": text} for who, text in chat]}


def as_pairs(chat: Chat) -> Row:
    return {"original": [[who, text] for who, text in chat], "flow": None}


def as_parts(chat: Chat) -> Row:
    parts = [{"role": who, "content": [{"type": "text", "text": text}]} for who, text in chat]
    return {"messages": parts}


def write_jsonl(rows: Iterable[Row], folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_gzip(rows: Iterable[Row], folder: Path) -> Path:
    path = folder / "rows.jsonl.gz"
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    return path


def write_array(rows: Iterable[Row], folder: Path) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps(list(rows), indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def write_parquet(rows: Iterable[Row], folder: Path) -> Path:
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def write_csv(rows: Iterable[Row], folder: Path) -> Path:
    path = folder / "rows.csv"
    cells = [{name: json.dumps(value) for name, value in row.items()} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, cells[0])
        writer.writeheader()
        writer.writerows(cells)
    return path


LAYOUTS = [as_messages, as_conversations, as_turns, as_pairs, as_parts]
FORMATS = [write_jsonl, write_gzip, write_array, write_parquet, write_csv]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(chats(), min_size=1, max_size=4), st.sampled_from(LAYOUTS), st.sampled_from(FORMATS)
)
def test_well_formed_dialogues_read_back_equal_in_every_layout_and_format(
    dialogues: list[Chat],
    layout: Callable[[Chat], Row],
    write: Callable[[Iterable[Row], Path], Path],
) -> None:
    report = IntakeReport()
    with tempfile.TemporaryDirectory() as folder:
        path = write([layout(chat) for chat in dialogues], Path(folder))
        examples = list(read_examples(path, report=report))
    assert [[(m.speaker.value, m.content) for m in e.messages] for e in examples] == dialogues
    assert report.num_rows == report.num_examples == len(dialogues)
    assert not report.repairs and not report.rejected


@settings(max_examples=40, deadline=None)
@given(words, words, st.sampled_from(FORMATS[:4]))
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("instruction", "output"),
        ("instruction", "response"),
        ("inputs", "targets"),
        ("input", "output"),
        ("prompt", "completion"),
        ("question", "answer"),
    ],
)
def test_instructions_read_back_equal(
    prompt: str,
    answer: str,
    question: str,
    reply: str,
    write: Callable[[Iterable[Row], Path], Path],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        examples = list(read_examples(write([{prompt: question, answer: reply}], Path(folder))))
    assert [example.messages for example in examples] == [
        (
            Message(speaker=Speaker.USER, content=question),
            Message(speaker=Speaker.ASSISTANT, content=reply),
        )
    ]


def test_context_goes_under_the_instruction_and_the_system_column_before_it(
    written: Written, contents: Contents
) -> None:
    row = {"instruction": "Add.", "input": "1 and 2", "output": 3, "system": "Be exact."}
    blank = {"instruction": "Say hello.", "context": " ", "response": "Hello."}
    path = written("a.jsonl", json.dumps(row) + "\n" + json.dumps(blank))
    assert contents(path) == [
        [("system", "Be exact."), ("user", "Add.\n\n1 and 2"), ("assistant", "3")],
        [("user", "Say hello."), ("assistant", "Hello.")],
    ]


def test_each_instance_of_an_instruction_is_an_example_of_the_same_row(
    written: Written, contents: Contents
) -> None:
    instances = [{"input": "a", "output": "b"}, {"input": "", "output": "d"}]
    path = written("a.jsonl", json.dumps({"instruction": "Next?", "instances": instances}))
    assert contents(path) == [
        [("user", "Next?\n\na"), ("assistant", "b")],
        [("user", "Next?"), ("assistant", "d")],
    ]
    assert {e.pointer for e in read_examples(path)} == {Pointer(file="a.jsonl", row=1)}


def test_prompt_and_completion_may_be_lists_of_messages(
    written: Written, contents: Contents
) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "Hello"}],
    }
    assert contents(written("a.jsonl", json.dumps(row))) == [
        [("user", "Hi"), ("assistant", "Hello")]
    ]


def test_text_column_is_a_plain_document(written: Written, contents: Contents) -> None:
    path = written("a.jsonl", '{"text": "One."}\n\n{"text": "Two."}\n')
    assert contents(path) == [[("text", "One.")], [("text", "Two.")]]


def test_rows_of_one_file_may_differ_in_layout(written: Written, contents: Contents) -> None:
    path = written("a.jsonl", '{"text": "One."}\n{"prompt": "p", "completion": "c"}')
    assert contents(path) == [[("text", "One.")], [("user", "p"), ("assistant", "c")]]


def test_mapping_names_columns_keys_speakers_subject_and_identifiers(written: Written) -> None:
    mapping = ColumnMapping(
        dialogue="log.lines",
        speaker="by",
        content="said",
        speakers={"Desk": "assistant"},
        drop_speakers=("bell",),
        subject="who.id",
        identifiers=("who", "ticket"),
    )
    lines = [
        {"by": "USER", "said": "hi"},
        {"by": "Bell", "said": "ring"},
        {"by": "desk", "said": "yes?"},
    ]
    row = {"log": {"lines": lines}, "who": {"id": 12, "names": ["Ann", "Ann", ""]}, "ticket": None}
    (example,) = read_examples(written("a.jsonl", json.dumps(row)), mapping)
    assert [message.content for message in example.messages] == ["hi", "yes?"]
    assert example.subject == "12"
    assert example.known_values == ("12", "Ann")


def test_identifying_column_that_no_row_has_is_an_error(written: Written) -> None:
    path = written("a.jsonl", '{"text": "One."}')
    with pytest.raises(RecollectError, match="e-mail") as caught:
        list(read_examples(path, ColumnMapping(identifiers=("e-mail",))))
    assert caught.value.reason == Reason.INPUT_UNKNOWN_FORMAT


def test_identifying_column_that_some_rows_lack_is_counted(written: Written) -> None:
    report = IntakeReport()
    path = written("a.jsonl", '{"text": "One."}\n{"text": "Two.", "name": "Ann"}')
    examples = list(read_examples(path, ColumnMapping(identifiers=("name",)), report=report))
    assert [example.known_values for example in examples] == [(), ("Ann",)]
    assert report.absent == {"name": 1}


def test_no_example_leaves_before_a_misspelt_column_is_told(written: Written) -> None:
    rows = ['{"text": "One."}'] * (FIRST_ROWS + 5)
    path = written("a.jsonl", "\n".join([*rows, '{"text": "Two.", "name": "Ann"}']))
    report = IntakeReport()
    with pytest.raises(RecollectError) as caught:
        next(read_examples(path, ColumnMapping(identifiers=("name",)), report=report))
    assert caught.value.reason is Reason.INPUT_UNKNOWN_FORMAT
    assert "none of the first 1,000 rows" in caught.value.message
    assert report.num_rows == FIRST_ROWS


def test_layout_named_in_the_mapping_wins_over_the_one_detected(
    written: Written, contents: Contents
) -> None:
    row = {"messages": [["user", "a"], ["assistant", "b"]], "text": "whole"}
    path = written("a.jsonl", json.dumps(row))
    assert contents(path) == [[("user", "a"), ("assistant", "b")]]
    assert contents(path, ColumnMapping.from_dict({"layout": "text"})) == [[("text", "whole")]]


def test_unknown_columns_are_listed_without_any_value(written: Written) -> None:
    path = written("a.jsonl", '{"label": "Crystal", "score": "4711", "Crystal Minh, 4711": 1}')
    with pytest.raises(RecollectError) as caught:
        list(read_examples(path))
    assert caught.value.reason == Reason.INPUT_UNKNOWN_FORMAT
    assert "label, score, (a name of 18 characters)" in str(caught.value)
    assert "Crystal" not in str(caught.value) and "4711" not in str(caught.value)


def test_missing_file_folder_and_unknown_suffix_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"x")
    (tmp_path / "b.parquet.gz").write_bytes(b"x")
    cases = {
        "none.jsonl": (Reason.INPUT_NOT_FOUND, "no such file"),
        "": (Reason.INPUT_NOT_FOUND, "folder"),
        "a.docx": (Reason.INPUT_UNKNOWN_FORMAT, ".jsonl"),
        "b.parquet.gz": (Reason.INPUT_UNKNOWN_FORMAT, ".parquet"),
    }
    for name, (reason, message) in cases.items():
        with pytest.raises(RecollectError, match=message) as caught:
            list(read_examples(tmp_path / name))
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("a.jsonl", b"\n \n"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)),
        ("a.json", b" [ \n ] \n"),
        ("a.csv", b""),
        ("a.csv", b"prompt,completion\r\n"),
        ("a.txt", b"\n\n"),
    ],
)
def test_input_without_rows_is_an_error(written: Written, name: str, content: bytes) -> None:
    with pytest.raises(RecollectError) as caught:
        list(read_examples(written(name, content)))
    assert caught.value.reason == Reason.INPUT_EMPTY


def test_input_of_which_no_row_is_usable_is_an_error_and_reported(written: Written) -> None:
    report = IntakeReport()
    path = written("a.jsonl", '{"messages": [{"role": "user", "content": "Anyone?"}]}')
    with pytest.raises(RecollectError, match="none of the 1 rows") as caught:
        list(read_examples(path, report=report))
    assert caught.value.reason == Reason.INPUT_EMPTY
    assert report.rejected[Unusable.NO_ASSISTANT].first == [Pointer(file="a.jsonl", row=1)]


def test_bad_rows_stop_the_reading_or_are_counted_with_their_first_places(
    written: Written,
) -> None:
    rows = ['{"text": "a"}'] + ["{"] * 7 + ["[]", '{"text": "b"}', '{"other": 1}', '{"text": [1]}']
    path = written("a.jsonl", "\n".join(rows))
    stopped = read_examples(path)
    assert next(stopped).messages[0].content == "a"
    with pytest.raises(RecollectError, match=r"a\.jsonl:2:2: Expecting property name"):
        next(stopped)
    report = IntakeReport()
    assert len(list(read_examples(path, report=report, on_bad_row="skip"))) == 2
    malformed = report.rejected[Reason.INPUT_MALFORMED]
    assert malformed.num_rows == 9
    assert [pointer.row for pointer in malformed.first] == [2, 3, 4, 5, 6]
    assert report.rejected[Reason.INPUT_UNKNOWN_FORMAT].num_rows == 1
    assert report.num_rejected == 10 and report.num_rows == 12 and report.num_examples == 2
