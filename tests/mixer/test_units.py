from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.measures import Measures
from recollect.mixer.mix import Mix, canonical_json
from recollect.mixer.plan import Plan, plan_id_of, weights_of
from recollect.mixer.sealing import differences, read_plan, seal

from .corpus import held, mapping, measures, plan

TOKEN_PLANS = [
    {"unit": "tokens"},
    {"unit": "supervised_tokens"},
    {"unit": "tokens", "packing": "best_fit"},
    {"unit": "tokens", "packing": "split"},
    {"unit": "supervised_tokens", "packing": "best_fit"},
]
RESTING = [
    {"first_step": 31, "shares": {"tickets": "1/2", "general": "1/2", "written": 0, "refusals": 0}},
    {
        "first_step": 77,
        "shares": {"tickets": "1/3", "general": "1/3", "written": "1/6", "refusals": "1/6"},
    },
]


def served_weights(sealed: Plan) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Source and weight of every row of a plan, in order."""
    rows = sealed.at(np.arange(sealed.num_positions), step=0)
    weights = np.zeros(len(rows), dtype=np.int64)
    for index, source in enumerate(sealed.source_rows):
        here = rows.sources == index
        weights[here] = weights_of(sealed.mix.unit, source)[rows.examples[here]]
    return rows.sources, weights


@pytest.mark.parametrize("changes", TOKEN_PLANS, ids=str)
def test_the_share_of_the_unit_is_within_one_longest_row_at_every_prefix(
    changes: dict[str, Any],
) -> None:
    sealed = plan(**changes)
    sources, weights = served_weights(sealed)
    longest = max(int(weights_of(sealed.mix.unit, rows).max()) for rows in sealed.source_rows)
    for index, source in enumerate(sealed.sources):
        own = np.cumsum(weights * (sources == index))
        numerator, denominator = source.share.as_integer_ratio()
        off = own * denominator - np.cumsum(weights) * numerator
        assert int(np.abs(off).max()) <= longest * denominator


def test_equal_examples_are_not_equal_tokens() -> None:
    """What the unit is for: by examples, 5 % of refusals are about 1 % of the tokens."""
    by_examples = plan(packing="none")
    rows = by_examples.at(np.arange(by_examples.num_positions), step=0)
    lengths = [np.minimum(source.lengths, 128) for source in measures().values()]
    tokens = [int(lengths[index][rows.examples[rows.sources == index]].sum()) for index in range(4)]
    assert tokens[3] / sum(tokens) < 0.02
    sources, weights = served_weights(plan(unit="tokens"))
    assert weights[sources == 3].sum() / weights.sum() == pytest.approx(0.05, abs=0.001)


@pytest.mark.parametrize("packing", ["best_fit", "split"])
def test_every_token_is_served_once_per_pass(packing: str) -> None:
    sealed = plan(unit="examples", packing=packing, num_steps=400)
    rows = sealed.at(np.arange(sealed.num_positions), step=0)
    pieces = sealed.pieces(rows)
    for index, source in enumerate(sealed.source_rows):
        assert source.measures is not None
        mine = (rows.sources[pieces.rows] == index) & (rows.epochs[pieces.rows] == 0)
        assert rows.epochs[rows.sources == index].max() > 0
        tokens = [
            (example, token)
            for example, start, stop in zip(
                pieces.examples[mine].tolist(),
                pieces.starts[mine].tolist(),
                pieces.stops[mine].tolist(),
                strict=True,
            )
            for token in range(start, stop)
        ]
        assert len(tokens) == len(set(tokens)) == int(source.measures.lengths.sum())


@pytest.mark.parametrize("changes", [*TOKEN_PLANS, {"packing": "best_fit"}], ids=str)
def test_a_plan_needs_its_measures_and_no_others(changes: dict[str, Any]) -> None:
    sealed = plan(**changes)
    read = read_plan(sealed.to_json())
    assert read == sealed
    with pytest.raises(RecollectError) as caught:
        read.batch(0)
    assert caught.value.reason is Reason.MEASURES_DIFFER
    with pytest.raises(RecollectError, match="'general' have the digest"):
        read.with_measures({**measures(), "general": measures(1)["general"]})
    complete = read_plan(sealed.to_json(), measures())
    for step in (0, 57, 119):
        assert complete.batch(step).digest == sealed.batch(step).digest


def test_measures_of_other_examples_are_refused() -> None:
    fewer = {**measures(), "general": measures()["refusals"]}
    for given in ({}, None, fewer):
        with pytest.raises(RecollectError) as caught:
            seal(
                Mix.from_mapping(mapping(unit="tokens")),
                snapshot_id="first",
                sources=held(),
                tokenizer_digest="f" * 64,
                measures=given,
            )
        assert caught.value.reason is Reason.MEASURES_DIFFER


@pytest.mark.parametrize("changes", TOKEN_PLANS, ids=str)
def test_world_sizes_may_change_in_the_middle_of_an_epoch(changes: dict[str, Any]) -> None:
    """1 → 3 → 8 → 5 ranks with changes of shares and erased examples: nothing lost or repeated."""
    undisturbed = plan(**changes, changes=RESTING)
    gone = {"tickets": np.arange(0, 700, 7), "refusals": np.arange(50)}
    disturbed = read_plan(undisturbed.to_json(), measures())
    for world_size, steps in (
        (1, range(25)),
        (3, range(25, 50)),
        (8, range(50, 80)),
        (5, range(80, 120)),
    ):
        for step in steps:
            batch = undisturbed.batch(step, gone)
            shards = [disturbed.shard(step, r, world_size, gone) for r in range(world_size)]
            keys = sorted(
                key
                for shard in shards
                for key in zip(
                    shard.positions.tolist(),
                    shard.sources.tolist(),
                    shard.examples.tolist(),
                    shard.epochs.tolist(),
                    strict=True,
                )
            )
            expected = zip(
                batch.positions.tolist(),
                batch.sources.tolist(),
                batch.examples.tolist(),
                batch.epochs.tolist(),
                strict=True,
            )
            assert keys == list(expected)
    assert undisturbed.num_steps == 120


def test_a_source_that_teaches_nothing_has_no_share_of_what_is_learnt() -> None:
    lengths = measures()["general"].lengths
    unlearnt = Measures.of_masks(lengths, np.zeros(int(lengths.sum()), dtype=np.bool_))
    with pytest.raises(RecollectError) as caught:
        seal(
            Mix.from_mapping(mapping(unit="supervised_tokens")),
            snapshot_id="first",
            sources=held(),
            tokenizer_digest="f" * 64,
            measures={**measures(), "general": unlearnt},
        )
    assert (caught.value.reason, caught.value.where) == (Reason.MIX_EMPTY_SOURCE, "sources[1]")


def test_a_plan_by_tokens_stops_when_its_source_is_used_up() -> None:
    sources = mapping()["sources"]
    sources[0]["on_exhaustion"] = "stop"
    sealed = plan(unit="tokens", num_steps=None, sources=sources)
    assert sealed.schedule.served(sealed.num_positions)[0] == 700
    rows = sealed.at(np.array([sealed.num_positions - 1]), step=0)
    tokens = served_weights(sealed)[1]
    total = int(np.minimum(measures()["tickets"].lengths, 128).sum())
    assert abs(Fraction(total, int(tokens.sum())) - Fraction(7, 10)) < Fraction(1, 100)
    assert rows.epochs[0] >= 0


def test_two_plans_say_where_they_differ() -> None:
    one = plan(unit="tokens")
    other = plan(unit="tokens", seed=4)
    assert differences(one, other) == ["mix.seed"]
    assert differences(one, one) == []
    changed = seal(
        one.mix,
        snapshot_id="second",
        sources=held(),
        tokenizer_digest="f" * 64,
        measures={**measures(), "general": measures(1)["general"]},
    )
    assert differences(one, changed) == ["snapshot_id", "sources[1].measures_digest"]


def test_masks_become_runs_and_back() -> None:
    lengths = np.array([3, 0, 4, 2])
    mask = np.array([0, 1, 1, 1, 0, 1, 1, 1, 0], dtype=np.bool_)
    found = Measures.of_masks(lengths, mask)
    assert found.run_starts.tolist() == [1, 0, 2, 0]
    assert found.run_stops.tolist() == [3, 1, 4, 1]
    assert found.run_offsets.tolist() == [0, 1, 1, 3, 4]
    firsts = np.concatenate(([0], np.cumsum(lengths)))
    for example, length in enumerate(lengths.tolist()):
        for start in range(length + 1):
            for stop in range(start, length + 1):
                count = found.supervised(*(np.array([x]) for x in (example, start, stop)))
                first = int(firsts[example])
                assert count[0] == mask[first + start + 1 : first + stop].sum()


def test_runs_outside_their_examples_are_refused() -> None:
    good = {"lengths": [3, 4], "run_offsets": [0, 1, 2], "run_starts": [0, 1], "run_stops": [2, 4]}
    Measures(**{name: np.array(values) for name, values in good.items()})
    for name, values in (
        ("run_stops", [4, 4]),
        ("run_starts", [2, 1]),
        ("run_offsets", [0, 2, 1]),
        ("run_offsets", [0, 2]),
        ("lengths", [3, -4]),
    ):
        bad = {**good, name: values}
        with pytest.raises(RecollectError) as caught:
            Measures(**{key: np.array(column) for key, column in bad.items()})
        assert caught.value.reason is Reason.MEASURES_DIFFER


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("num_positions",), 1921),
        (("num_positions",), 19),
        (("num_positions",), True),
        (("num_positions",), 10**30),
        (("sources", 0, "num_rows"), 1),
        (("sources", 0, "num_rows"), 0),
        (("sources", 0, "num_examples"), 10**9),
        (("sources", 0, "measures_digest"), ""),
        (("version",), 2.0),
    ],
)
@pytest.mark.parametrize("stops", [False, True])
def test_a_forged_plan_with_a_fitting_id_is_refused_by_its_measures(
    path: tuple[Any, ...], value: object, stops: bool
) -> None:
    sources = mapping()["sources"]
    if stops:
        sources[0]["on_exhaustion"] = "stop"
    honest = plan(unit="tokens", packing="best_fit", sources=sources)
    content = honest.content()
    target: Any = content
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    forged = canonical_json({**content, "plan_id": plan_id_of(content)})
    with pytest.raises(RecollectError) as caught:
        read_plan(forged, measures())
    expected = (Reason.PLAN_TAMPERED, Reason.MEASURES_DIFFER, Reason.VERSION_UNKNOWN)
    assert caught.value.reason in expected


def test_a_plan_by_tokens_that_takes_too_long_to_weigh_is_refused() -> None:
    with pytest.raises(RecollectError, match="has to be weighed") as caught:
        plan(unit="tokens", num_steps=10**9)
    assert caught.value.where == "num_steps"


def test_a_plan_with_other_rows_than_sealing_gives_is_refused() -> None:
    content = json.loads(plan(unit="tokens").to_json())
    content["sources"][0]["num_rows"] = -1
    content["num_positions"] = 0
    with pytest.raises(RecollectError) as caught:
        read_plan(json.dumps(content))
    assert caught.value.reason is Reason.PLAN_TAMPERED
