"""What is left: sampled fairly, judged by where stand-ins are, and bounded by what holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Pointer, Speaker
from recollect.services.privacy import Deidentifier, Finding, Policy, StandIn
from recollect.services.privacy.residual import (
    Outcome,
    Recapture,
    ResidualTally,
    Sample,
    Stratum,
    Verdict,
    draw_sample,
    judge,
)
from recollect.services.privacy.residual.detector import SecondDetector
from recollect.services.privacy.residual.lookalikes import could_be_stand_in
from recollect.services.privacy.residual.tally import UNREADABLE
from recollect.services.privacy.surrogates import Surrogates

KEY = b"k" * 32
NUM_SEEDS = 400
NAMES = ("Tobias Lindqvist", "Marta Nowak", "Giovanni Ricci", "Sarah Thompson", "Anna Kowalska")

sizes_of = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=6), st.integers(0, 300), min_size=1, max_size=6
)


@given(
    sizes=sizes_of,
    num_examples=st.integers(1, 500),
    per_source=st.integers(0, 50),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_sample_is_whole_fair_and_a_function_of_its_seed(
    sizes: dict[str, int], num_examples: int, per_source: int, seed: int
) -> None:
    drawn = draw_sample(sizes, num_examples=num_examples, per_source=per_source, seed=seed)
    again = draw_sample(sizes, num_examples=num_examples, per_source=per_source, seed=seed)
    assert drawn == again
    assert [one.source for one in drawn] == sorted(name for name in sizes if sizes[name])
    total = sum(sizes.values())
    assert sum(one.num_of_whole for one in drawn) == min(num_examples, total) * bool(total)
    for one in drawn:
        assert len(set(one.rows)) == len(one.rows)
        assert all(0 <= row < sizes[one.source] for row in one.rows)
        assert len(one.rows) == max(one.num_of_whole, min(per_source, sizes[one.source]))


@pytest.mark.parametrize("num_bad", [0, 1, 5, 40, 300])
def test_the_bound_covers_the_true_share_in_95_of_100_samples(num_bad: int) -> None:
    # All that is bad is in one small source: the worst case for a sample that were not fair.
    sizes = {"large": 4000, "middle": 700, "small": 300}
    num_covered = num_covered_small = 0
    for seed in range(NUM_SEEDS):
        drawn = draw_sample(sizes, num_examples=400, per_source=100, seed=seed)
        (small,) = (one for one in drawn if one.source == "small")
        of_whole = sum(row < num_bad for row in small.rows[: small.num_of_whole])
        whole = stratum(5000, 400, of_whole)
        own = stratum(300, len(small.rows), sum(row < num_bad for row in small.rows))
        num_covered += whole.at_most >= num_bad / 5000
        num_covered_small += own.at_most >= num_bad / 300
    assert num_covered >= 0.95 * NUM_SEEDS
    assert num_covered_small >= 0.95 * NUM_SEEDS


@given(n=st.integers(30, 100_000))
def test_of_nothing_in_n_the_bound_is_three_in_n(n: int) -> None:
    clean = stratum(10**9, n, 0)
    assert 0.95 * 3 / n < clean.at_most < 3 / n
    assert clean.at_most == pytest.approx(1 - 0.05 ** (1 / n))


@given(n=st.integers(1, 5000), data=st.data())
def test_bounds_are_above_what_was_seen_and_undecidable_only_raises_them(
    n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, n))
    unsure = data.draw(st.integers(0, n - k))
    some = stratum(2 * n, n, k, unsure)
    assert k / n <= some.at_most <= some.at_most_with_undecidable <= 1
    every = stratum(n, n, k, unsure)
    assert (every.at_most, every.at_most_with_undecidable) == (k / n, (k + unsure) / n)


def test_the_bound_by_recapture_is_the_bound_over_the_recall_and_never_below_it() -> None:
    found = outcome(stratum(10_000, 1000, 2, 3), Recapture(num_drawn=500, num_found=400))
    by_recapture = found.at_most_by_recapture
    assert by_recapture is not None
    assert by_recapture > found.whole.at_most_with_undecidable / 0.8
    assert (
        outcome(stratum(10, 5, 0), Recapture(num_drawn=0, num_found=0)).to_body()[
            "at_most_by_recapture"
        ]
        is None
    )


TEXT = "Dear Mr Senette Renleigh, call 212-736-5000 or Bob Senette Renleigh."
INVENTED = (8, 24)
AGAIN = (51, 67)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (INVENTED, Verdict.STAND_IN),
        ((12, 20), Verdict.STAND_IN),
        ((5, 24), Verdict.STAND_IN),  # "Dear" and "Mr" are nobody
        ((31, 43), Verdict.SURVIVING),
        ((47, 67), Verdict.UNDECIDABLE),  # "Bob" sticks out
        ((31, 67), Verdict.UNDECIDABLE),
    ],
)
def test_a_finding_is_judged_by_what_of_it_is_no_stand_in(
    found: tuple[int, int], verdict: Verdict
) -> None:
    finding = Finding(entity_type="PERSON", start=found[0], end=found[1], score=0.9)
    (one,) = judge([TEXT], [[finding]], places(INVENTED, AGAIN))
    assert one.verdict is verdict
    assert not set(one.shape) & set("BbobDearSentlgh0123457")


def test_what_a_tagger_hardly_believes_is_undecidable() -> None:
    for stage, score, verdict in (
        ("tagger", 0.49, Verdict.UNDECIDABLE),
        ("tagger", 0.5, Verdict.SURVIVING),
        ("lists", 0.4, Verdict.SURVIVING),
    ):
        finding = Finding(entity_type="PERSON", start=47, end=50, score=score, stage=stage)
        (one,) = judge([TEXT], [[finding]], ())
        assert one.verdict is verdict


def test_without_places_what_looks_like_a_stand_in_cannot_be_told() -> None:
    for span, kind, verdict in (
        (INVENTED, "PERSON", Verdict.UNDECIDABLE),
        ((31, 43), "PHONE_NUMBER", Verdict.SURVIVING),
        ((31, 43), "ACCOUNT_ID", Verdict.UNDECIDABLE),
    ):
        finding = Finding(entity_type=kind, start=span[0], end=span[1], score=0.9)
        (one,) = judge([TEXT], [[finding]], None)
        assert one.verdict is verdict


@given(
    kind=st.sampled_from(
        ["CREDIT_CARD", "EMAIL_ADDRESS", "IP_ADDRESS", "PERSON", "PHONE_NUMBER", "URL", "US_SSN"]
    ),
    key=st.binary(min_size=16, max_size=16),
)
def test_every_stand_in_looks_like_one_and_what_it_stands_for_does_not(
    kind: str, key: bytes
) -> None:
    real = {
        "CREDIT_CARD": "5555 3412 4444 1115",
        "EMAIL_ADDRESS": "marta@firma.example.org",
        "IP_ADDRESS": "10.20.30.40",
        "PERSON": "Marta Nowak",
        "PHONE_NUMBER": "212-736-5000",
        "URL": "https://firma.example.org/marta",
        "US_SSN": "219-09-9999",
    }[kind]
    assert could_be_stand_in(kind, Surrogates(key).stand_in(kind, real))
    assert not could_be_stand_in(kind, real)


PLANTED = {
    "PERSON": "I spoke to Sarah Thompson about the parcel.",
    "EMAIL_ADDRESS": "Write to sarah.thompson@firma.org please.",
    "PHONE_NUMBER": "Please call 212-736-5000 after noon.",
    "CREDIT_CARD": "It went to 5555 3412 4444 1115 last week.",
    "IBAN_CODE": "Refund it to DE89370400440532013000 please.",
    "US_SSN": "It says 219-09-9999 on the form.",
    "IP_ADDRESS": "The router is at 84.17.46.101 since Monday.",
    "ACCOUNT_ID": "It is 9876543210123 I think.",
    "URL": "See https://firma.org/sarah for it.",
}
HIDDEN = {
    "spelt out": "Write to sarah.thompson at firma dot org please.",
    "in brackets": "Write to sarah(at)firma.org please.",
    "over a line": "It went to 5555 3412\n4444 1115 last week.",
    "full-width": "Please call ２１２-７３６-５０００ after noon.",
}
HARMLESS = (
    "Dr. No was the first film, and 450,000 people saw it in May.",
    "She had 2000 / 40 = 50 apples, so 1250 - 250 = 1000 were left.",
    "Solve 8390 - (19392 + 11078) = 38390 - 30470 = 7920.",
    "Meet me at noon at the station. In the end it all went well.",
    "The Samsung Galaxy S23 is out of stock; move the knight to f3.",
)


@cache
def second() -> SecondDetector:
    return SecondDetector()


@pytest.mark.parametrize("kind", PLANTED)
def test_the_second_look_sees_what_is_planted(kind: str) -> None:
    (found,) = second().find([PLANTED[kind]])
    assert kind in {one.entity_type for one in found}


@pytest.mark.parametrize("how", HIDDEN)
def test_the_second_look_sees_what_is_hidden(how: str) -> None:
    (found,) = second().find([HIDDEN[how]])
    assert found
    assert all(one.end <= len(HIDDEN[how]) for one in found)


@pytest.mark.parametrize("text", HARMLESS)
def test_the_second_look_is_sure_of_nothing_in_harmless_text(text: str) -> None:
    (found,) = second().find([text])
    assert not [one for one in judge([text], [found], ()) if one.verdict is Verdict.SURVIVING]


class Remembering:
    """The second detector, which looks at each text once."""

    name = "remembering"

    def __init__(self) -> None:
        self._seen: dict[str, list[Finding]] = {}

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        for text in texts:
            if text not in self._seen:
                (self._seen[text],) = second().find([text])
        return [self._seen[text] for text in texts]


class Failing:
    """A detector that cannot be sure."""

    name = "failing"

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        raise RecollectError(Reason.DEIDENTIFICATION_FAILED, "It failed.")


def test_an_example_that_cannot_be_looked_at_is_undecidable() -> None:
    tally = ResidualTally([Failing()], SEALED.opened, 0)
    tally.take(example(0, "Hello.", ()), of_whole=True)
    (sample,) = draw_sample({"chats": 9}, num_examples=1, per_source=0, seed=0)
    found = tally.outcome([sample], snapshot_id="", detectors=[])
    assert (found.whole.num_surviving, found.whole.num_undecidable) == (0, 1)
    assert [one.entity_type for one in found.survivors] == [UNREADABLE]


@pytest.mark.slow
def test_audits_of_a_store_without_names_in_its_policy_bound_the_share_that_was_planted() -> None:
    stored = planted(num_examples=300, num_named=45, without=("PERSON",))
    finder = Remembering()
    num_covered = 0
    for seed in range(100):
        whole = audited(stored, finder, num_examples=80, seed=seed).whole
        num_covered += whole.at_most >= 45 / 300
    assert num_covered >= 95
    # All looked at: the share that was planted, exactly, of which nothing is told.
    every = audited(stored, finder, num_examples=300, seed=0)
    assert every.whole.num_surviving == 45
    assert every.whole.at_most == 45 / 300
    assert {one.name for one in every.entity_types if one.num_surviving} == {"PERSON"}
    told = str([asdict(one) for one in every.survivors]) + str(every.to_body())
    assert not any(part in told for name in NAMES for part in name.split())


@pytest.mark.slow
def test_a_store_of_stand_ins_is_clean_and_they_tell_what_the_second_look_sees() -> None:
    found = audited(
        planted(num_examples=300, num_named=150), Remembering(), num_examples=200, seed=3
    )
    assert found.whole.num_surviving == 0
    assert found.whole.at_most == pytest.approx(3 / 200, rel=0.01)
    again = found.recapture
    assert again.num_drawn > 150 and again.num_found / again.num_drawn > 0.8
    assert set(again.by_type) >= {"EMAIL_ADDRESS", "PERSON"}


SEALED = Deidentifier(Policy(), KEY).place_seal


def stratum(total: int, n: int, k: int, unsure: int = 0) -> Stratum:
    return Stratum(
        name="x", num_examples=total, num_sampled=n, num_surviving=k, num_undecidable=unsure
    )


def outcome(whole: Stratum, recapture: Recapture) -> Outcome:
    return Outcome(
        snapshot_id="",
        seed=0,
        detectors=(),
        whole=whole,
        sources=(),
        entity_types=(),
        recapture=recapture,
        num_without_places=0,
    )


def places(*spans: tuple[int, int]) -> tuple[StandIn, ...]:
    return tuple(
        StandIn(entity_type="PERSON", message=0, start=start, end=end) for start, end in spans
    )


def example(number: int, content: str, stand_ins: Sequence[StandIn]) -> Example:
    example_id = f"{number:032x}"
    return Example(
        example_id=example_id,
        source="chats",
        messages=(Message(speaker=Speaker.USER, content=content),),
        pointer=Pointer(file="a.jsonl", row=number),
        subject=None,
        policy="1",
        findings=(),
        stand_ins=SEALED.sealed(example_id, stand_ins),
    )


def planted(*, num_examples: int, num_named: int, without: tuple[str, ...] = ()) -> list[Example]:
    """Examples with an address each, the first of them with a name as well."""
    policy = Policy.from_mapping({"except": ["UK_NHS", *without]})
    deidentifier = Deidentifier(policy, KEY)
    stored = []
    for number in range(num_examples):
        name = NAMES[number % len(NAMES)]
        signed = f" My name is {name}." if number < num_named else ""
        text = f"Where is it?{signed} Answer to box{number}@firma.org please."
        clean = deidentifier.deidentify([Message(speaker=Speaker.USER, content=text)])
        stored.append(example(number, clean.messages[0].content, clean.stand_ins))
    return stored


def audited(
    stored: Sequence[Example], finder: Remembering, *, num_examples: int, seed: int
) -> Outcome:
    samples: list[Sample] = draw_sample(
        {"chats": len(stored)}, num_examples=num_examples, per_source=0, seed=seed
    )
    tally = ResidualTally([finder], SEALED.opened, seed)
    for row in np.array(samples[0].rows):
        tally.take(stored[row], of_whole=True)
    return tally.outcome(samples, snapshot_id="", detectors=[finder.name])
