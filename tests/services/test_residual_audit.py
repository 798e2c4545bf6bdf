"""`recollect deid audit` over a real service: what it counts, records, and never tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Pointer, Speaker
from recollect.services.cli import app
from recollect.services.client import connect, error_from
from recollect.services.ledger import Kind
from recollect.services.privacy import Deidentifier, Policy
from recollect.v1 import audit_pb2 as wire

from .conftest import Service, run_command
from .house import House

NUM_NAMED, NUM_EXAMPLES = 12, 60
SECRETS = ("Lindqvist", "Kowalska", "Thompson", "firma")


def chat(number: int) -> str:
    name = ("Tobias Lindqvist", "Anna Kowalska", "Sarah Thompson")[number % 3]
    signed = f" My name is {name}." if number < NUM_NAMED else ""
    return f"Where is parcel {number}?{signed} Answer to box{number}@firma.org please."


def store(house: House, *, places: bool = True) -> None:
    """Stores chats under a policy that leaves names as they are."""
    key = b"k" * 32
    lax = Deidentifier(Policy.from_mapping({"entities": ["EMAIL_ADDRESS"]}), key)
    with house.store.writer("chats") as writer:
        for number in range(NUM_EXAMPLES):
            clean = lax.deidentify([Message(speaker=Speaker.USER, content=chat(number))])
            example_id = house.store.example_id_for("chats", clean.messages)
            sealed = lax.place_seal.sealed(example_id, clean.stand_ins)
            writer.add(
                Example(
                    example_id=example_id,
                    source="chats",
                    messages=clean.messages,
                    pointer=Pointer(file="chats.jsonl", row=number + 1),
                    subject=None,
                    policy="lax",
                    findings=clean.findings,
                    stand_ins=sealed if places else None,
                )
            )


def ask(house: House, **asked: Any) -> list[wire.AuditResidualResponse]:
    async def work() -> list[wire.AuditResidualResponse]:
        async with house.serving() as (_, stub):
            call: Any = stub.AuditResidual(wire.AuditResidualRequest(**asked))
            return [answer async for answer in call]

    return asyncio.run(work())


def test_the_outcome_is_told_last_and_is_in_the_ledger_without_a_word_of_any_example(
    house: House,
) -> None:
    store(house)
    *progress, last = ask(house, num_examples=100, seed=7)
    assert [p.num_done for p in progress] == [10, 20, 30, 40, 50, 60]
    assert not any(p.HasField("outcome") for p in progress)
    whole = last.outcome.whole
    assert (whole.num_examples, whole.num_sampled) == (NUM_EXAMPLES, NUM_EXAMPLES)
    assert (whole.num_surviving, whole.num_undecidable) == (NUM_NAMED, 0)
    assert whole.at_most == NUM_NAMED / NUM_EXAMPLES
    (body,) = house.entries(Kind.RESIDUAL_AUDITED)
    assert (body["seed"], body["snapshot_id"]) == (7, house.store.snapshot().snapshot_id)
    assert body["whole"]["num_surviving"] == NUM_NAMED
    assert body["recapture"]["num_found"] == NUM_EXAMPLES
    assert "survivors" not in body
    told = str(last) + json.dumps(body)
    assert not any(secret in told for secret in SECRETS)
    ids = set(house.store.example_ids(house.store.snapshot(), "chats"))
    assert {one.example_id for one in last.outcome.survivors} <= ids
    assert len({one.example_id for one in last.outcome.survivors}) == NUM_NAMED
    assert not any(example_id in json.dumps(body) for example_id in ids)


def test_a_seed_that_nobody_chose_is_drawn_and_told_and_draws_the_same_again(house: House) -> None:
    store(house)
    first = ask(house, num_examples=20)[-1].outcome
    other = ask(house, num_examples=20)[-1].outcome
    again = ask(house, num_examples=20, seed=first.seed)[-1].outcome
    assert first.seed != other.seed
    assert again == first


def test_where_nobody_kept_the_places_stand_ins_are_undecidable_and_it_is_said(
    house: House,
) -> None:
    store(house, places=False)
    outcome = ask(house, num_examples=100)[-1].outcome
    assert outcome.num_without_places == NUM_EXAMPLES
    # The names are on no list of stand-ins; the addresses are all at example.com.
    assert outcome.whole.num_surviving == NUM_NAMED
    assert outcome.whole.num_undecidable == NUM_EXAMPLES - NUM_NAMED


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({}, Reason.INPUT_MALFORMED),
        ({"num_examples": 10, "per_source": -1}, Reason.INPUT_MALFORMED),
        ({"num_examples": 10, "seed": -1}, Reason.INPUT_MALFORMED),
        ({"num_examples": 10**7}, Reason.INPUT_MALFORMED),
        ({"num_examples": 10}, Reason.INPUT_MALFORMED),
        ({"num_examples": 10, "sources": ["none"]}, Reason.SOURCE_UNKNOWN),
    ],
)
def test_what_cannot_be_looked_at_is_refused_and_not_recorded(
    house: House, asked: Mapping[str, Any], reason: Reason
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        ask(house, **asked)
    assert error_from(caught.value).reason is reason
    assert not house.entries(Kind.RESIDUAL_AUDITED)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A data folder, and the address of a service over it that leaves names as they are."""
    place = tmp_path_factory.mktemp("residual")
    rows = [json.dumps({"text": chat(n), "who": f"c{n % 20}"}) for n in range(NUM_EXAMPLES)]
    (place / "chats.jsonl").write_text("\n".join(rows), encoding="utf-8")
    lax = "privacy.entities=[EMAIL_ADDRESS]"
    with Service(place / "data", more=[lax]) as service:
        (place / "mapping.yaml").write_text("subject: who\n", encoding="utf-8")
        ingest = (
            "ingest",
            "--mapping",
            place / "mapping.yaml",
            place / "chats.jsonl",
            "--source",
            "chats",
            "--role",
            "task",
        )
        law = ("--licence", "CC0-1.0", "--legal-basis", "consent")
        mapped = ("--mapping", place / "mapping.yaml", "--server", service.address)
        done = run_command(*ingest, *law, *mapped)
        assert done.returncode == 0, done.stderr
        yield place / "data", service.address


@pytest.mark.slow
def test_a_service_and_its_folder_say_the_same_and_nobody_says_what_is_left(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    data, address = served
    command = ("deid", "audit", "--examples", 40, "--seed", 11, "--list", 99, "--json")
    page = tmp_path / "left.html"
    asked = run_command(*command, "--server", address, "--html", page)
    read = in_process(*command, "--store", data)
    assert (asked.returncode, read.exit_code) == (0, 0), asked.stderr + read.output
    body = json.loads(asked.stdout)
    assert body == json.loads(read.stdout)
    assert body["whole"]["num_sampled"] == 40
    assert 0 < body["whole"]["num_surviving"] <= NUM_NAMED
    assert body["whole"]["at_most"] > NUM_NAMED / NUM_EXAMPLES
    assert len(body["survivors"]) >= body["whole"]["num_surviving"]
    shown = page.read_text(encoding="utf-8")
    assert "At most" in shown
    for told in (asked.stdout, read.stdout, shown):
        assert not any(secret in told for secret in SECRETS)
    with connect(address) as client:
        entries = client.audit.ListEntries(
            wire.ListEntriesRequest(kind=Kind.RESIDUAL_AUDITED), timeout=60
        )
        assert [json.loads(entry.body_json)["seed"] for entry in entries] == [11]


@pytest.mark.slow
def test_more_than_the_limit_is_exit_code_one(served: tuple[Path, str]) -> None:
    command = ("deid", "audit", "--store", served[0], "--seed", 1)
    found = in_process(*command, "--limit", "1%")
    assert found.exit_code == 1
    assert f"at most {NUM_NAMED / NUM_EXAMPLES:.2%}" in found.stdout
    assert in_process(*command, "--limit", "50%").exit_code == 0
    refused = in_process(*command, "--limit", "half").exception
    assert isinstance(refused, RecollectError)
    assert (refused.reason, refused.where) == (Reason.CONFIG_INVALID, "--limit")


@pytest.mark.slow
def test_subjects_are_counted_by_what_is_left_of_them(served: tuple[Path, str]) -> None:
    command = ("deid", "audit", "--examples", 1, "--per-source", 0, "--k", 21)
    told = in_process(*command, "--store", served[0], "--list", 7, "--json")
    found = json.loads(told.stdout)["anonymity"]
    # Of nobody an age, date or place is told: all twenty are alike, and fewer than 21.
    assert (found["num_subjects"], found["num_examples"]) == (20, NUM_EXAMPLES)
    assert found["class_sizes"] == {"20": 20}
    assert (found["num_subjects_below"], len(found["examples_below"])) == (20, 7)
    shown = in_process(*command, "--store", served[0]).stdout
    assert "20 subjects of 60 examples" in shown
    assert "Left as it came: nothing. 20 subjects are among fewer than 21 alike" in shown
    refused = in_process(*command).exception
    assert isinstance(refused, RecollectError)
    assert refused.where == "--k"


def in_process(*arguments: object) -> Result:
    """The command line without a process of its own: Presidio is loaded already."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
