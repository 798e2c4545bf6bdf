"""The model card of the shipped teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .corpus import HOLD_OUT, REPEATS, SOURCES

_TEXT = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---
# Recollect teacher, {parameters}

A small Llama-architecture language model, trained from nothing for Recollect's demo and tests. It
is the frozen teacher (it writes pseudo-rehearsal examples and scores tokens) and the base that the
demo fine-tunes. It knows simple English, the form of grade-school maths answers, short
instructions, and to refuse. It is a test object: **do not use it to answer anybody**.

SHA-256 of `model.safetensors`: `{digest}`

## Data

Rows whose question occurs in the shipped evaluation files (`services/demo/data/evaluate`) are left
out; so is one row in some of each source, as the table says. The support dialogues, which the demo
fine-tunes on, are not in it at all. Texts are cut at {length} tokens.

| source | what and licence | shown | held out |
|---|---|---|---|
{sources}

The licences' texts are in NOTICE. No share-alike data was used.

## How it was made

`python -m recollect.services.teacher.pretrain --data DIR`: one CPU core in float32 for about half
an hour. Nothing in it is random but for the seed; it was stopped and resumed from its checkpoints,
which hold all of its state. First {language_steps} steps of novels and short tasks, then
{behaviour_steps} of everything; AdamW, one cosine over both. Every token counts in the loss. The
tokenizer (byte-level BPE, {vocabulary} entries) is made from the first stage alone.

| | |
|---|---|
{recipe}

## Figures

Mean negative log-likelihood, nats per supervised token (`nll`), and greedy answers that begin like
a refusal (`refused`), on rows that were not trained on. `evaluate/support` is the task of the demo.

| figure | value |
|---|---|
{figures}

## Limits

About a million parameters: it invents facts, sums wrongly and loses the thread after a sentence. It
tells harmful requests from harmless ones by their form, so it also refuses harmless requests that
look harmful, as the figures show. English only. It was trained on novels of 1840-1920 and carries
their attitudes.
"""


def write_card(out: Path, *, recipe: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Writes MODEL_CARD.md beside the weights."""
    weights = (out / "model.safetensors").read_bytes()
    text = _TEXT.format(
        parameters=f"{len(weights) / 4e6:.1f} million parameters",
        digest=hashlib.sha256(weights).hexdigest(),
        length=recipe["length"],
        language_steps=recipe["language_steps"],
        behaviour_steps=recipe["behaviour_steps"],
        vocabulary=recipe["vocabulary"],
        sources="\n".join(
            f"| {name} | {what} | {REPEATS[name]} × | 1 in {HOLD_OUT[name]} |"
            for name, what in SOURCES.items()
        ),
        recipe=_rows(recipe),
        figures=_rows(figures),
    )
    (out / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def _rows(values: Mapping[str, Any]) -> str:
    return "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in values.items())
