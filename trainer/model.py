"""Model folders: loaded without running anything they bring, saved as safetensors alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..mixer.errors import Reason, RecollectError
from ..mixer.packing import Packing
from ..mixer.plan import Plan
from ..v1.tokenizer import TOKENIZER_FILE, UnusableTokenizer, tokenizer_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, slots=True)
class _Probe:
    """Packed rows that are not trained on."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    packed: bool = True

    @property
    def labels(self) -> torch.Tensor:
        return self.input_ids

    @property
    def attention_mask(self) -> torch.Tensor:
        return self.input_ids.new_ones(self.input_ids.shape)


def _probe(model: PreTrainedModel, start: int, length: int) -> torch.Tensor:
    """Two rows of tokens that differ at every place from those of another start."""
    import torch

    size = model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    row = (torch.arange(start, start + length) % size).to(model.device)
    return torch.stack([row, row.flip(0)])


_FIX = "Give a folder with config.json, model.safetensors and tokenizer.json."


def load_model(folder: Path, plan: Plan | None = None) -> PreTrainedModel:
    """The causal language model of a folder, in 32-bit floats.

    Args:
        folder: of the model.
        plan: whose rows it is to take; what does not fit is refused.

    Raises:
        RecollectError: `MODEL_UNUSABLE` if weights, configuration or architecture are missing, are
            pickled, or would need code from the folder; and as `require_tokenizer` and
            `require_rows` do.
    """
    import torch
    from transformers import AutoModelForCausalLM

    _require(folder)
    if plan is not None:
        require_tokenizer(folder, plan)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except Exception as error:
        raise _unusable(folder, f"the model cannot be loaded ({type(error).__name__})") from error
    if plan is not None:
        require_rows(model, plan)
    return model


def require_tokenizer(folder: Path, plan: Plan) -> None:
    """Refuses a model whose tokenizer is not the one that wrote the rows of a plan.

    Token ids of another tokenizer train without any error, towards nonsense. What is compared is
    the digest of `tokenizer.json` and of the chat template; a folder without a tokenizer claims
    none, and is not refused.

    Raises:
        RecollectError: `MODEL_UNUSABLE`.
    """
    if not (folder / TOKENIZER_FILE).is_file():
        return
    try:
        digest = tokenizer_digest(folder)
    except UnusableTokenizer as error:
        raise RecollectError(
            Reason.MODEL_UNUSABLE, str(error), where=str(folder / error.where), fix=error.fix
        ) from error
    if digest != plan.tokenizer_digest:
        raise RecollectError(
            Reason.MODEL_UNUSABLE,
            f"the plan's rows were written by the tokenizer {plan.tokenizer_digest[:12]}; the "
            f"model's is {digest[:12]}.",
            where=str(folder),
            fix="Train a model with the tokenizer and chat template of the service's "
            "teacher.folder, byte for byte, or serve this model's and seal the mix again.",
        )


def require_rows(model: PreTrainedModel, plan: Plan) -> None:
    """Refuses a plan whose rows the model cannot take as they are meant.

    Raises:
        RecollectError: `MIX_INVALID` if they may be longer than the model's positions;
            `MODEL_UNUSABLE` if they are packs, and it would see one piece from another.
    """
    require_length(model, plan.mix.max_length)
    if plan.mix.packing is not Packing.NONE:
        require_apart(model)


def require_apart(model: PreTrainedModel) -> None:
    """Refuses a model whose attention passes between the pieces of a row.

    Not every architecture and attention kernel reads piece boundaries from positions, and one that
    does not says nothing; so it is tried. Two rows, since some do so only for a single one.

    Raises:
        RecollectError: `MODEL_UNUSABLE`.
    """
    import torch

    from .loss import logits_of

    length = 8
    positions = torch.arange(length).repeat(2, 2).to(model.device)
    first, other = (_probe(model, start, length) for start in (0, 1))
    was_training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        seen = [
            logits_of(model, _Probe(input_ids=torch.cat([ids, first], 1), position_ids=positions))
            for ids in (first, other)
        ]
    model.train(was_training)
    if not torch.allclose(seen[0][:, length:], seen[1][:, length:], rtol=1e-3, atol=1e-4):
        raise RecollectError(
            Reason.MODEL_UNUSABLE,
            f"{type(model).__name__} lets what shares a packed row see one another.",
            where="packing",
            fix="Seal the mix with packing: none, or load the model with another attention "
            "implementation, such as sdpa.",
        )


def require_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuses rows that may be longer than the model's positions.

    Raises:
        RecollectError: `MIX_INVALID`.
    """
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and max_length > longest:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"rows of {max_length:,} tokens are longer than the model's {longest:,}.",
            where="max_length",
            fix=f"Seal a mix with max_length at most {longest}, or train a model with more "
            "positions.",
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder."""
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise _unusable(folder, "tokenizer.json is missing")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)  # type: ignore[no-any-return]
    except Exception as error:
        raise _unusable(folder, f"the tokenizer is unreadable ({type(error).__name__})") from error


def save_model(model: PreTrainedModel, folder: Path) -> str:
    """Writes the model into a folder and returns the digest of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    return weights_digest(folder)


def weights_digest(folder: Path) -> str:
    """SHA-256 in hex over the safetensors files of a folder, in the order of their names."""
    _require(folder)
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as weights:
            while block := weights.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise _unusable(folder, "there is no such folder")
    if not (folder / "config.json").is_file():
        raise _unusable(folder, "config.json is missing")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        why = "its weights are pickled, which may run code" if pickled else "it has no weights"
        raise _unusable(folder, why)


def _unusable(folder: Path, why: str) -> RecollectError:
    return RecollectError(Reason.MODEL_UNUSABLE, f"{why}.", where=str(folder), fix=_FIX)
