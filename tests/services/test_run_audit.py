"""The auditor recounts a run from the ledger: what fits the plan passes, anything else is named."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Purpose, Role
from recollect.mixer.holding import holding
from recollect.mixer.measures import Measures
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal
from recollect.services.ledger import JSON, Ledger
from recollect.services.planbook import PlanBook
from recollect.services.run_audit import RunAudit, audit_run
from recollect.services.yaml_text import mix_from_yaml

MIX = """
version: 1
name: audited
unit: examples
batch_size: 8
num_steps: 5
max_length: 16
seed: 3
sources:
  - {source: support, role: task, share: 3/4}
  - {source: skills, role: general, share: 1/4}
"""
RUN = "run-1"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def plan() -> Plan:
    held = {
        name: SourceSnapshot(
            name=name, role=role, purpose=Purpose.TRAIN, num_examples=50, content_digest=name
        )
        for name, role in (("support", Role.TASK), ("skills", Role.GENERAL))
    }
    return seal(mix_from_yaml(MIX), snapshot_id="s", sources=held, tokenizer_digest="t")


@pytest.fixture
def planbook(ledger: Ledger, plan: Plan) -> PlanBook:
    book = PlanBook(ledger)
    book.seal(plan, actor="test")
    ledger.append("run_started", {"run_id": RUN, "plan_id": plan.plan_id}, actor="test")
    return book


def _acknowledge(
    ledger: Ledger,
    plan: Plan,
    step: int,
    *,
    world_size: int = 1,
    ranks: tuple[int, ...] = (),
    **wrong: JSON,
) -> None:
    """What the stream service writes when ranks acknowledge a step."""
    for rank in ranks or range(world_size):
        shard = plan.shard(step, rank, world_size)
        counts = shard.counts(len(plan.sources)).tolist()
        names = [source.name for source in plan.sources]
        body: dict[str, JSON] = {
            "run_id": RUN,
            "step": step,
            "rank": rank,
            "world_size": world_size,
            "digest": shard.digest.hex(),
            "counts": dict(zip(names, counts, strict=True)),
        }
        ledger.append("batch_acknowledged", body | wrong, actor="stream")


def _audit(ledger: Ledger, planbook: PlanBook) -> RunAudit:
    return audit_run(RUN, ledger.entries(), planbook)


def _finish(ledger: Ledger) -> None:
    ledger.append("run_finished", {"run_id": RUN, "measurements": []}, actor="test")


def test_a_run_that_followed_its_plan_passes(
    ledger: Ledger, plan: Plan, planbook: PlanBook
) -> None:
    for step in range(5):
        _acknowledge(ledger, plan, step)
    _finish(ledger)
    audit = _audit(ledger, planbook)
    assert audit.differences == ()
    assert (audit.num_steps, audit.trained, audit.planned) == (5, (30, 10), (30, 10))
    assert audit.finished
    assert all(worst < 1 for worst in audit.max_deviation)


def test_several_ranks_and_a_change_of_their_number_pass(
    ledger: Ledger, plan: Plan, planbook: PlanBook
) -> None:
    for step in range(2):
        _acknowledge(ledger, plan, step, world_size=4)
    _acknowledge(ledger, plan, 2, world_size=4, ranks=(0, 1))
    for step in range(2, 5):
        _acknowledge(ledger, plan, step, world_size=3)
    _finish(ledger)
    audit = _audit(ledger, planbook)
    assert audit.differences == ()
    assert (audit.num_steps, audit.trained) == (5, (30, 10))


def test_a_wrong_digest_is_named(ledger: Ledger, plan: Plan, planbook: PlanBook) -> None:
    _acknowledge(ledger, plan, 0)
    _acknowledge(ledger, plan, 1, digest="00" * 32)
    assert _audit(ledger, planbook).differences == ("step 1, rank 0: the digest is not the plan's",)


def test_wrong_counts_are_named(ledger: Ledger, plan: Plan, planbook: PlanBook) -> None:
    _acknowledge(ledger, plan, 0, counts={"support": 8, "skills": 0})
    differences = " ".join(_audit(ledger, planbook).differences)
    assert "support: trained on 8 rows, planned 6" in differences
    assert "skills: off its share by 2.00 rows" in differences


def test_rows_of_a_source_that_the_plan_does_not_have_are_named(
    ledger: Ledger, plan: Plan, planbook: PlanBook
) -> None:
    _acknowledge(ledger, plan, 0, counts={"support": 6, "skills": 2, "private": 1})
    assert "rows of private" in " ".join(_audit(ledger, planbook).differences)


def test_a_missing_step_is_named(ledger: Ledger, plan: Plan, planbook: PlanBook) -> None:
    for step in (0, 2):
        _acknowledge(ledger, plan, step)
    assert _audit(ledger, planbook).differences == (
        "step 1 is missing, yet step 2 was acknowledged",
    )


def test_a_missing_rank_is_a_missing_step(ledger: Ledger, plan: Plan, planbook: PlanBook) -> None:
    _acknowledge(ledger, plan, 0, world_size=2, ranks=(1,))
    _acknowledge(ledger, plan, 1, world_size=2)
    assert _audit(ledger, planbook).num_steps == 0
    assert "step 0 is missing" in " ".join(_audit(ledger, planbook).differences)


def test_a_run_that_ended_early_is_named_and_one_that_goes_on_is_not(
    ledger: Ledger, plan: Plan, planbook: PlanBook
) -> None:
    _acknowledge(ledger, plan, 0)
    assert _audit(ledger, planbook).differences == ()
    _finish(ledger)
    assert _audit(ledger, planbook).differences == ("finished after 1 of 5 steps",)


def test_a_run_that_never_began_is_unknown(ledger: Ledger, planbook: PlanBook) -> None:
    with pytest.raises(RecollectError) as caught:
        audit_run("never", ledger.entries(), planbook)
    assert caught.value.reason is Reason.RUN_UNKNOWN


LENGTHS = {"support": [30, 41, 12, 25, 60, 33], "skills": [8, 15, 9]}


@pytest.fixture(params=["none", "best_fit", "split"])
def weighed(request: pytest.FixtureRequest, ledger: Ledger) -> Plan:
    """A plan whose shares are of tokens, and a run of it that has begun."""
    text = MIX.replace("unit: examples", f"unit: tokens\npacking: {request.param}")
    measures = {
        name: Measures.of_masks(np.array(lengths), np.arange(sum(lengths)) % 3 > 0)
        for name, lengths in LENGTHS.items()
    }
    held = {
        name: SourceSnapshot(
            name=name,
            role=role,
            purpose=Purpose.TRAIN,
            num_examples=len(LENGTHS[name]),
            content_digest=name,
        )
        for name, role in (("support", Role.TASK), ("skills", Role.GENERAL))
    }
    plan = seal(
        mix_from_yaml(text.replace("max_length: 16", "max_length: 48")),
        snapshot_id="s",
        sources=held,
        tokenizer_digest="t",
        measures=measures,
    )
    ledger.append("run_started", {"run_id": RUN, "plan_id": plan.plan_id}, actor="test")
    return plan


class Book:
    def __init__(self, plan: Plan) -> None:
        self.only = plan

    def plan(self, plan_id: str) -> Plan:
        return self.only


def _acknowledge_tokens(ledger: Ledger, plan: Plan, step: int, **wrong: JSON) -> None:
    held = holding(plan, plan.batch(step))
    assert held.num_tokens is not None and held.num_supervised_tokens is not None
    names = [source.name for source in plan.sources]
    counted: dict[str, Any] = {
        "digest": held.digest.hex(),
        "tokens": dict(zip(names, held.num_tokens.tolist(), strict=True)),
        "supervised_tokens": dict(zip(names, held.num_supervised_tokens.tolist(), strict=True)),
    }
    body = {name: value for name, value in (counted | wrong).items() if value is not None}
    _acknowledge(ledger, plan, step, **body)


def test_shares_of_tokens_are_recounted(ledger: Ledger, weighed: Plan) -> None:
    for step in range(5):
        _acknowledge_tokens(ledger, weighed, step)
    audit = audit_run(RUN, ledger.entries(), Book(weighed))
    assert audit.differences == ()
    assert audit.tokens is not None and audit.supervised_tokens is not None
    assert audit.trained == audit.planned and sum(audit.planned) == 40
    largest = max(int(rows.tokens.max()) for rows in weighed.source_rows)
    assert 0 < max(audit.max_deviation) <= largest
    assert audit.realised[0] == Fraction(audit.tokens[0], sum(audit.tokens))
    assert abs(audit.realised[0] - Fraction(3, 4)) * sum(audit.tokens) <= largest


def test_tokens_that_are_not_those_of_the_plan_are_named(ledger: Ledger, weighed: Plan) -> None:
    _acknowledge_tokens(ledger, weighed, 0, tokens={"support": 900, "skills": 0})
    _acknowledge_tokens(ledger, weighed, 1, supervised_tokens={"support": 1})
    differences = " ".join(audit_run(RUN, ledger.entries(), Book(weighed)).differences)
    assert "step 0, rank 0: the tokens are not the plan's" in differences
    assert "step 1, rank 0: the supervised tokens are not the plan's" in differences
    assert "support: off its share by" in differences


def test_a_run_by_tokens_that_did_not_count_them_is_named(ledger: Ledger, weighed: Plan) -> None:
    _acknowledge_tokens(ledger, weighed, 0, tokens=None, supervised_tokens=None)
    audit = audit_run(RUN, ledger.entries(), Book(weighed))
    assert audit.differences == (
        "step 0, rank 0: the tokens were not counted",
        "step 0, rank 0: the supervised tokens were not counted",
    )
    assert audit.tokens is None and audit.supervised_tokens is None
    assert audit.realised == (Fraction(0), Fraction(0))


def test_acknowledgements_from_before_tokens_were_counted_are_read(
    ledger: Ledger, plan: Plan, planbook: PlanBook
) -> None:
    _acknowledge(ledger, plan, 0)
    _acknowledge(ledger, plan, 1, tokens={"support": 70}, supervised_tokens={"support": 30})
    audit = _audit(ledger, planbook)
    assert (audit.differences, audit.tokens) == ((), None)
    assert audit.realised == (Fraction(3, 4), Fraction(1, 4))
