"""Model folders: loaded without running anything they bring, saved as safetensors alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..mixer.errors import Reason, RecollectError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FIX = "Give a folder with config.json, model.safetensors and tokenizer.json."


def load_model(folder: Path) -> PreTrainedModel:
    """The causal language model of a folder, in 32-bit floats.

    Raises:
        RecollectError: `MODEL_UNUSABLE` if weights, configuration or architecture are missing, are
            pickled, or would need code from the folder.
    """
    import torch
    from transformers import AutoModelForCausalLM

    _require(folder)
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
    return model


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
