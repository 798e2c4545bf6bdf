"""Rows of the public data sets as tokens: lengths, and which tokens are supervised."""

from __future__ import annotations

import functools
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import recollect
from recollect.mixer.example import Message, Speaker
from recollect.services.stream.template import ChatTemplate

needs_data = pytest.mark.skipif(
    "RECOLLECT_DATA" not in os.environ,
    reason="RECOLLECT_DATA does not name the folder of public data sets",
)

NAMES = ("support", "arithmetic", "services", "refusals")
"""Support dialogues, GSM8K, SGD dialogues, and the refusals that ship."""

SERVICES = Path(recollect.__path__[0]) / "services"
SPEAKERS = {
    "user": Speaker.USER,
    "agent": Speaker.ASSISTANT,
    "system": Speaker.ASSISTANT,
    "assistant": Speaker.ASSISTANT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """One source as tokens, uncut."""

    lengths: npt.NDArray[np.int64]
    supervised: npt.NDArray[np.int64]
    """Marked tokens before each token of the source, and their number."""
    offsets: npt.NDArray[np.int64]
    """The first token of each example, and the number of tokens."""

    def supervised_in(self, capacity: int) -> npt.NDArray[np.int64]:
        """Supervised tokens of each example that is cut at `capacity`."""
        lasts = self.offsets[:-1] + np.minimum(self.lengths, capacity)
        return self.supervised[lasts] - self.supervised[self.offsets[:-1] + 1]


@functools.cache
def public_rows(name: str) -> Rows:
    """A source rendered with the tokenizer that ships."""
    template = ChatTemplate.load(SERVICES / "teacher" / "model")
    rendered = template.render_batch(list(_examples(name)), max_length=1 << 20)
    lengths = np.array([row.num_tokens for row in rendered], dtype=np.int64)
    mask = np.concatenate([row.loss_mask for row in rendered])
    return Rows(
        lengths=lengths,
        supervised=np.concatenate(([0], np.cumsum(mask, dtype=np.int64))),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
    )


def _examples(name: str) -> Iterator[list[Message]]:
    data = Path(os.environ["RECOLLECT_DATA"])
    if name == "support":
        for row in _lines(data / "task" / "support_dialogues.jsonl.gz"):
            yield [_said(turn["role"], turn["content"]) for turn in row["turns"]]
    elif name == "arithmetic":
        for row in _lines(data / "general" / "gsm8k_train.jsonl.gz"):
            yield [_said("user", row["question"]), _said("assistant", row["answer"])]
    elif name == "services":
        for row in _lines(data / "general" / "sgd_dialogues_train.jsonl.gz"):
            yield [_said(turn["speaker"], turn["utterance"]) for turn in row["turns"]]
    else:
        for row in _lines(SERVICES / "demo" / "data" / "train" / "refusals.jsonl"):
            yield [_said(turn["role"], turn["content"]) for turn in row["messages"]]


def _said(speaker: str, content: str) -> Message:
    return Message(speaker=SPEAKERS[speaker.lower()], content=content)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return map(json.loads, text.decode("utf-8").strip().split("\n"))
