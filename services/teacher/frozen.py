"""The frozen teacher: the model before fine-tuning, pinned by digest and unable to learn.

Its parameters are inference tensors: torch itself refuses to give them a gradient or to step an
optimizer over them, so no later line of code can thaw them by accident. Code that runs in inference
mode could still write into them, hence `ensure_unchanged`, which every job asks before its work
counts. The weights are read once, hashed and loaded from those same bytes: what was checked runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ...mixer.errors import Reason, RecollectError
from .turns import MarkedTurns, Turns

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

WEIGHTS_FILE = "model.safetensors"
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
"""Endings of files that may hold a pickle; a folder with one is refused as a whole."""
FORBIDDEN_KEYS = ("auto_map", "trust_remote_code", "quantization_config", "custom_pipelines")
"""Configuration keys that would make loading run or fetch something beyond plain weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenTeacher:
    """A Llama model that only answers."""

    model: nn.Module
    tokenizer: Tokenizer
    digest: str
    """SHA-256 of the weights file."""
    tokenizer_digest: str
    """SHA-256 of the tokenizer file."""
    num_parameters: int
    max_length: int
    """Longest sequence in tokens."""
    state_digest: str
    """SHA-256 of the parameters in memory, as they were when loaded."""
    own_turns: Turns | None = None
    """Those of a chat template of the tokenizer's own, if it has one."""

    @classmethod
    def load(cls, folder: Path, *, pinned_digest: str | None = None) -> FrozenTeacher:
        """The teacher in a model folder; refuses pickles, remote code and a digest not pinned."""
        config = _read_config(folder)
        weights = _read(folder / WEIGHTS_FILE)
        digest = hashlib.sha256(weights).hexdigest()
        if pinned_digest is not None and digest != pinned_digest:
            raise RecollectError(
                Reason.TEACHER_CHANGED,
                f"The weights have digest {digest}, but {pinned_digest} is pinned.",
                where=str(folder / WEIGHTS_FILE),
                fix="Restore the pinned weights, or pin the new digest on purpose.",
            )
        tokenizer_bytes = _read(folder / "tokenizer.json")
        try:
            model = _freeze(_build(config, weights))
            tokenizer = _build_tokenizer(tokenizer_bytes)
        except Exception as error:  # whatever a broken file makes the libraries raise
            raise _unusable(folder, f"The model cannot be built: {error}.") from error
        return cls(
            model=model,
            tokenizer=tokenizer,
            digest=digest,
            tokenizer_digest=hashlib.sha256(tokenizer_bytes).hexdigest(),
            num_parameters=sum(p.numel() for p in model.parameters()),
            max_length=int(config["max_position_embeddings"]),
            state_digest=_digest_of_parameters(model),
        )

    @property
    def device(self) -> Any:
        """The torch device that the parameters are on."""
        return next(self.model.parameters()).device

    def ensure_unchanged(self) -> None:
        """Refuses to go on if the parameters in memory are no longer those that were loaded."""
        if _digest_of_parameters(self.model) != self.state_digest:
            raise RecollectError(
                Reason.TEACHER_CHANGED,
                "The teacher's parameters were changed in memory.",
                where=self.digest,
                fix="Restart the service, and find the code that wrote into the teacher.",
            )

    @property
    def turns(self) -> Turns:
        """The tokens around what it writes; raises MODEL_UNUSABLE where they are not known."""
        return self.own_turns or MarkedTurns(self.token_id, self.encode)

    def token_id(self, token: str) -> int:
        """Id of a special token; the model is unusable without it."""
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise RecollectError(
                Reason.MODEL_UNUSABLE,
                f"The tokenizer has no token {token}, nor a chat template that ends turns so.",
                fix="Use a model with Recollect's turn markers, or one whose chat template ends "
                "what the user and what the assistant says with a special token.",
            )
        return int(found)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; what looks like a control token in it stays ordinary text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def log_probabilities(
        self, input_ids: Sequence[Sequence[int]], *, max_tokens: int = 4096
    ) -> list[NDArray[np.float32]]:
        """Natural-log probability of every token given those before it, per sequence.

        Each array is as long as its sequence; the first token, which nothing predicts, gets 0.
        Sequences are grouped by length so that a group holds at most `max_tokens` padded tokens.

        Raises:
            RecollectError: INPUT_TOO_LARGE, if one is longer than the teacher's context.
        """
        for index, ids in enumerate(input_ids):
            if len(ids) > self.max_length:
                raise RecollectError(
                    Reason.INPUT_TOO_LARGE,
                    f"it has {len(ids):,} tokens; the teacher takes {self.max_length:,}.",
                    where=f"sequence {index}",
                    fix=f"Cut it to {self.max_length:,} tokens.",
                )
        answers: list[NDArray[np.float32]] = [np.zeros(len(ids), np.float32) for ids in input_ids]
        for group in groups_by_length([len(ids) for ids in input_ids], max_tokens):
            for index, values in zip(
                group, self._score([input_ids[i] for i in group]), strict=True
            ):
                answers[index][1:] = values
        return answers

    def _score(self, rows: Sequence[Sequence[int]]) -> Iterator[NDArray[np.float32]]:
        import torch

        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        with torch.inference_mode():
            batch = torch.from_numpy(ids).to(self.device)
            # Padding stands on the right, where causal attention cannot see it.
            logits = self.model(input_ids=batch[:, :-1], use_cache=False).logits.float()
            nll = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), batch[:, 1:], reduction="none"
            )
            scores = (-nll).cpu().numpy()
        for number, row in enumerate(rows):
            yield scores[number, : len(row) - 1]


def groups_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of the sequences of two tokens or more, in groups of similar length.

    A group's padded size is at most `max_tokens`, unless it holds one sequence alone.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if lengths[index] < 2:
            continue
        if group and lengths[index] * (len(group) + 1) > max_tokens:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _read_config(folder: Path) -> dict[str, Any]:
    """The model's configuration, once the folder is known to hold nothing that runs."""
    if not folder.is_dir():
        raise _unusable(folder, "There is no such folder.")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise _unusable(folder, f"{path.name} may hold a pickle, which can run code.")
    config = _read_json(folder, "config.json")
    settings = [("config.json", config)]
    if (folder / "tokenizer_config.json").is_file():
        settings.append(("tokenizer_config.json", _read_json(folder, "tokenizer_config.json")))
    for name, content in settings:
        for key in FORBIDDEN_KEYS:
            if key in content:
                raise _unusable(folder, f"{name} has the key {key}, which asks for foreign code.")
    if config.get("model_type") != "llama" or "max_position_embeddings" not in config:
        raise _unusable(folder, f"Model type {config.get('model_type')!r} is not llama.")
    return config


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(_read(folder / name))
    except ValueError as error:
        raise _unusable(folder, f"{name} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise _unusable(folder, f"{name} is not a JSON object.")
    return content


def _build(config: dict[str, Any], weights: bytes) -> nn.Module:
    import torch
    from safetensors.torch import load
    from transformers import LlamaConfig, LlamaForCausalLM

    tensors = load(weights)
    cuda = torch.cuda.is_available()
    dtype = next(iter(tensors.values())).dtype if cuda else torch.float32
    settings = LlamaConfig.from_dict(config, attn_implementation="sdpa")
    model: nn.Module = LlamaForCausalLM(settings)
    result = model.load_state_dict(tensors, strict=False)
    tied = {"lm_head.weight"} if settings.tie_word_embeddings else set()
    if result.unexpected_keys or set(result.missing_keys) - tied:
        raise ValueError(f"missing {result.missing_keys}, unexpected {result.unexpected_keys}")
    return model.to(device="cuda" if cuda else "cpu", dtype=dtype)


def _freeze(model: nn.Module) -> nn.Module:
    """Makes every parameter an inference tensor and refuses training mode."""
    import torch

    model.eval()
    originals = list(model.parameters())  # tied tensors once; kept alive while ids are compared
    with torch.inference_mode():
        frozen = {
            id(original): torch.nn.Parameter(original.detach().clone(), requires_grad=False)
            for original in originals
        }
    for module in model.modules():
        for name, original in list(module.named_parameters(recurse=False)):
            setattr(module, name, frozen[id(original)])
    for module in model.modules():
        # An attribute of the instance shadows the method, for every part of the model.
        module.train = module.requires_grad_ = _refuse  # type: ignore[method-assign]
    return model


def _digest_of_parameters(model: nn.Module) -> str:
    import torch

    digest = hashlib.sha256()
    for parameter in model.parameters():
        # Viewed as bytes, for numpy knows no bfloat16.
        flat = parameter.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def _refuse(*_: object, **__: object) -> NoReturn:
    raise RecollectError(
        Reason.TEACHER_CHANGED,
        "The teacher is frozen and cannot be trained.",
        fix="Train a copy of the model loaded from its folder.",
    )


def _build_tokenizer(content: bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path.parent, f"{path.name} cannot be read: {error.strerror}.") from error


def _unusable(folder: Path, message: str) -> RecollectError:
    return RecollectError(
        Reason.MODEL_UNUSABLE,
        message,
        where=str(folder),
        fix="Give a Llama model: config.json, model.safetensors and tokenizer.json.",
    )
