"""What sealed mixes serve and how they are looked at, through the command line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest

from recollect.services.yaml_text import proposer_from_yaml

from .conftest import run_command
from .mixing import MIX, SOURCES, Run, fetched, here, served, written


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
    rows = list(csv.DictReader(io.StringIO(run("mix", "trace", plan_id).stdout)))
    learnt = 0
    for source in preview["sources"]:
        here = [row for row in rows if row["source"] == source["source"]]
        for count in ("tokens", "supervised_tokens"):
            assert source[f"num_{count}"] == sum(int(row[count]) for row in here)
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
    told = run_command("mix", "compare", mix, "--batches", "500", COLUMNS="80")
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "off own rows: how far a rank is from the shares of the rows that" in told.stdout


def test_a_comparison_names_what_it_leaves_out(tmp_path: Path) -> None:
    options = ("--batches", "10", "--json")
    compared = here("mix", "compare", written(tmp_path), *options)
    assert json.loads(compared.stdout)
    assert [line.split(";")[0] for line in compared.stderr.splitlines()] == [
        "left out: unit",
        "left out: packing",
        "left out: changes",
    ]
    plain = written(tmp_path, unit="examples", packing="none", changes=[])
    assert here("mix", "compare", plain, *options).stderr == ""


def test_a_preview_names_changes_that_never_take_effect(run: Run, tmp_path: Path) -> None:
    sources = [{**source} for source in MIX["sources"]]
    sources[0]["on_exhaustion"] = "stop"
    mix = written(tmp_path, sources=sources, num_steps=None, unit="examples", packing="none")
    preview = json.loads(run("mix", "preview", mix, "--json").stdout)
    assert preview["num_steps"] <= 30
    assert preview["unreached_changes"] == [30]
    assert "The change at step 30 never takes effect" in run("mix", "preview", mix).stdout
    assert (
        json.loads(run("mix", "preview", written(tmp_path), "--json").stdout)["unreached_changes"]
        == []
    )


def test_the_mix_and_the_policy_of_the_guide_can_be_used(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "mix.md"
    text = guide.read_text(encoding="utf-8")
    mix, policy, loop = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert proposer_from_yaml(loop)
    (tmp_path / "mix.yaml").write_text(mix, encoding="utf-8")
    (tmp_path / "policy.yaml").write_text(policy, encoding="utf-8")
    checked = here("mix", "policy", "check", tmp_path / "policy.yaml", tmp_path / "mix.yaml")
    assert checked.returncode == 0, checked.stderr
