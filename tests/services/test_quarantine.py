"""The quarantine over the wire: listed whole, tried again, given up; and its text nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services import tally
from recollect.services.client import connect
from recollect.services.intake import ColumnMapping
from recollect.services.privacy import scan_bytes
from recollect.v1 import store_pb2 as wire

from .conftest import Service, run_command
from .house import TOO_LONG, House

NAMED = "Rosalind Wintermoor"
DIGEST = "mapping_digest"


def row(number: int, content: str, file: str = "chats.jsonl") -> wire.RawExample:
    return wire.RawExample(
        messages=[wire.Message(speaker="user", content=content)],
        pointer=wire.Pointer(file=file, row=number),
    )


def requests(rows: Sequence[wire.RawExample], *, retry: bool) -> Iterator[wire.IngestRequest]:
    yield wire.IngestRequest(header=wire.IngestHeader(source="chats", retry=retry))
    for first in range(0, len(rows), 50):
        group = wire.RawExamples(examples=rows[first : first + 50])
        yield wire.IngestRequest(examples=group)


class Talk:
    """Calls of one house, each over the wire."""

    def __init__(self, house: House) -> None:
        self._house = house

    def call(self, ask: Any) -> Any:
        async def work() -> Any:
            async with self._house.serving():
                return await asyncio.to_thread(connected)

        def connected() -> Any:
            with connect(self._house.address) as client:
                return ask(client.store)

        return asyncio.run(work())

    def ingest(self, *rows: wire.RawExample, retry: bool = False) -> wire.IngestResponse:
        *_, last = self.call(lambda store: list(store.Ingest(requests(rows, retry=retry))))
        assert isinstance(last, wire.IngestResponse)
        return last

    def quarantine(self, file: str = "") -> tuple[list[tuple[str, int]], int]:
        request = wire.ListQuarantineRequest(source="chats", file=file)
        answers = self.call(lambda store: list(store.ListQuarantine(request)))
        rows = [(r.pointer.file, r.pointer.row) for a in answers for r in a.rows]
        return rows, answers[0].num_unlisted if answers else 0

    def drop(self, why: str = "not text", **asked: Any) -> wire.DropQuarantineResponse:
        request = wire.DropQuarantineRequest(source="chats", why=why, **asked)
        answer = self.call(lambda store: store.DropQuarantine(request))
        assert isinstance(answer, wire.DropQuarantineResponse)
        return answer


@pytest.fixture
def talk(house: House) -> Talk:
    return Talk(house)


def long(number: int, file: str = "chats.jsonl") -> wire.RawExample:
    return row(number, "x" * (TOO_LONG + number), file)


def test_a_row_that_is_accepted_when_it_is_tried_again_leaves(house: House, talk: Talk) -> None:
    assert talk.ingest(row(1, "how are you"), long(2), long(3)).num_quarantined == 2
    # Row 2 was shortened, row 3 is as it was, row 4 never was in quarantine.
    last = talk.ingest(row(2, "short now"), long(3), row(4, "fine"), retry=True)
    assert (last.num_released, last.num_stored, last.num_quarantined) == (1, 2, 1)
    assert talk.quarantine() == ([("chats.jsonl", 3)], 0)
    (entry,) = house.entries("quarantine_released")
    assert entry["rows"] == [{"file": "chats.jsonl", "rows": [2]}]
    finished = [e for e in house.ledger.entries() if e.kind == "ingest_finished"]
    assert entry["ingest"] == finished[1].sequence
    # What was stored already is accepted too: it is no duplicate of something in quarantine.
    assert talk.ingest(row(3, "short now"), retry=True).num_released == 1
    assert talk.quarantine() == ([], 0)
    assert house.store.sources()[0].num_quarantined == 0


def test_a_file_is_known_by_its_stored_name_as_well(house: House, talk: Talk) -> None:
    name = f"Complaint of {NAMED}.jsonl"
    talk.ingest(long(1, name), long(2, name))
    (stored,) = {file for file, _ in talk.quarantine()[0]}
    # What another policy would make of the name is another: the stored one still says which it is.
    assert house.deidentifier.clean_name(stored) != stored
    assert talk.ingest(row(1, "short now", stored), retry=True).num_released == 1
    assert talk.ingest(row(2, "short too", name), retry=True).num_released == 1
    snapshot = house.store.snapshot()
    examples = house.store.examples(snapshot, "chats")
    assert {example.pointer.file for example in examples} == {stored}
    assert talk.quarantine() == ([], 0)


def test_only_a_retry_takes_rows_out(talk: Talk) -> None:
    talk.ingest(long(2))
    # Another file of this name, perhaps: nobody said that it is the same.
    assert talk.ingest(row(2, "another row 2")).num_released == 0
    assert talk.quarantine() == ([("chats.jsonl", 2)], 0)


def test_a_row_of_several_examples_stays_until_all_of_them_are_accepted(talk: Talk) -> None:
    talk.ingest(row(2, "one half"), long(2))
    assert talk.ingest(row(2, "one half"), long(2), retry=True).num_released == 0
    assert talk.quarantine() == ([("chats.jsonl", 2)], 0)
    assert talk.ingest(row(2, "one half"), row(2, "and another"), retry=True).num_released == 1


def test_more_rows_than_an_entry_points_to_are_told_in_further_ones(
    house: House, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MAX_POINTERS", 40)
    monkeypatch.setattr(tally, "MAX_LISTED", 100)
    numbers = list(range(1, 131))
    talk.ingest(*map(long, numbers))
    assert [len(entry["rows"]) for entry in house.entries("rows_quarantined")] == [40, 20]
    rows, num_unlisted = talk.quarantine()
    assert [number for _, number in rows] == numbers[:100]
    assert num_unlisted == 30
    assert house.store.sources()[0].num_quarantined == 130
    short = [row(number, f"step {number}") for number in numbers[:90]]
    assert talk.ingest(*short, retry=True).num_released == 90
    assert [entry["num_rows"] for entry in house.entries("quarantine_released")] == [40, 40, 10]
    assert [number for _, number in talk.quarantine()[0]] == numbers[90:100]
    dropped = talk.drop()
    assert (dropped.num_rows, dropped.num_unlisted) == (10, 30)
    assert talk.quarantine() == ([], 0)


def test_rows_are_given_up_by_file_and_row_and_the_ledger_says_why(
    house: House, talk: Talk
) -> None:
    name = f"Complaint of {NAMED}.jsonl"
    talk.ingest(long(1), long(2), long(1, name), long(2, name), long(3, name))
    (stored,) = {file for file, _ in talk.quarantine()[0]} - {"chats.jsonl"}
    assert NAMED not in stored
    assert talk.drop(file=name, row=2, why=f"{NAMED} asked us to").num_rows == 1
    # As a list shows it, it is known as well.
    assert talk.drop(file=stored, row=3).num_rows == 1
    assert talk.quarantine(name) == ([(stored, 1)], 0)
    assert talk.drop(file="chats.jsonl").num_rows == 2
    assert talk.quarantine() == ([(stored, 1)], 0)
    entries = house.entries("quarantine_dropped")
    assert [(e["file"], e["row"], e["num_rows"]) for e in entries] == [
        (stored, 2, 1),
        (stored, 3, 1),
        ("chats.jsonl", None, 2),
    ]
    assert entries[0]["why"].endswith(" asked us to")
    assert scan_bytes(house.store.folder, [NAMED, *NAMED.split()]) == []


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"row": 1}, Reason.INPUT_MALFORMED),
        ({"why": "  "}, Reason.INPUT_MALFORMED),
        ({"why": "w" * 501}, Reason.INPUT_MALFORMED),
        ({"file": "other.jsonl"}, Reason.INPUT_NOT_FOUND),
        ({"file": "chats.jsonl", "row": 9}, Reason.INPUT_NOT_FOUND),
    ],
)
def test_giving_up_what_is_not_there_or_without_a_reason_is_refused(
    house: House, talk: Talk, asked: dict[str, Any], reason: Reason
) -> None:
    talk.ingest(long(1))
    with pytest.raises(RecollectError) as caught:
        talk.drop(**asked)
    assert caught.value.reason is reason
    assert house.entries("quarantine_dropped") == []
    assert talk.quarantine() == ([("chats.jsonl", 1)], 0)


def test_the_ledger_keeps_the_digest_of_a_mapping_and_nothing_else_of_it(
    house: House, talk: Talk
) -> None:
    def ask(store: Any, mapping_digest: str | None = None) -> None:
        header = wire.IngestHeader(source="chats", mapping_digest=mapping_digest)
        file = "none" if mapping_digest is None else f"{len(mapping_digest)}"
        group = wire.RawExamples(examples=[long(len(file), file)])
        parts = [wire.IngestRequest(header=header), wire.IngestRequest(examples=group)]
        list(store.Ingest(iter(parts)))

    def listed(store: Any) -> dict[str, str | None]:
        answers = store.ListQuarantine(wire.ListQuarantineRequest(source="chats"))
        rows = [row for answer in answers for row in answer.rows]
        return {
            row.pointer.file: row.mapping_digest if row.HasField(DIGEST) else None for row in rows
        }

    digest = ColumnMapping(identifiers=("email",)).digest
    talk.call(ask)  # As a client that knows nothing of it.
    talk.call(lambda store: ask(store, mapping_digest=""))
    talk.call(lambda store: ask(store, mapping_digest=digest))
    assert talk.call(listed) == {"none": None, "0": "", "64": digest}
    entries = house.entries("ingest_finished")
    assert [entry.get(DIGEST) for entry in entries] == [None, "", digest]
    with pytest.raises(RecollectError) as caught:
        talk.call(lambda store: ask(store, mapping_digest=NAMED))
    assert caught.value.reason is Reason.INPUT_MALFORMED


def test_a_mapping_that_says_nothing_has_no_digest() -> None:
    one = ColumnMapping(identifiers=("email",))
    assert ColumnMapping().digest == ColumnMapping.from_yaml("version: 1").digest == ""
    assert one.digest == ColumnMapping.from_yaml("identifiers: [email]").digest
    assert one.digest != ColumnMapping(identifiers=("name",)).digest


@pytest.mark.slow
def test_rows_are_not_tried_again_without_their_mapping(tmp_path: Path) -> None:
    chats = [{"prompt": "hello", "completion": "hi", "nick": "zarquon"} for _ in range(3)]
    chats[1]["prompt"] = "where is zarquon " * 200
    file, mapping = tmp_path / "chats.jsonl", tmp_path / "mapping.yaml"
    file.write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    mapping.write_text("identifiers: [nick]", encoding="utf-8")
    with Service(tmp_path / "data", more=["privacy.max_characters=2000"]) as service:

        def run(*command: object) -> Any:
            return run_command(*command, "--server", service.address, "--json")

        assert run("ingest", file, "--source", "late", "--mapping", mapping).returncode == 0
        chats[1]["prompt"] = "where is zarquon"
        file.write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
        retry = ("quarantine", "retry", file, "--source", "late")
        refused = run(*retry)
        error = json.loads(refused.stderr)["error"]
        assert (refused.returncode, error["reason"]) == (78, "CONFIG_INVALID")
        assert error["where"] == "--mapping"
        assert json.loads(run(*retry, "--mapping", mapping).stdout)["num_released"] == 1
    assert scan_bytes(tmp_path / "data", ["zarquon"]) == []


@pytest.mark.slow
def test_larger_limits_let_rows_in_that_were_kept_out(tmp_path: Path) -> None:
    text = f"This is {NAMED} of rosalind.wintermoor@mail.example.com. "
    chats = [[f"Parcel {n} is late", "I am sorry."] for n in range(4)]
    chats[1][0] += text * 40
    chats[3][0] += text * 4_000
    name = f"Complaints of {NAMED}.jsonl"
    file = tmp_path / name
    rows = [json.dumps({"prompt": ask, "completion": reply}) for ask, reply in chats]
    file.write_text("\n".join([*rows, "{no JSON"]), encoding="utf-8")
    data = tmp_path / "data"

    def told(*command: object, code: int = 0) -> Any:
        result = run_command(*command, "--server", service.address, "--json")
        assert result.returncode == code, result.stderr
        if command[0] == "quarantine":
            assert NAMED not in result.stdout + result.stderr
        return json.loads(result.stdout or result.stderr)

    retry = ("quarantine", "retry", file, "--source", "late")
    with Service(data, more=["privacy.max_characters=2000"]) as service:
        told("ingest", file, "--source", "late", "--skip-bad-rows")
        before = told("quarantine", "list", "late")
        assert [item["row"] for item in before["rows"]] == [2, 4]
        assert told(*retry)["num_released"] == 0
        stored = before["rows"][0]["file"]
        assert told(*retry, "--as", stored)["num_tried"] == 2
        assert told(*retry, "--as", "another.jsonl")["num_tried"] == 0
        shown = run_command("quarantine", "list", "--server", service.address)
        assert "2 rows in quarantine" in shown.stdout
        assert "the policy allows 2000" in shown.stdout
    with Service(data, more=["privacy.max_characters=20000"]) as service:
        assert told(*retry) == {
            "source": "late",
            "num_in_quarantine": 2,
            "num_tried": 2,
            "num_released": 1,
            "num_stored": 1,
            "num_duplicates": 0,
        }
        assert [item["row"] for item in told("quarantine", "list")["rows"]] == [4]
        (listed,) = told("sources", "list")
        assert (listed["num_examples"], listed["num_quarantined"]) == (3, 1)
        other = tmp_path / "other.jsonl"
        other.write_text(rows[0], encoding="utf-8")
        nothing = told("quarantine", "retry", other, "--source", "late")
        assert (nothing["num_in_quarantine"], nothing["num_tried"]) == (0, 0)
        # Rows that the file has no more stay, and nothing is recorded.
        file.write_text(rows[0], encoding="utf-8")
        gone = told(*retry)
        assert (gone["num_in_quarantine"], gone["num_tried"], gone["num_released"]) == (1, 0, 0)
        finished = run_command(
            "audit", "log", "--kind", "ingest_finished", "--server", service.address, "--json"
        )
        assert len(finished.stdout.splitlines()) == 4
        drop = ("quarantine", "drop", "late", "--why", f"{NAMED} wants it gone", "--file", name)
        assert told(*drop) == {"source": "late", "num_rows": 1, "num_unlisted": 0}
        assert told("quarantine", "list")["rows"] == []
        assert told(*drop, code=66)["error"]["reason"] == "INPUT_NOT_FOUND"
    assert scan_bytes(data, [NAMED, *NAMED.split()]) == []
