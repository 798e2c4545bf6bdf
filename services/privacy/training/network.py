"""The network: summed embeddings of a word's features, then dilated convolutions over the words.

Residual blocks after Strubell et al. 2017 (iterated dilated convolutions for tagging), without
normalisation, so that a block is one matrix product at run time (see ..tagger.network).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding_bag, relu

from ..tagger.labels import ANY, LABELS
from ..tagger.words import NUM_SHAPES, NUM_SUBWORDS, NUM_WORDS

WIDTH, HIDDEN = 96, 128
DILATIONS = (1, 2, 4, 8, 1)


class Network(nn.Module):
    """Scores of the labels for each word."""

    def __init__(self, drop: float = 0.15) -> None:
        super().__init__()
        self.drop = drop
        self.word = nn.Embedding(NUM_WORDS, WIDTH)
        self.subword = nn.Embedding(NUM_SUBWORDS, WIDTH)
        self.shape = nn.Embedding(NUM_SHAPES, WIDTH)
        for table in (self.word, self.subword, self.shape):
            nn.init.normal_(table.weight, std=0.1)
        self.space = nn.Parameter(torch.zeros(WIDTH))
        self.enter = nn.Linear(WIDTH, HIDDEN)
        self.blocks = nn.ModuleList(nn.Linear(3 * HIDDEN, HIDDEN) for _ in DILATIONS)
        self.leave = nn.Linear(HIDDEN, len(LABELS))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores, float32 of shape (words, labels), of a batch as `collate` makes it."""
        vectors = self._vectors(batch)
        real = (batch["ids"] >= 0).unsqueeze(1)
        x = vectors[batch["ids"].clamp(min=0)] + batch["spaced"].unsqueeze(1) * self.space
        x = dropout(x, self.drop, self.training)
        h = relu(self.enter(x)) * real
        for block, dilation in zip(self.blocks, DILATIONS, strict=True):
            near = torch.cat((_shifted(h, dilation), h, _shifted(h, -dilation)), 1)
            h = (h + dropout(relu(block(near)), self.drop, self.training)) * real
        scores: Tensor = self.leave(h)
        return scores

    def _vectors(self, batch: dict[str, Tensor]) -> Tensor:
        whole = self.word(batch["words"])
        if self.training:
            # Now and then the word itself is hidden, so that its parts learn to stand for it.
            whole = whole * (torch.rand(len(whole), 1) > 0.2)
        mask = torch.arange(batch["subwords"].shape[1]) < batch["counts"].unsqueeze(1)
        parts = embedding_bag(
            batch["subwords"],
            self.subword.weight,
            mode="sum",
            per_sample_weights=mask / batch["counts"].clamp(min=1).unsqueeze(1).sqrt(),
        )
        vectors: Tensor = whole + parts + self.shape(batch["shapes"])
        return vectors


def _shifted(h: Tensor, by: int) -> Tensor:
    zeros = torch.zeros_like(h[: abs(by)])
    return torch.cat((zeros, h[:-by]) if by > 0 else (h[-by:], zeros))


def loss_of(scores: Tensor, allowed: Tensor) -> Tensor:
    """Mean negative log-probability of the allowed labels over the words that are not left open."""
    known = allowed != ANY
    scores, allowed = scores[known], allowed[known]
    bits = torch.arange(len(LABELS))
    open_ = (allowed.unsqueeze(1) >> bits & 1).bool()
    log_z = torch.logsumexp(scores, 1)
    log_allowed = torch.logsumexp(scores.masked_fill(~open_, -torch.inf), 1)
    return (log_z - log_allowed).mean()


def weights_of(network: Network) -> dict[str, Any]:
    """What the run time reads: tables in 8 bits with a scale for each column, the rest in 16."""
    out: dict[str, Any] = {}
    for name, tensor in network.state_dict().items():
        values = tensor.detach().numpy()
        if name in {"word.weight", "subword.weight", "shape.weight"}:
            scale = abs(values).max(axis=0) / 127 + 1e-12
            out[name] = (values / scale).round().astype("int8")
            out[name + ".scale"] = scale.astype("float32")
        else:
            out[name] = values.astype("float16")
    return out
