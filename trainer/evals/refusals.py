"""How often a model refuses: greedy answers to evaluation prompts, judged by their opening."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from ...mixer.refusal import begins_like_refusal
from ..loop import RowBatch
from ..loss import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NUM_TOKENS = 20
"""Tokens of an answer that are written: an opening is told by far fewer."""


def prompts(batch: RowBatch) -> list[tuple[int, list[int]]]:
    """Place of the source and prompt of every row: the tokens before the first supervised one."""
    found = []
    rows = zip(batch.sources.tolist(), batch.input_ids, batch.labels, strict=True)
    for place, ids, labels in rows:
        supervised = (labels != IGNORED).nonzero()
        if len(supervised) and int(supervised[0]) > 0:
            found.append((place, ids[: int(supervised[0])].tolist()))
    return found


@torch.inference_mode()
def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[list[int]],
    *,
    num_tokens: int = NUM_TOKENS,
    rows: int = 32,
) -> list[str]:
    """The greedy continuation of each prompt; batched by length, with a key-value cache."""
    model.eval()  # type: ignore[no-untyped-call]
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
    written = [""] * len(asked)
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        width = max(len(asked[i]) for i in chosen)
        ids = torch.full((len(chosen), width), padding)
        mask = torch.zeros((len(chosen), width), dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, width - len(asked[i]) :] = torch.tensor(asked[i])
            mask[row, width - len(asked[i]) :] = 1
        out = model.generate(  # type: ignore[operator]
            ids,
            attention_mask=mask,
            max_new_tokens=num_tokens,
            do_sample=False,
            pad_token_id=padding,
        )
        texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        for row, i in enumerate(chosen):
            written[i] = texts[row]
    return written


def refused(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batches: Iterable[RowBatch],
    sources: Sequence[str],
) -> dict[str, list[bool]]:
    """For each source, whether each of its prompts is answered with a refusal."""
    asked = [pair for batch in batches for pair in prompts(batch)]
    texts = answers(model, tokenizer, [ids for _, ids in asked])
    marks: dict[str, list[bool]] = {}
    for (place, _), text in zip(asked, texts, strict=True):
        marks.setdefault(sources[place], []).append(begins_like_refusal(text))
    return marks
