"""Sampling from the teacher: rows that go on together, each with its own stream of randomness.

Every row draws from a generator seeded by its own seed, by inverse distribution function, one draw
per token. So what a row says does not depend on which other rows are in its batch, and any example
can be written again from its lineage. Prompts of unequal length need no padding: all rows advance
one token a step, and a row that has prompt left takes its next token from there, not from the dice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .frozen import FrozenTeacher
from .turns import Turns

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Dice:
    """How the next token is drawn."""

    temperature: float
    """Above 0; 1 samples the teacher as it is."""
    top_p: float
    """Only the likeliest tokens that together reach this probability are drawn; 1 takes all."""
    max_tokens: int
    """Longest row, prompt included."""


@dataclass(slots=True)
class Writing:
    """A row while it is written."""

    seed: int
    tokens: list[int]
    """The prompt at first; what the teacher wrote is appended."""
    turns_left: int
    """How many turns the teacher still has to end."""
    finished: bool = False
    """True once all turns were ended; a row that met the length limit stays unfinished."""
    stopped: bool = False


def write(
    teacher: FrozenTeacher,
    prompts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[int],
    turns: int,
    dice: Dice,
) -> list[Writing]:
    """Continues each prompt until `turns` turns are ended, of which the last is an answer."""
    import torch

    rows = [
        Writing(seed=seed, tokens=list(prompt), turns_left=turns)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    limit = min(dice.max_tokens, teacher.max_length)
    with torch.inference_mode():
        _write(teacher, rows, draws=_draws(seeds, limit), limit=limit, dice=dice)
    return rows


def _write(
    teacher: FrozenTeacher, rows: list[Writing], *, draws: torch.Tensor, limit: int, dice: Dice
) -> None:
    import torch

    turns = teacher.turns
    active = list(range(len(rows)))
    length = min(len(row.tokens) for row in rows)
    inputs = torch.tensor([row.tokens[:length] for row in rows])
    cache: Any = None
    while active and length < limit:
        output: Any = teacher.model(
            input_ids=inputs.to(teacher.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        chosen = draw(output.logits[:, -1].float().cpu(), draws[active, length], dice)
        for index, token in zip(active, chosen.tolist(), strict=True):
            _advance(rows[index], token, length, turns)
        length += 1
        going = [place for place, index in enumerate(active) if not rows[index].stopped]
        if len(going) < len(active):
            chosen_rows = torch.tensor(going, dtype=torch.long, device=teacher.device)
            cache.batch_select_indices(chosen_rows)
            active = [active[place] for place in going]
        inputs = torch.tensor([rows[index].tokens[length - 1 : length] for index in active])


LIKELIEST = 128
"""Tokens put in order at first: mostly the nucleus is among them, and sorting all is dear."""


def _advance(row: Writing, token: int, length: int, turns: Turns) -> None:
    """Appends the token, unless the prompt or the template already says what stands there."""
    if length < len(row.tokens):
        return
    row.tokens.append(token)
    if token == (turns.answered if row.turns_left == 1 else turns.asked):
        row.turns_left -= 1
        row.stopped = row.finished = row.turns_left == 0
        if not row.finished:
            row.tokens.extend(turns.between)
    elif token in turns.reserved:
        row.stopped = True


def draw(logits: torch.Tensor, draws: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Token ids (n,) from logits (n, vocabulary) and uniform draws (n,), by nucleus sampling."""
    import torch

    probabilities = torch.softmax(logits / dice.temperature, dim=-1)
    ordered, tokens = torch.topk(probabilities, min(LIKELIEST, logits.shape[-1]), dim=-1)
    if bool((ordered.sum(-1) < dice.top_p + 1e-4).any()):
        ordered, tokens = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    cumulative = ordered.double().cumsum(-1)
    # A token is in the nucleus if those likelier than it do not reach top_p yet.
    before = torch.nn.functional.pad(cumulative[:, :-1], (1, 0))
    nucleus = (before < dice.top_p).sum(-1, keepdim=True)
    total = cumulative.gather(-1, nucleus - 1)
    place = torch.searchsorted(cumulative, draws[:, None].double() * total, right=True)
    return tokens.gather(-1, torch.minimum(place, nucleus - 1))[:, 0]


def _draws(seeds: Sequence[int], length: int) -> torch.Tensor:
    """Uniform draws in [0, 1) per row and position, each row's from its own seed."""
    import torch

    return torch.stack(
        [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
