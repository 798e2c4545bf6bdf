"""Sealed plans by their ids: listed, shown, and named by the first digits."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Purpose, Role
from recollect.mixer.mix import Mix
from recollect.mixer.plan import SourceSnapshot
from recollect.mixer.sealing import seal
from recollect.services.client import connect
from recollect.services.commands import mix_files
from recollect.services.ledger import Ledger
from recollect.services.plan_pages import MOST_ON_A_PAGE
from recollect.services.planbook import PlanBook
from recollect.v1 import mix_pb2 as wire

from .mixing import Run, here, written


def sealed(run: Run, folder: Path, names: Sequence[str]) -> list[str]:
    return [run("mix", "seal", written(folder, name=name)).stdout.strip() for name in names]


def test_plans_are_listed_in_the_order_of_their_sealing(run: Run, tmp_path: Path) -> None:
    plan_ids = sealed(run, tmp_path, ("listed-1", "listed-2", "listed-1"))
    assert plan_ids[0] == plan_ids[2]
    listed = json.loads(run("mix", "list", "--json").stdout)
    found = [plan for plan in listed if plan["mix"].startswith("listed-")]
    assert [plan["plan_id"] for plan in found] == plan_ids[:2]
    assert (found[0]["num_steps"], found[0]["unit"]) == (60, "supervised_tokens")
    assert (found[0]["purpose"], bool(found[0]["actor"])) == ("train", True)
    assert found[0]["sealed_time"] < found[1]["sealed_time"]
    shown = run("mix", "list").stdout
    assert plan_ids[0][:12] in shown and "listed-2" in shown


def test_the_list_comes_page_by_page(service: tuple[Run, str], tmp_path: Path) -> None:
    run, address = service
    sealed(run, tmp_path, ("paged-1", "paged-2", "paged-3"))
    with connect(address) as client:
        whole = client.mix.ListPlans(wire.ListPlansRequest(page_size=MOST_ON_A_PAGE + 1))
        pages: list[wire.ListPlansResponse] = []
        token = ""
        while token or not pages:
            request = wire.ListPlansRequest(page_size=2, page_token=token)
            pages.append(client.mix.ListPlans(request))
            token = pages[-1].next_page_token
    assert whole.next_page_token == ""
    assert all(len(page.plans) == 2 for page in pages[:-1])
    assert [plan for page in pages for plan in page.plans] == list(whole.plans)


@pytest.mark.parametrize("order", ["{0},{1}", "{1}, {0}", "{0},{0},{1}"])
def test_a_command_takes_whichever_address_answers(
    service: tuple[Run, str], tmp_path: Path, order: str
) -> None:
    run, address = service
    addresses = order.format(f"unix:{tmp_path}/nobody", address)
    with connect(addresses) as client:
        client.mix.ListPlans(wire.ListPlansRequest(page_size=1))
    assert run("mix", "list", "--server", addresses).returncode == 0


def test_who_needs_a_whole_id_is_told_where_it_is(service: tuple[Run, str], tmp_path: Path) -> None:
    run, address = service
    [plan_id] = sealed(run, tmp_path, ("whole-id",))
    with pytest.raises(RecollectError) as caught, connect(address) as client:
        client.mix.GetPlan(wire.GetPlanRequest(plan_id=plan_id[:12]))
    assert caught.value.reason is Reason.PLAN_UNKNOWN
    assert f"recollect mix show {plan_id[:12]}" in caught.value.fix


@pytest.mark.parametrize("address", ["localhost", "recollect-data/recollect.sock", "a:1,,b:2"])
def test_what_is_no_address_is_said_at_once(run: Run, address: str) -> None:
    error = json.loads(run("mix", "list", "--json", "--server", address).stderr)["error"]
    assert (error["reason"], error["where"]) == ("CONFIG_INVALID", "--server")


@pytest.mark.parametrize("options", [{"page_size": -1}, {"page_token": "x"}, {"page_token": "-1"}])
def test_what_is_no_page_is_refused(service: tuple[Run, str], options: dict[str, object]) -> None:
    request = wire.ListPlansRequest(**options)  # type: ignore[arg-type]
    with pytest.raises(RecollectError) as caught, connect(service[1]) as client:
        client.mix.ListPlans(request)
    assert (caught.value.reason, caught.value.where) == (Reason.INPUT_MALFORMED, *options)


def test_a_plan_is_shown_by_its_id_and_from_its_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert run("mix", "seal", written(tmp_path), "--output", path).returncode == 0
    plan = json.loads(path.read_text(encoding="utf-8"))
    shown = here("mix", "show", path)
    assert shown.returncode == 0, shown.stderr
    for words in (plan["snapshot_id"], "supervised tokens", "7/10 (70 %)", "a guardrail slipped"):
        assert words in shown.stdout
    assert run("mix", "show", plan["plan_id"]).stdout == shown.stdout
    assert json.loads(here("mix", "show", path, "--json").stdout) == {
        "plan_id": plan["plan_id"],
        "num_steps": 60,
        "plan": plan,
    }


def test_a_plan_is_named_by_the_first_digits_of_its_id(
    service: tuple[Run, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = service[0]
    plan_ids = sealed(run, tmp_path, [f"short-{number}" for number in range(17)])
    short = plan_ids[0][:8]
    assert plan_ids[0] in run("mix", "show", short).stdout
    assert run("mix", "diff", short, plan_ids[0]).stdout.startswith("the same plan")
    assert run("mix", "trace", short).stdout == run("mix", "trace", plan_ids[0]).stdout
    unknown = json.loads(run("mix", "show", "0" * 8, "--json").stderr)["error"]
    assert (unknown["reason"], unknown["where"]) == ("PLAN_UNKNOWN", "0" * 8)
    # Of 17 plans two begin with the same digit; two with the same eight are hard to come by.
    monkeypatch.setattr(mix_files, "SHORT_ID", re.compile("[0-9a-f]{1,63}"))
    digits = [plan_id[0] for plan_id in plan_ids]
    digit = next(digit for digit in digits if digits.count(digit) > 1)
    result = run("mix", "show", digit, "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], error["where"], result.returncode) == ("PLAN_AMBIGUOUS", digit, 65)
    candidates = [plan_id for plan_id in plan_ids if plan_id[0] == digit]
    assert sum(plan_id in error["message"] for plan_id in candidates) >= 1


def test_a_plan_with_a_change_beyond_its_end_is_still_read(tmp_path: Path) -> None:
    shares = {"tickets": "1"}
    mix = Mix.from_mapping(
        {
            "name": "sealed-long-ago",
            "batch_size": 2,
            "num_steps": 3,
            "max_length": 16,
            "sources": [{"source": "tickets", "role": "task", "share": "1"}],
            "changes": [{"first_step": 3, "shares": shares}],
        }
    )
    held = SourceSnapshot(
        name="tickets",
        role=Role.TASK,
        purpose=Purpose.TRAIN,
        num_examples=5,
        content_digest="a" * 64,
    )
    plan = seal(mix, snapshot_id="first", sources={"tickets": held}, tokenizer_digest="f" * 64)
    (tmp_path / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    with Ledger.open(tmp_path) as ledger:
        PlanBook(ledger).seal(plan, actor="test")
        (found,) = PlanBook(ledger).sealings()
    assert (found.plan.plan_id, found.actor) == (plan.plan_id, "test")
    assert found.time.endswith("Z")
    assert here("mix", "show", tmp_path / "plan.json").returncode == 0


def test_a_file_that_is_named_like_an_id_is_a_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("mix", "seal", written(tmp_path), "--output", "deadbeef").returncode == 0
    assert here("mix", "show", "deadbeef").returncode == 0


def test_a_mix_in_place_of_a_plan_is_called_a_mix(run: Run, tmp_path: Path) -> None:
    mix, plan = written(tmp_path), tmp_path / "plan.json"
    assert run("mix", "seal", mix, "--output", plan).returncode == 0
    for command in (("trace", mix), ("diff", plan, mix), ("show", mix)):
        result = run("mix", *command)
        assert result.returncode == 65
        assert "INPUT_UNKNOWN_FORMAT" in result.stderr
        assert "this is a mix, not a plan" in result.stderr.replace("\n", " ")
        assert "mix seal" in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "reason", "where"),
    [
        ('"seed":0', '"seed":1', "PLAN_TAMPERED", ""),
        ('"version":2}', '"version":9}', "VERSION_UNKNOWN", ": version"),
        ("{", "", "PLAN_TAMPERED", ""),
    ],
)
def test_errors_of_a_plan_file_name_it(
    run: Run, tmp_path: Path, old: str, new: str, reason: str, where: str
) -> None:
    plan = tmp_path / "plan.json"
    assert run("mix", "seal", written(tmp_path), "--output", plan).returncode == 0
    text = plan.read_text(encoding="utf-8")
    assert old in text
    plan.write_text(text.replace(old, new), encoding="utf-8")
    error = json.loads(here("mix", "show", plan, "--json").stderr)["error"]
    assert (error["reason"], error["where"]) == (reason, f"{plan}{where}")
