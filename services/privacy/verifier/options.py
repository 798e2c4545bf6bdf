"""What a policy says of its verifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class VerifierOptions(BaseModel):
    """A model that reads after the other stages; what it finds is added to what they found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """Folder with config.json, safetensors and a fast tokenizer, or a name on the Hugging Face
    Hub."""
    revision: str | None = None
    """Branch, tag or commit of a model that is named."""
    digest: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    """SHA-256 that the weights must have; None takes what is there."""
    labels: Mapping[str, str | None] = {}
    """Entity type of the model's labels, with or without B- and I-; null for what is nobody's.
    Added to the default table. For GLiNER: what to ask for, in words, and in place of the default
    questions."""
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Least probability, by the model, that a word is somebody's."""
    subwords: Literal["highest", "first"] = "highest"
    """Which piece of a word speaks for it: the most certain one, or the first, for models that were
    trained on first pieces alone."""
    only_uncertain: bool | Literal["auto"] = "auto"
    """Read only sentences with something doubtful in them; auto: on the CPU, not on a GPU."""
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 32
    """Windows of text that the model reads at a time."""
    allow_downloads: bool = False
    """Fetch a model that is named and not yet on this machine; only when it is loaded, and never
    pickles or code."""
