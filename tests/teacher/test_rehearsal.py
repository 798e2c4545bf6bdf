"""What the teacher writes is filtered, de-identified, counted and traceable."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Speaker
from recollect.services.privacy import StandIn
from recollect.services.teacher.frozen import FrozenTeacher
from recollect.services.teacher.rehearsal import (
    PRE_QUERY,
    Destination,
    Dropped,
    Prompt,
    Rehearsal,
    Rehearsing,
    distinct,
    prompt_tokens,
    read_back,
    row_seed,
)
from recollect.services.teacher.sampling import Writing, write

REHEARSING = Rehearsing(max_tokens=90, batch_size=16)


@dataclass(frozen=True)
class Cleaned:
    messages: Sequence[Message]
    findings: Sequence[tuple[str, int]]
    stand_ins: Sequence[StandIn] = ()


def clean(messages: Sequence[Message]) -> Cleaned:
    """Takes the word `order` for an identifier."""
    replaced = [replace(m, content=m.content.replace("order", "parcel")) for m in messages]
    num = sum(m.content.count("order") for m in messages)
    return Cleaned(replaced, [("CODE", num)] if num else [])


def destination(kept: list[Example]) -> Destination:
    def keep(example: Example) -> bool:
        kept.append(example)
        return True

    return Destination(
        source="dreams",
        policy="policy-1",
        deidentify=clean,
        example_id=lambda source, messages: f"{source}/{messages[0].content}",
        seal=lambda example_id, _: example_id.encode(),
        keep=keep,
    )


def run(
    teacher: FrozenTeacher,
    num_examples: int = 8,
    *,
    seed: int = 3,
    rehearsing: Rehearsing = REHEARSING,
    prompts: Sequence[Prompt] = (),
) -> tuple[list[Example], Rehearsal]:
    kept: list[Example] = []
    rehearsal = Rehearsal(
        teacher=teacher,
        destination=destination(kept),
        rehearsing=rehearsing,
        seed=seed,
        prompts=prompts,
    )
    for tally in rehearsal.run(num_examples):
        assert tally.num_written == tally.num_kept + tally.drops.total()
        assert tally.num_kept == len(kept)
    return kept, rehearsal


def test_as_many_are_kept_as_were_asked_for(teacher: FrozenTeacher) -> None:
    kept, _ = run(teacher)
    assert len(kept) == 8
    assert len({example.messages for example in kept}) == 8
    for example in kept:
        assert [m.speaker for m in example.messages] == [Speaker.USER, Speaker.ASSISTANT]
        assert not any("<|" in m.content for m in example.messages)


def test_equal_seeds_give_equal_examples_whatever_the_batch_size(teacher: FrozenTeacher) -> None:
    reference, _ = run(teacher)
    assert run(teacher, rehearsing=REHEARSING.model_copy(update={"batch_size": 3}))[0] == reference
    assert run(teacher, seed=4)[0] != reference


def test_every_kept_text_went_through_deidentification(teacher: FrozenTeacher) -> None:
    kept, _ = run(teacher, 12)
    texts = [m.content for example in kept for m in example.messages]
    assert not any("order" in text for text in texts)
    for example in kept:
        num = sum(m.content.count("parcel") for m in example.messages)
        assert dict(example.findings).get("CODE", 0) == num
        assert example.policy == "policy-1"
        assert example.subject is None
    assert any(example.findings for example in kept)


def test_an_example_can_be_written_again_from_its_lineage_alone(teacher: FrozenTeacher) -> None:
    kept, _ = run(teacher)
    for example in kept:
        lineage = example.lineage
        assert lineage is not None
        assert lineage.teacher_digest == teacher.digest
        assert lineage.prompt_id == PRE_QUERY
        assert lineage.seed == row_seed(3, example.pointer.row - 1)
        row = write(
            teacher,
            [prompt_tokens(teacher, None)],
            seeds=[lineage.seed],
            turns=2,
            dice=REHEARSING.dice,
        )[0]
        assert tuple(clean(read_back(teacher, row, REHEARSING, None)).messages) == example.messages


def test_prompts_are_answered_in_turn(teacher: FrozenTeacher) -> None:
    prompts = [
        Prompt(prompt_id="general:a", text="what is the sum of three and four"),
        Prompt(prompt_id="general:b", text="write a <|end|> note to thank a friend"),
    ]
    kept, _ = run(teacher, 4, prompts=prompts)
    by_id = {prompt.prompt_id: prompt.text for prompt in prompts}
    assert kept
    for example in kept:
        assert example.lineage is not None
        assert example.messages[0].content == by_id[example.lineage.prompt_id]


def test_control_tokens_in_a_prompt_stay_text(teacher: FrozenTeacher) -> None:
    tokens = prompt_tokens(teacher, Prompt(prompt_id="p", text="a <|end|><|assistant|> b"))
    assert [token for token in tokens if token < 6] == [3, 1, 4]


def test_repeated_answers_are_dropped_as_duplicates(teacher: FrozenTeacher) -> None:
    greedy = REHEARSING.model_copy(update={"top_p": 1e-9})
    prompts = [Prompt(prompt_id="general:a", text="what is the sum of three and four")]
    kept, rehearsal = run(teacher, 2, rehearsing=greedy, prompts=prompts)
    assert len(kept) <= 1
    assert (
        rehearsal.tally.drops["duplicate"]
        + rehearsal.tally.num_kept
        + sum(count for reason, count in rehearsal.tally.drops.items() if reason != "duplicate")
        == 2 * greedy.max_written_per_kept
    )


def test_what_the_source_holds_already_counts_as_a_duplicate(teacher: FrozenTeacher) -> None:
    rehearsal = Rehearsal(
        teacher=teacher,
        destination=replace(destination([]), keep=lambda example: False),
        rehearsing=REHEARSING,
        seed=3,
    )
    tally = list(rehearsal.run(2))[-1]
    assert tally.num_kept == 0
    assert tally.num_written == 2 * REHEARSING.max_written_per_kept
    assert tally.drops["duplicate"] > 0


def test_what_cannot_be_deidentified_is_dropped_and_counted(teacher: FrozenTeacher) -> None:
    def refuse(messages: Sequence[Message]) -> Cleaned:
        raise RecollectError(Reason.DEIDENTIFICATION_FAILED, "a recognizer did not finish")

    kept: list[Example] = []
    rehearsal = Rehearsal(
        teacher=teacher,
        destination=replace(destination(kept), deidentify=refuse),
        rehearsing=REHEARSING,
        seed=3,
    )
    tally = list(rehearsal.run(2))[-1]
    assert not kept
    assert tally.drops["not_deidentified"] > 0


def chat(teacher: FrozenTeacher, question: str, answer: str) -> list[int]:
    return [3, *teacher.encode(question), 1, 4, *teacher.encode(answer), 1]


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("why now", "because it is so", "too_short"),
        ("what is the sum", "seven", "too_short"),
        ("what is the sum", "no no no no no no no no no no no no no", "repetitive"),
        ("what what what what what what what what", "because it is so", "repetitive"),
        ("what is the sum", "seven \N{REPLACEMENT CHARACTER} is it", "not_text"),
    ],
)
def test_filters_name_their_reason(
    teacher: FrozenTeacher, question: str, answer: str, reason: str
) -> None:
    row = Writing(seed=0, tokens=chat(teacher, question, answer), turns_left=0, finished=True)
    with pytest.raises(Dropped) as caught:
        read_back(teacher, row, REHEARSING, None)
    assert caught.value.reason == reason


def test_a_good_row_is_read_back_whole(teacher: FrozenTeacher) -> None:
    row = Writing(
        seed=0,
        tokens=chat(teacher, "what is the sum", "the sum is seven"),
        turns_left=0,
        finished=True,
    )
    texts = [m.content for m in read_back(teacher, row, REHEARSING, None)]
    assert texts == ["what is the sum", "the sum is seven"]


@pytest.mark.parametrize(("stopped", "reason"), [(True, "control_token"), (False, "unfinished")])
def test_a_row_that_did_not_end_is_dropped(
    teacher: FrozenTeacher, stopped: bool, reason: str
) -> None:
    row = Writing(seed=0, tokens=[3, 40, 41], turns_left=2, stopped=stopped)
    with pytest.raises(Dropped) as caught:
        read_back(teacher, row, REHEARSING, None)
    assert caught.value.reason == reason


@given(st.lists(st.integers(0, 5), max_size=30))
def test_distinct_is_a_share_and_falls_when_text_repeats(tokens: list[int]) -> None:
    assert 0 < distinct(tokens) <= 1
    if len(tokens) >= 3:
        assert distinct(tokens * 4) <= distinct(tokens * 2) <= 1
        assert distinct(tokens * 8) <= 1 / 2


@given(st.lists(st.tuples(st.integers(), st.integers(0, 10**6)), unique=True, max_size=50))
def test_row_seeds_fit_a_lineage_and_do_not_meet(pairs: list[tuple[int, int]]) -> None:
    seeds = [row_seed(seed, attempt) for seed, attempt in pairs]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == len(pairs)
