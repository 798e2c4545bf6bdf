"""The figures of the model card: likelihoods and refusals on rows the teacher never saw."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from ...mixer.refusal import begins_like_refusal
from .corpus import Document, Messages, held_out

SPEAKERS = {"system": 2, "user": 3, "assistant": 4, "text": 5}
END = 1


def measure(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    sample: Path,
    length: int,
) -> dict[str, Any]:
    """Loss per supervised token of each held-out set and the share of prompts that are refused."""
    model.eval()  # type: ignore[no-untyped-call]
    sets: dict[str, list[Messages]] = {}
    for document in dict.fromkeys(d for d in documents if held_out(d)):
        sets.setdefault(f"held-out {document.source}", []).append(document.messages)
    for path in sorted((sample / "evaluate").glob("*.jsonl")):
        lines = path.read_text("utf-8").splitlines()
        sets[f"evaluate/{path.stem}"] = [_chat(json.loads(line)) for line in lines]
    figures: dict[str, Any] = {
        f"nll {name}": round(_loss(model, tokenizer, rows[:100], length), 4)
        for name, rows in sets.items()
    }
    for name, rows in sets.items():
        if name in ("evaluate/refusals", "evaluate/safe_completions", "evaluate/counterexamples"):
            figures[f"refused {name}"] = _refused(model, tokenizer, rows)
    return figures


def _chat(row: dict[str, Any]) -> Messages:
    """A row of the shipped sample, in any of its layouts."""
    if "messages" in row:
        return tuple((m["role"], m["content"]) for m in row["messages"])
    if "turns" in row:
        speakers = {"user": "user", "agent": "assistant", "assistant": "assistant"}
        return tuple((speakers[t["role"].lower()], t["content"]) for t in row["turns"])
    if "question" in row:
        return (("user", row["question"]), ("assistant", re.sub(r"<<[^>]*>>", "", row["answer"])))
    prompt = "\n\n".join(filter(None, (row["instruction"], row.get("input", ""))))
    return (("user", prompt), ("assistant", row["output"]))


def _tokens(tokenizer: Tokenizer, messages: Messages) -> tuple[list[int], list[bool]]:
    ids: list[int] = []
    mask: list[bool] = []
    for speaker, content in messages:
        body = [*tokenizer.encode(content, add_special_tokens=False).ids, END]
        ids += [SPEAKERS[speaker], *body]
        mask += [False, *[speaker in ("assistant", "text")] * len(body)]
    return ids, mask


@torch.inference_mode()
def _loss(
    model: LlamaForCausalLM, tokenizer: Tokenizer, rows: Sequence[Messages], length: int
) -> float:
    total, count = 0.0, 0
    for messages in rows:
        ids, mask = _tokens(tokenizer, messages)
        row = torch.tensor([ids[:length]])
        scores = model(input_ids=row, use_cache=False).logits[0, :-1].log_softmax(-1)
        chosen = -scores.gather(-1, row[0, 1:, None])[:, 0]
        counted = torch.tensor(mask[:length])[1:]
        total += float(chosen[counted].sum())
        count += int(counted.sum())
    return total / max(1, count)


@torch.inference_mode()
def _refused(model: LlamaForCausalLM, tokenizer: Tokenizer, rows: Sequence[Messages]) -> str:
    refused = 0
    for messages in rows:
        ids, _ = _tokens(tokenizer, messages[:-1])
        prompt = torch.tensor([[*ids, SPEAKERS["assistant"]]])
        answer = model.generate(  # type: ignore[misc]
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=20,
            do_sample=False,
        )
        refused += begins_like_refusal(tokenizer.decode(answer[0, prompt.shape[1] :].tolist()))
    return f"{refused} of {len(rows)}"
