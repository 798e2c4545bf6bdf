"""De-identification over the wire beside files and the store: one key, one output."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Pointer, Purpose, RawExample, Role
from recollect.services.client import ServiceClient, connect
from recollect.services.commands.deid import apply
from recollect.services.deid_client import (
    DeidCall,
    PolicyText,
    deidentified,
)
from recollect.services.deid_files import Applied, apply_rows, apply_through
from recollect.services.deid_remote import remote_rows
from recollect.services.deid_rows import RowLayout, RowOptions
from recollect.services.ingestion import register, send
from recollect.services.privacy import scan_bytes
from recollect.services.privacy.policy import load_policy
from recollect.v1 import store_pb2

from .conftest import Run, Service
from .deid_records import MAIL, NAME, POLICY, data_of, ledger_of, text

pytestmark = pytest.mark.slow

SECRET = "Zebediah Quillfeather-Oakenshaw"
SECRET_MAIL = "zeb.quillfeather@mail.example.com"


def stand_ins(client: ServiceClient, policy: str | None = None) -> tuple[str, str, str]:
    """Id of the key, stand-ins of a person alone, and in a record that ingestion sees too."""
    with closing(DeidCall(client, policy=policy)) as call:
        call.send([text(f"My name is {SECRET}."), text(f"Write to {SECRET_MAIL} please")])
        name, mail = (one.messages[0].content for one in call.receive())
        call.finish()
    return call.opening.key_id, name, mail


def ingest(client: ServiceClient, content: str) -> None:
    register(
        client,
        name="s",
        role=Role.TASK,
        purpose=Purpose.TRAIN,
        licence="CC0-1.0",
        legal_basis="consent",
    )
    row = RawExample(
        messages=tuple(text(content).messages), pointer=Pointer(file="rows.jsonl", row=1)
    )
    *_, last = send(client, "s", [row])
    assert last.done and last.num_stored == 1


@pytest.mark.faults
def test_stand_ins_are_those_of_the_store_also_after_a_crash_and_no_text_is_kept(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with Service(data) as service, connect(service.address) as client:
        ingest(client, f"Write to {SECRET_MAIL} please")
        before = stand_ins(client)
        named = PolicyText(f"{{name: {SECRET}, version: '1', entities: [PERSON]}}")
        (done,) = deidentified(client, [text(f"I am {SECRET}", SECRET)], policy=named)
        assert SECRET not in done.messages[0].content
        (found,) = client.store.Search(
            store_pb2.SearchRequest(source="s", text="write", limit=1), timeout=60
        ).results
        entries = ledger_of(client)
        with closing(DeidCall(client)) as call, pytest.raises(RecollectError) as caught:
            service.kill()
            call.send([text("anything")])
            call.receive()
        assert caught.value.reason is Reason.SERVER_UNAVAILABLE
    assert [message.content for message in found.messages] == [before[2]]
    assert SECRET.split()[0] not in before[1]
    assert [(e["num_records"], e["is_whole"]) for e in entries] == [(2, True), (1, True)]
    assert entries[0]["policy"].startswith("conversations ")
    assert entries[1]["policy"] == ""
    with Service(data) as service, connect(service.address) as client:
        assert stand_ins(client) == before
        assert stand_ins(client, POLICY)[0] == before[0]
    assert scan_bytes(data, [SECRET, SECRET_MAIL, *SECRET.split()]) == []


def write_rows(path: Path, num_rows: int) -> Path:
    rows: list[Any] = [
        {"id": n, "text": f"I am {NAME} of order {n}-1234567, {MAIL}", "customer": "zarquon"}
        for n in range(num_rows)
    ]
    rows[3] = {"nothing": 1}
    rows[5] = {"turns": [{"role": "agent", "content": f"Hello {NAME}"}, {"content": "zarquon"}]}
    rows[6] = {"turns": [{"role": "agent"}]}
    lines = [json.dumps(row) for row in rows]
    lines[7:9] = ["{", "\ufeff", '{"text": "\\ud800"}', ""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def options_of(address: str, layout: RowLayout) -> RowOptions:
    """The same under the service's key, for this process."""
    key = (data_of(address) / "keys" / "surrogate.key").read_bytes()
    return RowOptions(policy=load_policy(POLICY), key=key, **asdict(layout))


def quarantine_of(path: Path) -> bytes:
    return path.with_name(f"{path.name}.quarantine.jsonl").read_bytes()


def test_a_file_comes_out_as_it_does_here(recollect: Run, address: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", 200)
    layout = RowLayout(spans=True, identifiers=("customer",), subject="id")
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    done = apply_rows(source, here, options_of(address, layout))
    more = ("--spans", "--identifier", "customer", "--subject", "id", "--json")
    told = recollect("deid", "apply", source, there, "--server", address, *more)
    assert told.returncode == 0, told.stderr
    body = json.loads(told.stdout)
    assert (body["num_rows"], body["num_written"]) == (done.num_rows, done.num_written)
    assert (body["findings"], body["quarantined"]) == (done.findings, done.quarantined)
    assert body["policy"]["fingerprint"] == load_policy(POLICY).fingerprint
    assert there.read_bytes() == here.read_bytes()
    assert quarantine_of(there) == quarantine_of(here)
    assert len(quarantine_of(there).splitlines()) == 5
    assert NAME.encode() not in there.read_bytes()


class Stopped(Exception):
    pass


def test_a_file_that_was_cut_off_goes_on_and_another_policy_begins_anew(
    address: str, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "in.jsonl", 300)
    layout, target = RowLayout(), tmp_path / "out.jsonl"
    apply_rows(source, tmp_path / "whole.jsonl", options_of(address, layout))

    def cut_off(done: Applied) -> None:
        if done.num_rows >= 128:
            raise Stopped

    def groups_of(policy: str) -> list[int]:
        """Rows that were done after each group."""
        told: list[int] = []
        with remote_rows(address, policy, layout) as engine:
            apply_through(source, target, engine, tell=lambda done: told.append(done.num_rows))
        return told

    with remote_rows(address, POLICY, layout) as engine, pytest.raises(Stopped):
        apply_through(source, target, engine, tell=cut_off)
    assert not target.exists()
    assert groups_of(POLICY)[0] == 192
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert quarantine_of(target) == quarantine_of(tmp_path / "whole.jsonl")
    with remote_rows(address, POLICY, layout) as engine, pytest.raises(Stopped):
        apply_through(source, target, engine, tell=cut_off)
    assert groups_of("strict")[0] == 64
    assert b"[PERSON]" in target.read_bytes().splitlines()[0]


@pytest.mark.parametrize(
    ("option", "value"), [("key_file", Path("k.key")), ("workers", 2)], ids=["key", "workers"]
)
def test_a_key_or_processes_of_ones_own_are_refused_with_a_service(
    address: str, tmp_path: Path, option: str, value: Any
) -> None:
    source = write_rows(tmp_path / "in.jsonl", 10)
    with pytest.raises(RecollectError) as caught:
        apply(source, tmp_path / "out.jsonl", server=address, **{option: value})
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert caught.value.where == f"--{option.replace('_', '-')}"
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_policy_in_a_file_is_sent_as_it_is(address: str, tmp_path: Path) -> None:
    file = tmp_path / "clinic.yaml"
    file.write_text("name: clinic\nversion: '3'\noperators: {'*': tag}\n", encoding="utf-8")
    with remote_rows(address, str(file), RowLayout()) as engine:
        assert engine.policy.fingerprint == load_policy(str(file)).fingerprint
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RecollectError) as caught, remote_rows(address, str(file), RowLayout()):
        pass
    assert caught.value.reason is Reason.POLICY_INVALID
    assert caught.value.where == str(file)
