"""Files of rows in which k subjects are alike: what is told less exactly, what is held."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.cli import app
from recollect.services.deid_dataset import DatasetDeidentifier
from recollect.services.deid_files import Applied, apply_rows
from recollect.services.deid_rows import RowOptions
from recollect.services.file_anonymity import file_anonymity
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import Policy, load_policy

KEY = bytes(range(32))
TOWNS = ("Leeds", "Warsaw")
TRADES = ("teacher", "plumber", "nurse")
pytestmark = pytest.mark.slow


def row(number: int, subject: str | None, text: str) -> dict[str, Any]:
    return {"id": number, "customer": subject, "text": text}


def people() -> list[dict[str, Any]]:
    """Twelve in Leeds who are alike, one in Warsaw, and rows that tell nothing or of nobody."""
    rows = []
    for one in range(12):
        text = f"I am {30 + one % 3} years old and I live in Leeds since 2019."
        rows += [row(2 * one, f"c{one}", text), row(2 * one + 1, f"c{one}", "Thank you.")]
    rows += [row(90 + n, "alone", "I am 71 years old and I live in Warsaw.") for n in range(7)]
    rows += [row(100, None, "I am 45 years old and I live in Sofia."), row(101, None, "Hello.")]
    return rows


def policy(**changes: Any) -> Policy:
    rule = {"k": 3} | changes
    values = load_policy("conversations").model_dump(exclude_none=True)
    return Policy.from_mapping({**values, "name": "k", "k_anonymity": rule})


def options(**changes: Any) -> RowOptions:
    values: dict[str, Any] = {"policy": policy(), "key": KEY, "subject": "customer"}
    return RowOptions(**(values | changes))


def applied(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> tuple[Applied, Any, Any]:
    """What was done, the rows that came out by id, and the numbers of those that did not."""
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    done = apply_rows(source, target, options(**changes))
    out = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    listed = folder / "out.jsonl.quarantine.jsonl"
    lost = [json.loads(x) for x in listed.read_text().splitlines()] if listed.exists() else []
    assert sorted(p.name for p in folder.iterdir() if p.suffix == ".part") == []
    return done, {one["id"]: one for one in out}, {one["row"]: one["reason"] for one in lost}


def test_who_is_alike_to_enough_stays_and_others_are_generalised_or_held(tmp_path: Path) -> None:
    done, out, lost = applied(tmp_path, people())
    # Four each of 30, 31 and 32 years: nothing has to change for them.
    assert out[0]["text"] == "I am 30 years old and I live in Leeds since 2019."
    # Seven rows of one person are one person, who is alone even where nothing is told of anybody.
    held = {number for number, reason in lost.items() if reason == "BELOW_K"}
    assert held == {25, 26, 27, 28, 29, 30, 31, 32}
    assert out[101]["text"] == "Hello."
    assert done.num_written == len(out) == 25
    assert done.quarantined == {"BELOW_K": 8}
    assert done.anonymity is not None
    assert (done.anonymity["num_subjects"], done.anonymity["num_subjects_held"]) == (13, 1)
    assert done.anonymity["levels"]["age"] == {"exact": 12}


def test_what_is_left_is_told_less_exactly_in_text_spans_and_counts(tmp_path: Path) -> None:
    done, out, lost = applied(tmp_path, people(), policy=policy(k=5), spans=True)
    text = out[0]["text"]
    assert text == "I am 30-34 and I live in Leeds since 2019."
    (span,) = out[0]["spans"]
    before = people()[0]["text"]
    assert before[span["start"] : span["end"]] == "30 years old"
    assert (span["class"], span["surrogate"]) == ("AGE", "30-34")
    assert out[0]["findings"] == {"AGE": 1}
    assert done.findings["AGE"] == 12
    assert done.anonymity is not None and done.anonymity["levels"]["age"] == {"5 years": 12}
    assert "71" not in json.dumps(done.anonymity) and len(lost) == 8


def test_hold_generalises_nothing(tmp_path: Path) -> None:
    done, out, _ = applied(tmp_path, people(), policy=policy(k=5, below="hold"))
    assert list(out) == [101]
    assert done.anonymity is not None and done.anonymity["num_rows_generalised"] == 0


def test_only_named_attributes_count(tmp_path: Path) -> None:
    _, out, _ = applied(tmp_path, people(), policy=policy(k=5, attributes=["place"]))
    assert out[0]["text"] == people()[0]["text"]


def test_a_band_of_the_policy_is_taken_up_and_its_span_says_no_more(tmp_path: Path) -> None:
    values = load_policy("hipaa-safe-harbor").model_dump(exclude_none=True)
    chosen = Policy.from_mapping({**values, "k_anonymity": {"k": 13, "attributes": ["age"]}})
    rows = people()[:24]
    rows.append(row(50, "c50", "I am 71 years old and I live in Leeds since 2019."))
    rows += [row(60 + n, f"quiet{n}", "Thank you.") for n in range(12)]
    _, out, lost = applied(tmp_path, rows, policy=chosen, spans=True)
    assert not lost
    assert "71" not in json.dumps(out[50]["text"]) and "70-79" not in json.dumps(out[50])
    assert {s["surrogate"] for s in out[50]["spans"] if s["class"] == "AGE"} == {"[AGE]"}
    assert out[50]["findings"]["AGE"] == 1


def test_every_number_of_workers_and_every_run_gives_the_same(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in people()), encoding="utf-8")
    written = []
    for number, workers in enumerate((1, 2)):
        target = tmp_path / f"out{number}.jsonl"
        apply_rows(source, target, options(policy=policy(k=5)), workers=workers)
        written.append(target.read_bytes())
    assert written[0] == written[1]


def test_a_second_look_at_the_file_finds_everybody_among_k(tmp_path: Path) -> None:
    _, out, _ = applied(tmp_path, mixed(), policy=policy(k=5), spans=True)
    found = file_anonymity(tmp_path / "out.jsonl", KEY, ("text",), 5)
    assert (found.num_subjects, found.num_below) == (36, 0)
    told = defaultdict(set)
    for one in out.values():
        told[one["text"]].add(one["id"])
    assert all(len(ids) >= 5 for ids in told.values())
    with pytest.raises(RecollectError, match="cannot be opened") as refused:
        file_anonymity(tmp_path / "out.jsonl", bytes(32), ("text",), 5)
    assert refused.value.reason is Reason.INPUT_MALFORMED
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "out.jsonl").write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    assert file_anonymity(tmp_path / "out.jsonl", KEY, ("text",), 5).num_below == 3


def mixed() -> list[dict[str, Any]]:
    rows = []
    for n in range(36):
        text = f"I am {20 + n} years old, I live in {TOWNS[n % 2]} and work as a {TRADES[n % 3]}."
        rows.append(row(n, f"c{n}", text))
    return rows


def test_drafts_are_unreadable_and_a_crash_in_the_second_pass_costs_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in people()), encoding="utf-8")
    with monkeypatch.context() as patched:
        from recollect.services import deid_second_pass

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(deid_second_pass, "recoded", dies)
        with pytest.raises(KeyboardInterrupt):
            apply_rows(source, target, options())
    assert not target.exists()
    left = b"".join(p.read_bytes() for p in tmp_path.iterdir() if p != source)
    assert left and not any(word in left for word in (b"Leeds", b"years old", b"Warsaw", b"alone"))
    read_again: list[int] = []
    done = apply_rows(source, target, options(), tell=lambda so_far: read_again.append(1))
    assert not read_again and done.num_written == 25


def test_whoever_cannot_count_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as refused:
        applied(tmp_path, people(), subject=None)
    assert (refused.value.reason, refused.value.where) == (Reason.CONFIG_INVALID, "--subject")
    with pytest.raises(RecollectError) as alone:
        Deidentifier(policy(), KEY)
    assert alone.value.reason is Reason.POLICY_INVALID
    with pytest.raises(RecollectError):
        DatasetDeidentifier(options())({"text": ["Hello."], "customer": ["a"]})


def test_the_command_line_enforces_and_audits(tmp_path: Path) -> None:
    source, target, key = (str(tmp_path / n) for n in ("in.jsonl", "out.jsonl", "k.key"))
    Path(source).write_text("".join(json.dumps(one) + "\n" for one in people()), encoding="utf-8")
    made = ("deid", "apply", source, target, "--policy", "conversations", "--key-file", key)
    shown = invoke(*made, "--subject", "customer", "--k", "5", "--json")
    assert shown.exit_code == 0, shown.output
    counts = json.loads(shown.stdout)["anonymity"]
    assert (counts["k"], counts["num_rows_held"]) == (5, 8)
    audited = invoke("deid", "audit", target, "--k", "5", "--key-file", key)
    # Lines end where the terminal does.
    told = " ".join(audited.stdout.split())
    assert audited.exit_code == 0 and "0 subjects are among fewer than 5" in told
    assert invoke("deid", "audit", target, "--k", "13", "--key-file", key).exit_code == 1
    missing = invoke("deid", "audit", target, "--k", "5").exception
    assert isinstance(missing, RecollectError) and missing.where == "--key-file"
    remote = invoke(*made[:6], "--server", "unix:none", "--k", "5").exception
    assert isinstance(remote, RecollectError) and remote.where == "--k"


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))
