from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.mix import Mix, OnExhaustion
from recollect.services.yaml_text import LONGEST_TEXT, mix_from_yaml

YAML = """
version: 1
name: support
description: Support dialogues with 30 % rehearsal.
batch_size: 32
num_steps: 1000
max_length: 512
seed: 7
sources:
  - {source: tickets, role: task, share: 0.7}
  - {source: general, role: general, share: 15%}
  - {source: written, role: synthetic, share: 1/10}
  - {source: refusals, role: refusal, share: 0.05, on_exhaustion: repeat, max_epochs: 40}
"""
Mapping = Callable[..., dict[str, Any]]


def refused(text: str) -> RecollectError:
    with pytest.raises(RecollectError) as caught:
        mix_from_yaml(text)
    return caught.value


def test_a_mix_is_read_from_yaml() -> None:
    mix = mix_from_yaml(YAML)
    assert mix.shares == (Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20))
    assert mix.sources[3].max_epochs == 40
    assert mix.sources[0].on_exhaustion is OnExhaustion.REPEAT
    assert Mix.from_mapping(json.loads(mix.to_json())) == mix


@given(st.lists(st.integers(1, 10**5), min_size=1, max_size=6))
def test_decimals_in_yaml_are_exact(parts: list[int]) -> None:
    total = 10 ** len(str(sum(parts)))
    shares = [*parts, total - sum(parts)]
    places = len(str(total)) - 1
    lines = [
        f"- {{source: s{i}, role: task, share: {s // total}.{s % total:0{places}d}}}"
        for i, s in enumerate(shares)
    ]
    if min(shares) * 10**5 < total:
        return
    head = "name: m\nbatch_size: 1\nnum_steps: 1\nmax_length: 9\nsources:\n"
    assert mix_from_yaml(head + "\n".join(lines)).shares == tuple(
        Fraction(share, total) for share in shares
    )


def test_the_fingerprint_is_of_the_content_and_not_of_the_spelling() -> None:
    mix = mix_from_yaml(YAML)
    assert len(mix.fingerprint) == 64
    assert mix_from_yaml(YAML.replace("0.7", "7/10")).fingerprint == mix.fingerprint
    assert mix_from_yaml(YAML.replace("seed: 7", "seed: 8")).fingerprint != mix.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("share: 15%", "share: fifteen", "sources[1].share"),
        ("share: 15%", "share: -0.15", "sources[1].share"),
        ("share: 15%", "share: .nan", "sources[1].share"),
        ("share: 15%", "share: 1_5.0", "sources[1].share"),
        ("share: 15%", "weight: 15%", "sources[1].share"),
        ("role: general", "role: geneal", "sources[1].role"),
        ("source: general", "source: ../general", "sources[1].source"),
        ("source: general", "source: tickets", "sources[1].source"),
        ("max_epochs: 40", "max_epochs: 0", "sources[3].max_epochs"),
        ("on_exhaustion: repeat", "on_exhaustion: loop", "sources[3].on_exhaustion"),
        ("batch_size: 32", "batch_size: 0", "batch_size"),
        ("batch_size: 32", "batch_size: true", "batch_size"),
        ("batch_size: 32", "batch_size: 32.5", "batch_size"),
        ("batch_size: 32", "batch_sise: 32", "batch_size"),
        ("num_steps: 1000", "", "num_steps"),
        ("version: 1", "version: 2", "version"),
        ("seed: 7", "seed: -1", "seed"),
        ("seed: 7", "seed: 7\nunit: words", "unit"),
        ("seed: 7", "seed: 7\npacking: tight", "packing"),
        ("seed: 7", "seed: 7\npurpose: fun", "purpose"),
        ("name: support", 'name: "\\ud800"', "name"),
        ("seed: 7", "seed: 7\nseed: 8", "line 9, column 1"),
        ("seed: 7", "seed: 7\n\tx: 1", "line 9, column 1"),
        ("seed: 7", "seed: !!python/name:os.system", "line 8, column 7"),
        ("seed: 7", "seed: !!int ''", "line 8, column 7"),
        ("name: support", "name: &a support\ndescription: *a", "line 4, column 14"),
        ("seed: 7", "seed: 0b_", "mix"),
        ("name: support", "name: 2024-99-99", "mix"),
        ("name: support", "name: \x00", "mix"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old: str, new: str, where: str) -> None:
    assert old in YAML
    error = refused(YAML.replace(old, new))
    assert (error.reason, error.where) == (Reason.MIX_INVALID, where)


@pytest.mark.parametrize("text", ["", "[]", "just text", "- 1", "[" * 5000, "x" * LONGEST_TEXT * 2])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert refused(text).reason is Reason.MIX_INVALID


@given(st.text(max_size=60))
def test_any_text_is_a_mix_or_one_clear_error(text: str) -> None:
    assert refused(text).reason is Reason.MIX_INVALID


def test_shares_that_do_not_sum_to_one_name_sum_and_difference() -> None:
    error = refused(YAML.replace("share: 15%", "share: 10%"))
    assert (error.reason, error.where) == (Reason.MIX_SHARES, "sources")
    assert "19/20 (95 %)" in error.message
    assert "1/20 (5 %) too little" in error.message


def test_more_than_one_mistake_is_named(mapping: Mapping) -> None:
    with pytest.raises(RecollectError, match=r"\(also wrong: seed\)"):
        Mix.from_mapping(mapping(batch_size=0, seed=-1))


def test_several_sources_may_have_the_same_role() -> None:
    assert mix_from_yaml(YAML.replace("role: general", "role: task")).sources[1].role == "task"


def test_without_steps_a_source_must_stop(mapping: Mapping) -> None:
    changed = mapping(num_steps=None)
    changed["sources"][2]["on_exhaustion"] = "stop"
    assert Mix.from_mapping(changed).num_steps is None


def test_the_schema_describes_the_yaml() -> None:
    schema = Mix.json_schema()
    assert set(schema["required"]) == {"name", "batch_size", "max_length", "sources"}
    assert schema["additionalProperties"] is False
    assert "anyOf" in schema["$defs"]["SourceShare"]["properties"]["share"]


CHANGES = """
changes:
  - first_step: 100
    shares: {tickets: 60%, general: 25%, written: 1/10, refusals: 0.05}
    reason: general knowledge slips
  - first_step: 500
    shares: {tickets: 1, general: 0, written: 0, refusals: 0}
"""


def test_changes_are_stages_of_the_timeline() -> None:
    timeline = mix_from_yaml(YAML + CHANGES).timeline
    assert timeline.firsts == [0, 3200, 16000]
    assert timeline.stages[1].shares == tuple(Fraction(n, 20) for n in (12, 5, 2, 1))
    assert mix_from_yaml(YAML).timeline.firsts == [0]
    assert mix_from_yaml(mix_from_yaml(YAML + CHANGES).to_json()) == mix_from_yaml(YAML + CHANGES)


@pytest.mark.parametrize("first_step", [1000, 1001])
def test_a_change_beyond_the_last_step_can_be_read_but_not_sealed(first_step: int) -> None:
    mix_from_yaml(YAML + CHANGES.replace("500", "999")).require_reach()
    mix = mix_from_yaml(YAML + CHANGES.replace("500", str(first_step)))
    with pytest.raises(RecollectError, match="the last step is 999") as caught:
        mix.require_reach()
    assert caught.value.reason is Reason.MIX_INVALID
    assert caught.value.where == "changes[1].first_step"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("first_step: 500", "first_step: 100", "changes[1].first_step"),
        ("first_step: 100", "first_step: 0", "changes[0].first_step"),
        ("refusals: 0.05}", "others: 0.05}", "changes[0].shares"),
        ("tickets: 60%", "tickets: 61%", "changes[0].shares"),
        ("tickets: 1,", "tickets: nan,", "changes[1].shares"),
        ("tickets: 1,", "tickets: -1,", "changes[1].shares"),
    ],
)
def test_a_change_that_cannot_be_is_named(old: str, new: str, where: str) -> None:
    with pytest.raises(RecollectError) as caught:
        mix_from_yaml(YAML + CHANGES.replace(old, new))
    assert caught.value.where.startswith(where)


def test_a_source_rests_only_where_there_are_changes() -> None:
    with pytest.raises(RecollectError, match="above 0"):
        mix_from_yaml(YAML.replace("share: 15%", "share: 0").replace("0.7", "0.85"))


def test_a_source_without_a_share_in_any_stage_is_refused() -> None:
    text = YAML.replace("share: 0.7", "share: 0.85").replace("share: 15%", "share: 0")
    with pytest.raises(RecollectError, match="no share in any stage"):
        mix_from_yaml(text + CHANGES.replace("25%", "0").replace("60%", "85%"))
    assert mix_from_yaml(text + CHANGES).shares[1] == 0
