"""Mixes of tokens, packed and changing, through the command line and a real service."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.measures import Measures
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import read_plan
from recollect.services import cli
from recollect.services.client import connect
from recollect.services.measure_frames import decode_measures
from recollect.services.yaml_text import proposer_from_yaml
from recollect.v1 import mix_pb2 as wire

from .conftest import Service, run_command

Run = Callable[..., subprocess.CompletedProcess[str]]
SOURCES = {"dialogues": "task", "manuals": "general", "refusals": "refusal"}
POLICY = {
    "name": "house-rules",
    "roles": {"refusal": {"floor": 400}, "task": {"ceiling": 8000}},
}
MIX: dict[str, Any] = {
    "name": "support",
    "unit": "supervised_tokens",
    "packing": "best_fit",
    "batch_size": 8,
    "num_steps": 60,
    "max_length": 128,
    "sources": [
        {"source": "dialogues", "role": "task", "share": "70%"},
        {"source": "manuals", "role": "general", "share": "25%"},
        {"source": "refusals", "role": "refusal", "share": "5%"},
    ],
    "changes": [
        {
            "first_step": 30,
            "shares": {"dialogues": "50%", "manuals": "30%", "refusals": "20%"},
            "reason": "a guardrail slipped",
        }
    ],
}


def rows(source: str, num_rows: int) -> Iterator[dict[str, Any]]:
    for number in range(num_rows):
        asked = f"Question {number} of {source}? " + "Please be quick. " * (number % 9)
        answer = f"Answer {number}. " + "It is on its way to you now. " * (number * 7 % 13)
        yield {
            "messages": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ]
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three sources, and a policy beside it."""
    place = tmp_path_factory.mktemp("mixing")
    (place / "policy.yaml").write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    with served(place) as run:
        for source, role in SOURCES.items():
            path = place / f"{source}.jsonl"
            num_rows = {"dialogues": 40, "manuals": 25, "refusals": 12}[source]
            path.write_text("\n".join(map(json.dumps, rows(source, num_rows))), encoding="utf-8")
            told = run("ingest", path, "--source", source, "--role", role, "--json")
            assert told.returncode == 0, told.stderr
    return place


def here(*arguments: object, server: str = "127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    """Runs the command line within this process, which is much quicker."""
    words = list(map(str, arguments))
    texts = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(texts[0]):
        patch.setattr(sys, "argv", ["recollect", *words])
        patch.setattr(cli, "add_plugins", lambda: None)
        patch.setenv("RECOLLECT_SERVER", server)
        with redirect_stderr(texts[1]):
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, texts[0].getvalue(), texts[1].getvalue())


class served:
    """A service of its own over the data folder of a place; gives the command line for it."""

    def __init__(self, place: Path) -> None:
        self._service = Service(place / "data", more=(f"ratio_policy={place / 'policy.yaml'}",))
        self.address = self._service.address

    def __enter__(self) -> Run:
        return lambda *arguments: here(*arguments, server=self.address)

    def __exit__(self, *_: object) -> None:
        self._service.__exit__()


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[tuple[Run, str]]:
    serving = served(place)
    with serving as run:
        yield run, serving.address


@pytest.fixture(scope="module")
def run(service: tuple[Run, str]) -> Run:
    return service[0]


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "mix.yaml"
    path.write_text(yaml.safe_dump({**MIX, **changes}, sort_keys=False), encoding="utf-8")
    return path


def fetched(address: str, plan_json: str) -> Plan:
    """The plan with its measures, as another program would get them."""
    plan = read_plan(plan_json)

    def measures(source: str) -> Measures:
        request = wire.GetMeasuresRequest(plan_id=plan.plan_id, source=source)
        with connect(address) as client:
            return decode_measures(answer.payload for answer in client.mix.GetMeasures(request))

    return plan.with_measures({source.name: measures(source.name) for source in plan.sources})


def test_a_packed_plan_of_tokens_is_the_same_after_a_restart(place: Path, tmp_path: Path) -> None:
    mix = written(tmp_path, name="restarted")
    first = served(place)
    with first as run:
        sealed = json.loads(run("mix", "seal", mix, "--json").stdout)
        traced = run("mix", "trace", sealed["plan_id"], "--world", "3")
        assert traced.returncode == 0, traced.stderr
        plan = fetched(first.address, json.dumps(sealed["plan"]))
    for step in range(plan.num_steps):
        assert plan.batch(step)
    # Nothing is left of it in memory, nor in the caches; the ledger and the segments are enough.
    for cache in (place / "data" / "cache" / "tokens").iterdir():
        cache.unlink()
    second = served(place)
    with second as run:
        again = run("mix", "trace", sealed["plan_id"], "--world", "3")
        assert again.stdout == traced.stdout
        assert json.loads(run("mix", "seal", mix, "--json").stdout) == sealed
        assert fetched(second.address, json.dumps(sealed["plan"])).plan_id == plan.plan_id


def test_the_policy_of_the_service_goes_into_the_plan(run: Run, tmp_path: Path) -> None:
    plan = json.loads(run("mix", "seal", written(tmp_path), "--json").stdout)["plan"]
    assert plan["policy"]["name"] == "house-rules"
    assert plan["policy"]["roles"]["refusal"]["floor"] == 400


def test_a_mix_below_a_floor_is_refused_by_check_preview_and_seal(run: Run, tmp_path: Path) -> None:
    shares = {"dialogues": "72%", "manuals": "25%", "refusals": "3%"}
    below = [{"first_step": 30, "shares": shares}]
    mix = written(tmp_path, changes=below)
    for command in ("check", "preview", "seal"):
        result = run("mix", command, mix, "--json")
        error = json.loads(result.stderr)["error"]
        assert (error["reason"], result.returncode) == ("LIMIT_VIOLATED", 65)
        assert error["where"] == "stages[1]"
        assert "roles.refusal has 3 %" in error["message"]
    # A policy of one's own may be tried, but not sealed with.
    open_policy = tmp_path / "open.yaml"
    open_policy.write_text("name: open\n", encoding="utf-8")
    assert run("mix", "preview", mix, "--policy", open_policy).returncode == 0


TROUBLE = [
    pytest.param({"sources": [{"source": "nobody", "role": "task", "share": 1}]},
                 "MIX_UNKNOWN_SOURCE", "sources[0].source", id="unknown-source"),
    pytest.param({"sources": [{"source": "dialogues", "role": "refusal", "share": 1}]},
                 "MIX_INVALID", "sources[0].role", id="another-role"),
    pytest.param({"sources": [{"source": "dialogues", "role": "nobody", "share": 1}]},
                 "MIX_INVALID", "sources[0].role", id="unknown-role"),
    pytest.param({"sources": [{"source": "dialogues", "role": "task", "share": 1}]},
                 "LIMIT_VIOLATED", "roles.refusal.floor", id="no-refusals"),
    pytest.param({"unit": "words"}, "MIX_INVALID", "unit", id="unknown-unit"),
    pytest.param({"packing": "tight"}, "MIX_INVALID", "packing", id="unknown-packing"),
    pytest.param({"changes": [{"first_step": 3, "shares": {"dialogues": 1}}]},
                 "MIX_INVALID", "changes[0].shares", id="change-forgets-sources"),
    pytest.param({"packing": "none", "max_length": 2}, "MIX_INVALID", "sources[0]",
                 id="nothing-to-learn"),
    pytest.param({"max_length": 1 << 20}, "MIX_INVALID", "max_length", id="too-long"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "where"), TROUBLE)
def test_bad_mixes_of_tokens_are_refused_with_one_error(
    run: Run, tmp_path: Path, changes: dict[str, Any], reason: str, where: str
) -> None:
    if "sources" in changes:
        changes = {**changes, "changes": []}
    mix = written(tmp_path, **changes)
    for command in ("check", "preview", "seal"):
        result = run("mix", command, mix, "--json")
        error = json.loads(result.stderr)["error"]
        assert (error["reason"], error["where"], result.returncode) == (reason, where, 65)
        assert result.stdout == ""


def test_a_source_that_may_run_out_is_refused_with_its_step(run: Run, tmp_path: Path) -> None:
    sources = [dict(source) for source in MIX["sources"]]
    sources[2] |= {"on_exhaustion": "error"}
    result = run("mix", "seal", written(tmp_path, sources=sources), "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], result.returncode) == ("MIX_EXHAUSTED", 65)
    assert "it runs out in step" in error["message"]


@pytest.mark.parametrize("world_size", [0, 9])
def test_ranks_that_cannot_be_served_are_refused(run: Run, tmp_path: Path, world_size: int) -> None:
    mix = written(tmp_path)
    plan_id = run("mix", "seal", mix).stdout.strip()
    for arguments in (("preview", mix, "--json"), ("trace", plan_id)):
        result = run("mix", *arguments, "--world", world_size)
        assert result.returncode == 64
        assert "RANK_INVALID" in result.stderr


@pytest.mark.parametrize(
    ("text", "reason", "exit_code", "where"),
    [
        (None, "CONFIG_INVALID", 78, "limits.yaml"),
        (
            "roles: {refusal: {floor: 900, ceiling: 100}}",
            "POLICY_INVALID",
            78,
            "roles.refusal.floor",
        ),
        ("roles: {refusal: {floor: 6000}, task: {floor: 5000}}", "POLICY_INVALID", 78, "roles"),
        ("roles: {nobody: {floor: 1}}", "POLICY_INVALID", 78, "roles"),
        ("roles: [", "POLICY_INVALID", 78, "line 3"),
    ],
)
def test_a_service_does_not_start_with_a_policy_that_is_none(
    tmp_path: Path, text: str | None, reason: str, exit_code: int, where: str
) -> None:
    policy = tmp_path / "limits.yaml"
    if text is not None:
        policy.write_text(f"name: house\n{text}\n", encoding="utf-8")
    overrides = (
        f"ratio_policy={policy}",
        f"data_folder={tmp_path / 'data'}",
        "address=127.0.0.1:0",
    )
    options = [word for override in overrides for word in ("--set", override)]
    result = here("serve", "--json", *options)
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], result.returncode) == (reason, exit_code)
    assert str(policy) in error["where"] and where in error["where"]
    assert not (tmp_path / "data").exists()
    checked = here("doctor", "--json", *options)
    broken = [f for f in json.loads(checked.stdout)["findings"] if f["state"] == "broken"]
    assert checked.returncode == 1
    assert [finding["subject"] for finding in broken] == ["ratio policy"]
    if text is not None:
        offline = here("mix", "policy", "check", policy, "--json")
        assert json.loads(offline.stderr)["error"] == error


def test_a_policy_is_checked_without_a_service(place: Path, tmp_path: Path) -> None:
    command = ("mix", "policy", "check", place / "policy.yaml")
    found = json.loads(here(*command, written(tmp_path), "--json").stdout)
    assert {margin["path"]: margin["share"] for margin in found["margins"]} == {
        "roles.task": "7/10",
        "roles.refusal": "1/20",
    }
    shares = {"dialogues": "90%", "manuals": "5%", "refusals": "5%"}
    mix = written(tmp_path, changes=[{"first_step": 1, "shares": shares}])
    result = here(*command, mix, "--json")
    assert result.returncode == 65
    assert json.loads(result.stderr)["error"]["reason"] == "LIMIT_VIOLATED"


def test_a_preview_counts_what_the_trace_lists(run: Run, tmp_path: Path) -> None:
    mix = written(tmp_path)
    preview = json.loads(
        run("mix", "preview", mix, "--world", "1", "--world", "3", "--json").stdout
    )
    plan_id = run("mix", "seal", mix).stdout.strip()
    pieces = list(csv.DictReader(io.StringIO(run("mix", "trace", plan_id, "--pieces").stdout)))
    tokens: Counter[str] = Counter()
    for piece in pieces:
        tokens[piece["source"]] += int(piece["stop"]) - int(piece["start"])
    served_rows = {(piece["position"], piece["source"]) for piece in pieces}
    counted = Counter(source for _, source in served_rows)
    learnt = 0
    for source in preview["sources"]:
        assert source["num_tokens"] == tokens[source["source"]]
        assert source["num_rows"] == counted[source["source"]]
        assert source["epochs"] == source["num_rows"] / source["rows_per_pass"]
        assert 0 <= source["padding"] < 0.2
        assert not source["estimated"]
        learnt += source["num_supervised_tokens"]
    # Half of the steps ask for 5 %, half for 20 %.
    refusals = preview["sources"][2]
    assert refusals["supervised_token_share"] == pytest.approx(
        refusals["num_supervised_tokens"] / learnt
    )
    assert refusals["supervised_token_share"] == pytest.approx(0.125, abs=0.02)
    assert [rank["world_size"] for rank in preview["ranks"]] == [1, 3]
    assert all(rank["worst_deviation"] < 1 for rank in preview["ranks"])
    assert [stage["first_step"] for stage in preview["stages"]] == [0, 30]
    limits = {limit["path"]: limit for limit in preview["limits"]}
    assert limits["roles.refusal"]["least_share"] == "1/20"
    assert limits["roles.refusal"]["floor_window"] >= 1
    assert preview["peak_bytes"] > 0


def test_a_preview_fits_eighty_columns(service: tuple[Run, str], tmp_path: Path) -> None:
    options = ("--world", "1", "--world", "8", "--server", service[1])
    shown = run_command("mix", "preview", written(tmp_path), *options, COLUMNS="80").stdout
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("shares count supervised tokens", "padding", "Shares by step", "kept in any"):
        assert words in shown


def prefix_law(entries: list[dict[str, str]], num_ranks: int) -> None:
    """The law of the prefix and that of the ranks, from the columns alone."""
    stages = [
        {"dialogues": Fraction(7, 10), "manuals": Fraction(1, 4), "refusals": Fraction(1, 20)},
        {"dialogues": Fraction(1, 2), "manuals": Fraction(3, 10), "refusals": Fraction(1, 5)},
    ]
    owed = dict.fromkeys(SOURCES, Fraction(0))
    served: Counter[str] = Counter()
    by_rank: Counter[tuple[str, str]] = Counter()
    for number, entry in enumerate(entries):
        assert int(entry["position"]) == number
        assert int(entry["step"]) == number // 8
        assert int(entry["ordinal"]) == served[entry["source"]]
        for source, share in stages[number >= 240].items():
            owed[source] += share
        served[entry["source"]] += 1
        by_rank[entry["source"], entry["rank"]] += 1
        assert all(abs(served[source] - owed[source]) < 1 for source in SOURCES)
        if number % 8 == 7:
            assert all(
                abs(by_rank[source, str(rank)] - owed[source] / num_ranks) < 1
                for source in SOURCES
                for rank in range(num_ranks)
            )


def test_anyone_can_check_the_laws_from_a_trace(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    mix = written(tmp_path, unit="examples", packing="none")
    assert run("mix", "seal", mix, "--output", plan).returncode == 0
    # A plan that depends on no lengths needs no service to be traced.
    traced = here("mix", "trace", plan, "--world", "3")
    assert traced.returncode == 0, traced.stderr
    entries = list(csv.DictReader(io.StringIO(traced.stdout)))
    assert len(entries) == 480
    prefix_law(entries, num_ranks=3)
    per_epoch: Counter[tuple[str, str, str]] = Counter(
        (entry["source"], entry["epoch"], entry["example"]) for entry in entries
    )
    assert set(per_epoch.values()) == {1}


def test_a_trace_is_what_the_plan_says_in_csv_and_in_arrow(
    service: tuple[Run, str], tmp_path: Path
) -> None:
    run, address = service
    sealed = json.loads(run("mix", "seal", written(tmp_path), "--json").stdout)
    plan = fetched(address, json.dumps(sealed["plan"]))
    options = ("--from", "33", "--to", "301", "--world", "3")
    for suffix in (".csv", ".arrow"):
        output = tmp_path / f"trace{suffix}"
        assert run("mix", "trace", plan.plan_id, *options, "--output", output).returncode == 0
    with pa.ipc.open_file(tmp_path / "trace.arrow") as reader:
        table = reader.read_all()
    with (tmp_path / "trace.csv").open(encoding="utf-8") as file:
        entries = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in table.to_pylist()] == entries
    assert run("mix", "trace", plan.plan_id, *options).stdout == (tmp_path / "trace.csv").read_text(
        encoding="utf-8"
    )
    found = {(int(e["position"]), int(e["rank"]), e["source"], int(e["example"])) for e in entries}
    expected = set()
    for step in range(4, 38):
        for rank in range(3):
            shard = plan.shard(step, rank, 3)
            columns = (shard.positions, shard.sources, shard.examples)
            for position, source, example in zip(*(c.tolist() for c in columns), strict=True):
                expected.add((position, rank, plan.sources[source].name, example))
    assert found == {entry for entry in expected if 33 <= entry[0] < 301}


def test_a_trace_that_cannot_be_written_leaves_nothing(run: Run, tmp_path: Path) -> None:
    plan_id = run("mix", "seal", written(tmp_path)).stdout.strip()
    for arguments, reason, exit_code in (
        ((plan_id, "--output", tmp_path / "t.parquet"), "INPUT_UNKNOWN_FORMAT", 65),
        ((plan_id, "--from", "481", "--output", tmp_path / "t.csv"), "PLAN_OUT_OF_RANGE", 64),
        (("0" * 64, "--output", tmp_path / "t.csv"), "PLAN_UNKNOWN", 66),
        ((tmp_path / "none.json", "--output", tmp_path / "t.csv"), "INPUT_NOT_FOUND", 66),
    ):
        result = run("mix", "trace", *arguments)
        assert result.returncode == exit_code
        assert reason in result.stderr
        assert result.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"mix.yaml"}


def test_two_plans_say_where_they_differ(run: Run, tmp_path: Path) -> None:
    one = tmp_path / "one.json"
    assert run("mix", "seal", written(tmp_path), "--output", one).returncode == 0
    other = run("mix", "seal", written(tmp_path, seed=7, num_steps=61)).stdout.strip()
    same = run("mix", "diff", one, one)
    assert (same.returncode, same.stdout[:13]) == (0, "the same plan")
    found = run("mix", "diff", one, other, "--json")
    assert found.returncode == 1
    assert json.loads(found.stdout) == [
        {"field": "mix.num_steps", "one": "60", "other": "61"},
        {"field": "mix.seed", "one": "0", "other": "7"},
        {"field": "num_positions", "one": "480", "other": "488"},
    ]
    tampered = tmp_path / "tampered.json"
    tampered.write_text(one.read_text().replace('"seed":0', '"seed":1'), encoding="utf-8")
    refused = run("mix", "diff", one, tampered)
    assert refused.returncode == 70
    assert "PLAN_TAMPERED" in refused.stderr


def test_measures_are_refused_where_there_are_none_to_give(
    service: tuple[Run, str], tmp_path: Path
) -> None:
    run, address = service
    packed = run("mix", "seal", written(tmp_path)).stdout.strip()
    plain = run("mix", "seal", written(tmp_path, unit="examples", packing="none")).stdout.strip()
    for plan_id, source, reason in (
        (packed, "nobody", Reason.MIX_UNKNOWN_SOURCE),
        (plain, "dialogues", Reason.INPUT_MALFORMED),
        ("0" * 64, "dialogues", Reason.PLAN_UNKNOWN),
    ):
        request = wire.GetMeasuresRequest(plan_id=plan_id, source=source)
        with pytest.raises(RecollectError) as caught, connect(address) as client:
            list(client.mix.GetMeasures(request))
        assert caught.value.reason is reason


def test_a_mix_is_compared_with_the_rules_of_others(tmp_path: Path) -> None:
    shares = {"dialogues": "1/2", "manuals": "1/2", "refusals": "0"}
    mix = written(tmp_path, batch_size=20, changes=[{"first_step": 2, "shares": shares}])
    picture = tmp_path / "rules.svg"
    options = ("--batches", "500", "--world", "4", "--picture", picture)
    compared = here("mix", "compare", mix, *options, "--json")
    assert compared.returncode == 0, compared.stderr
    figures = {row["rule"]: row["figures"] for row in json.loads(compared.stdout)}
    assert figures["Recollect"]["worst_prefix_rows"] < 1
    assert figures["Recollect"]["worst_rank_rows"] < 1.05 + 0.7
    assert figures["Independent draws"]["batches_without_rarest"] > 0.2
    assert "refusals" in picture.read_text(encoding="utf-8")
    shown = run_command("mix", "compare", mix, "--batches", "500", COLUMNS="80").stdout
    assert max(map(len, shown.splitlines())) <= 80


def test_the_mix_and_the_policy_of_the_guide_can_be_used(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "mix.md"
    text = guide.read_text(encoding="utf-8")
    mix, policy, loop = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert proposer_from_yaml(loop)
    (tmp_path / "mix.yaml").write_text(mix, encoding="utf-8")
    (tmp_path / "policy.yaml").write_text(policy, encoding="utf-8")
    checked = here("mix", "policy", "check", tmp_path / "policy.yaml", tmp_path / "mix.yaml")
    assert checked.returncode == 0, checked.stderr
