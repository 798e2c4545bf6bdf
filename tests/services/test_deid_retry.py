"""What a user of `recollect deid apply` gets wrong: names of fields, the key, rows to try again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.cli import app
from recollect.services.deid_fields import FIRST_ROWS
from recollect.services.deid_files import apply_rows
from recollect.services.deid_pool import RowPool
from recollect.services.deid_quarantine import read_quarantine, retry_rows
from recollect.services.deid_rows import RowOptions
from recollect.services.privacy.policy import load_policy

KEY = bytes(range(32))
NAMED = "Rosalind Achterberg"


def options(**changes: Any) -> RowOptions:
    values: dict[str, Any] = {"policy": load_policy("gdpr-pseudonymous"), "key": KEY}
    return RowOptions(**(values | changes))


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def recollect(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> RecollectError:
    error = recollect(*arguments).exception
    assert isinstance(error, RecollectError)
    assert NAMED not in str(error)
    return error


ROW = {"text": f"I am {NAMED}", "customer": "zarquon", "lang": "en"}


@pytest.mark.parametrize("option", ["--identifier", "--subject", "--field", "--keep"])
def test_a_field_that_no_row_has_is_refused_before_anything_is_written(
    tmp_path: Path, option: str
) -> None:
    source = write(tmp_path / "in.jsonl", ROW, "{no JSON\n", ROW)
    error = refused("deid", "apply", source, tmp_path / "out.jsonl", option, "custmer")
    assert (error.reason, error.where) == (Reason.INPUT_UNKNOWN_FORMAT, option)
    assert "custmer" in error.message and "customer" in error.message
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_without_text_is_refused_and_one_without_rows_is_not(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"body": NAMED})
    assert refused("deid", "apply", source, tmp_path / "out.jsonl").where == "--field"
    apply_rows(write(tmp_path / "bad.jsonl", "{\n"), tmp_path / "out.jsonl", options())
    assert len(read_quarantine(tmp_path / "out.jsonl.quarantine.jsonl")) == 1


def test_only_the_first_rows_are_looked_at(tmp_path: Path) -> None:
    rows = [{"text": ""}] * FIRST_ROWS
    late = write(tmp_path / "late.jsonl", *rows, {"text": "", "who": "x"})
    soon = write(tmp_path / "soon.jsonl", *rows[1:], {"text": "", "who": "x"})
    with pytest.raises(RecollectError):
        apply_rows(late, tmp_path / "out.jsonl", options(identifiers=("who",)))
    done = apply_rows(soon, tmp_path / "out.jsonl", options(identifiers=("who",)))
    assert done.absent == {"who": FIRST_ROWS - 1}


def test_rows_that_lack_a_field_are_counted_and_told(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROW, {"text": "fine"}, "{\n")
    command = ("deid", "apply", source, tmp_path / "out.jsonl", "--identifier", "customer")
    shown = recollect(*command, "--key-file", tmp_path / "k").stdout
    assert "1 row without the field customer" in shown
    assert "quarantined 1 row: INPUT_MALFORMED" in shown
    told = json.loads(recollect(*command, "--key-file", tmp_path / "k", "--json").stdout)
    assert told["absent"] == {"customer": 1}


def test_a_result_of_another_key_is_not_replaced_unless_asked_for(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", ROW), tmp_path / "out.jsonl"
    command = ("deid", "apply", source, out)
    assert recollect(*command).exit_code == 0
    first = out.read_bytes()
    for key in ((), ("--key-file", tmp_path / "k")):
        error = refused(*command, *key)
        assert (error.reason, error.where) == (Reason.CONFIG_INVALID, str(out))
    assert out.read_bytes() == first
    assert recollect(*command, "--key-file", tmp_path / "k", "--overwrite").exit_code == 0
    second = out.read_bytes()
    assert second != first
    assert recollect(*command, "--key-file", tmp_path / "k").exit_code == 0
    assert out.read_bytes() == second
    # What is no result at all is nobody's to replace.
    out.write_text("my notes\n")
    assert refused(*command, "--key-file", tmp_path / "k").reason is Reason.CONFIG_INVALID


def test_rows_are_tried_again_and_put_into_their_place(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = [{"id": n, "text": f"I am {NAMED}, row {n}"} for n in range(8)]
    bad: list[Any] = list(good)
    bad[0], bad[3], bad[7] = (
        "{\n",
        {"id": 3, "body": "x"},
        "\udcff\n".encode("utf-8", "surrogateescape").decode("latin-1"),
    )
    bad.insert(5, "\n")
    write(source, *bad)
    apply_rows(source, out, options())
    before = read(out)
    listing = out.with_name("out.jsonl.quarantine.jsonl")
    assert [entry["row"] for entry in read_quarantine(listing)] == [1, 4, 9]
    # Two were mended; another row was changed too, which nobody asked to read again.
    mended: list[Any] = [*good[:3], *good[3:5], "\n", good[5], {"id": 6, "text": "new"}, "{\n"]
    write(source, *mended)
    again = retry_rows(source, out, RowPool(options(), 1))
    assert (again.num_listed, again.num_released) == (3, 2)
    assert again.quarantined == {"INPUT_MALFORMED": 1}
    rows = read(out)
    assert [row["id"] for row in rows] == list(range(7))
    assert [rows[n] for n in (1, 2, 4, 5, 6)] == before
    assert [entry["row"] for entry in read_quarantine(listing)] == [9]
    # All mended: what comes out is what the whole file would have come to.
    write(source, *good[:5], "\n", *good[5:])
    assert retry_rows(source, out, RowPool(options(), 2)).num_released == 1
    apply_rows(source, tmp_path / "whole.jsonl", options())
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "whole.jsonl"]
    with pytest.raises(RecollectError) as caught:
        retry_rows(source, out, RowPool(options(), 1))
    assert caught.value.reason is Reason.INPUT_NOT_FOUND


@pytest.mark.parametrize(
    "changes", [{"key": bytes(32)}, {"identifiers": ("customer",)}, {"spans": True}]
)
def test_rows_are_not_tried_again_under_another_key_or_with_other_fields(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    source, out = write(tmp_path / "in.jsonl", ROW, "{\n"), tmp_path / "out.jsonl"
    apply_rows(source, out, options())
    with pytest.raises(RecollectError) as caught:
        retry_rows(source, out, RowPool(options(**changes), 1))
    assert caught.value.reason is Reason.CONFIG_INVALID


@pytest.mark.parametrize("rows", [[ROW], [ROW, ROW, ROW], [ROW, "{\n", ROW], []])
def test_an_input_with_other_rows_is_refused_and_nothing_changes(
    tmp_path: Path, rows: list[Any]
) -> None:
    source, out = write(tmp_path / "in.jsonl", ROW, "{\n"), tmp_path / "out.jsonl"
    apply_rows(source, out, options())
    before = {p.name: p.read_bytes() for p in tmp_path.glob("out*")}
    write(source, *rows)
    with pytest.raises(RecollectError) as caught:
        retry_rows(source, out, RowPool(options(), 1))
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert {p.name: p.read_bytes() for p in tmp_path.glob("out*")} == before


def test_a_list_of_rows_is_shown_and_tried_from_the_command_line(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", ROW, "{\n"), tmp_path / "out.jsonl"
    command = ("deid", "apply", source, out, "--key-file", tmp_path / "k")
    recollect(*command)
    listing = f"{out}.quarantine.jsonl"
    shown = recollect("quarantine", "list", listing)
    assert "1 row in quarantine" in shown.stdout and "INPUT_MALFORMED" in shown.stdout
    told = json.loads(recollect("quarantine", "list", listing, "--json").stdout)
    assert told["rows"] == [
        {"row": 2, "reason": "INPUT_MALFORMED", "where": "", "message": "the row is no JSON"}
    ]
    assert refused("quarantine", "list", source).reason is Reason.INPUT_MALFORMED
    assert refused("quarantine", "list", "none.jsonl").reason is Reason.INPUT_NOT_FOUND
    write(source, ROW, ROW)
    assert "1 of 1 row in quarantine" in recollect(*command, "--retry").stdout
    assert len(read(out)) == 2


def test_no_row_is_tried_alone_where_subjects_are_counted(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", ROW), tmp_path / "out.jsonl"
    counted = ("--policy", "conversations", "--subject", "customer", "--k", "5", "--retry")
    error = refused("deid", "apply", source, target, "--key-file", tmp_path / "k.key", *counted)
    assert (error.reason, error.where) == (Reason.CONFIG_INVALID, "--retry")
    assert not target.exists()
