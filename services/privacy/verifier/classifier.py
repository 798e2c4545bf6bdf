"""Any Hugging Face token classifier: loaded from safetensors, read in windows, by the batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..finding import Finding
from .folder import imported, unusable
from .labels import LabelTable, label_table
from .options import VerifierOptions
from .spans import Floats, word_findings
from .windows import Window, windows

_INSTALL = 'pip install "recollect[server]"'
_LONGEST = 512
"""Longest window in tokens, also of models that could read more: attention is quadratic."""
_OVERLAP = 4
"""A window shares a quarter of its tokens with the next."""
_LEAST = 8
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tokens:
    """One text as the model's tokenizer sees it, without special tokens."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class TokenClassifier:
    """A token classifier that reads texts of any length; on a GPU in half precision.

    Nothing is ever cut off: a long text is read in windows that overlap. Reading is deterministic,
    and safe from several threads.

    Args:
        folder: of the model.
        options: of the policy.
        wanted: entity types that the policy replaces.

    Raises:
        RecollectError: PACKAGE_MISSING; MODEL_UNUSABLE where the folder holds no such model with a
            fast tokenizer; POLICY_INVALID as `label_table` says.
    """

    def __init__(self, folder: Path, options: VerifierOptions, wanted: Collection[str]) -> None:
        self._torch = imported("torch", _INSTALL)
        self._options = options
        self.device = "cuda" if self._torch.cuda.is_available() else "cpu"
        """Where the model runs: `cuda` or `cpu`."""
        self._tokenizer = _load_tokenizer(folder)
        self._model = _load_model(folder, self._torch, self.device)
        self._table = _table_of(self._model.config, options, wanted)
        self._before, self._after = _special_tokens(self._tokenizer)
        self._pad = _pad_id(self._model.config)
        taken = len(self._before) + len(self._after)
        self._size = _limit(self._model) - taken
        if self._size < _LEAST:
            raise unusable(folder, f"the model reads only {self._size} tokens at a time")

    def read(self, texts: Sequence[str]) -> list[list[Finding]]:
        """What the model finds in each of the texts, whole.

        Raises:
            FloatingPointError: the model answered something that is no number.
        """
        table = self._table
        tokens = [self._tokens(text) for text in texts]
        totals = [np.zeros((len(t.ids), len(table.types)), np.float32) for t in tokens]
        begins = [np.zeros_like(total) for total in totals]
        for batch in self._batches(tokens):
            answers = self._probabilities([tokens[n].ids[w.first : w.last] for n, w in batch])
            for (number, window), answer in zip(batch, answers, strict=True):
                own = slice(window.own_first - window.first, window.own_last - window.first)
                where = slice(window.own_first, window.own_last)
                totals[number][where] = answer[own] @ table.totals
                begins[number][where] = answer[own] @ table.begins
        return [
            word_findings(
                text,
                read.offsets,
                total,
                begin,
                table.types,
                self._options.threshold,
                self._options.subwords,
            )
            for text, read, total, begin in zip(texts, tokens, totals, begins, strict=True)
        ]

    def _tokens(self, text: str) -> _Tokens:
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return _Tokens(ids=encoded.ids, offsets=encoded.offsets)

    def _batches(self, tokens: Sequence[_Tokens]) -> Iterator[list[tuple[int, Window]]]:
        """All windows of all texts, longest first, so that those of a batch are of a length."""
        every = [
            (number, window)
            for number, read in enumerate(tokens)
            for window in windows(len(read.ids), self._size, self._size // _OVERLAP)
        ]
        every.sort(key=lambda one: -len(one[1]))
        for start in range(0, len(every), self._options.max_batch):
            yield every[start : start + self._options.max_batch]

    def _probabilities(self, batch: Sequence[Sequence[int]]) -> list[Floats]:
        """Probabilities of the labels for the tokens of each window, shape (tokens, labels)."""
        torch = self._torch
        rows = [[*self._before, *ids, *self._after] for ids in batch]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self._pad] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
            ).logits.float()
            if not bool(torch.isfinite(logits).all()):
                # What is no number compares as "nothing found".
                raise FloatingPointError
            shares = logits.softmax(-1).cpu().numpy()
        skip = len(self._before)
        return [share[skip : skip + len(ids)] for share, ids in zip(shares, batch, strict=True)]


def _load_tokenizer(folder: Path) -> Any:
    """The Rust tokenizer of a folder; it is told never to cut anything off."""
    if not any(path for name in _VOCABULARIES for path in folder.glob(name)):
        # transformers would make an empty one, to which every word is unknown.
        raise unusable(folder, "there is no tokenizer.json")
    transformers = imported("transformers", _INSTALL)
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:
        raise unusable(folder, f"the tokenizer is unreadable ({type(error).__name__})") from None
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise unusable(
            folder,
            "the tokenizer does not tell which characters a token stands for",
            "Save its fast version: AutoTokenizer.from_pretrained(…).save_pretrained(FOLDER).",
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _load_model(folder: Path, torch: Any, device: str) -> Any:
    transformers = imported("transformers", _INSTALL)
    shown = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        model, told = transformers.AutoModelForTokenClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float16 if device == "cuda" else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise unusable(
            folder, f"it holds no token classifier that can be loaded ({type(error).__name__})"
        ) from None
    finally:
        if shown:
            transformers.logging.enable_progress_bar()
    missing = sorted(told["missing_keys"])
    if missing:
        # transformers would draw them at random, and say so in a log alone.
        raise unusable(
            folder,
            f"the weights lack {missing[0]}: the model was never trained to classify tokens",
            "Name a model whose config.json says …ForTokenClassification.",
        )
    return model.eval().to(device)


def _table_of(config: Any, options: VerifierOptions, wanted: Collection[str]) -> LabelTable:
    labels = [str(config.id2label[place]) for place in range(config.num_labels)]
    return label_table(labels, options.labels, wanted)


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that the model wants before a text, and behind it."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True)
    special = whole.special_tokens_mask
    first = next((i for i, one in enumerate(special) if not one), 0)
    return whole.ids[:first], whole.ids[first + len(plain) :]


def _pad_id(config: Any) -> int:
    pad = getattr(config, "pad_token_id", None)
    return int(pad) if pad is not None else 0


def _limit(model: Any) -> int:
    """Most tokens that the model takes, special ones included."""
    limit = _LONGEST
    places = getattr(model.config, "max_position_embeddings", None)
    if isinstance(places, int) and places > 0:
        limit = min(limit, places - _unused_places(model))
    return limit


def _unused_places(model: Any) -> int:
    """Positions that RoBERTa and its kin count up to before the first token."""
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return int(part.padding_idx) + 1
    return 0
