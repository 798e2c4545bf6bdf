"""Rows are drawn exactly, by their own seeds, in whatever company."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.services.teacher.frozen import FrozenTeacher
from recollect.services.teacher.sampling import Dice, draw, write

Floats = npt.NDArray[np.float64]
DICE = Dice(temperature=1.0, top_p=0.95, max_tokens=60)


def nucleus(logits: Floats, temperature: float, top_p: float) -> Floats:
    """The distribution that is drawn from, written out in float64."""
    weights = np.exp((logits - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable")
    reached = np.cumsum(probabilities[order])
    kept = order[: int(np.searchsorted(reached, top_p)) + 1]
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept]
    normalised: Floats = result / result.sum()
    return normalised


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.floats(0.3, 2),
    top_p=st.floats(0.2, 1),
    size=st.sampled_from([12, 300]),
)
def test_draws_follow_the_nucleus_distribution(
    seed: int, temperature: float, top_p: float, size: int
) -> None:
    num_draws = 20_000
    logits = np.random.default_rng(seed).normal(0, 2, size=size)
    dice = Dice(temperature=temperature, top_p=top_p, max_tokens=1)
    # Evenly spaced draws make the frequencies exact up to the spacing.
    draws = (torch.arange(num_draws) + 0.5) / num_draws
    tokens = draw(torch.from_numpy(logits).expand(num_draws, -1), draws, dice)
    frequencies = np.bincount(tokens.numpy(), minlength=size) / num_draws
    expected = nucleus(logits, temperature, top_p)
    assert np.abs(frequencies - expected).max() < 3 / num_draws + 1e-5


def test_a_tiny_nucleus_is_greedy() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    dice = Dice(temperature=1.0, top_p=1e-9, max_tokens=1)
    for u in (0.0, 0.5, 0.999999):
        assert draw(logits, torch.tensor([u]), dice).tolist() == [1]


def test_a_row_does_not_depend_on_its_company(teacher: FrozenTeacher) -> None:
    prompts = [[3], [3, 20, 21, 1, 4], [3, 30, 1, 4], [3]]
    seeds = [1, 2, 3, 4]
    together = write(teacher, prompts, seeds=seeds, turns=1, dice=DICE)
    for prompt, seed, row in zip(prompts, seeds, together, strict=True):
        alone = write(teacher, [prompt], seeds=[seed], turns=1, dice=DICE)[0]
        assert alone.tokens == row.tokens
        assert row.tokens[: len(prompt)] == prompt


def test_seeds_decide_what_is_written(teacher: FrozenTeacher) -> None:
    first, again, other = (
        write(teacher, [[3]] * 6, seeds=range(start, start + 6), turns=2, dice=DICE)
        for start in (0, 0, 6)
    )
    assert [row.tokens for row in first] == [row.tokens for row in again]
    assert [row.tokens for row in first] != [row.tokens for row in other]


def test_turns_are_closed_and_the_template_opens_the_answer(teacher: FrozenTeacher) -> None:
    rows = write(teacher, [[3]] * 32, seeds=range(32), turns=2, dice=DICE)
    finished = [row for row in rows if row.finished]
    assert finished
    for row in finished:
        first = row.tokens.index(1)
        assert row.tokens[first + 1] == 4
        assert row.tokens[-1] == 1
        assert row.tokens.count(1) == 2


@pytest.mark.parametrize("limit", [8, 20, 500])
def test_no_row_is_longer_than_allowed(teacher: FrozenTeacher, limit: int) -> None:
    dice = Dice(temperature=2.0, top_p=1.0, max_tokens=limit)
    for row in write(teacher, [[3]] * 16, seeds=range(16), turns=2, dice=dice):
        # The template may place one token after the last that was drawn.
        assert len(row.tokens) <= min(limit, teacher.max_length) + 1
