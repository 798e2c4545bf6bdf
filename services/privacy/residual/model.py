"""A model of somebody's own as a second detector: any that a policy may have for its verifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....mixer.errors import Reason, RecollectError
from ..finding import Finding
from ..verifier import Verifier, VerifierOptions
from ..verifier.folder import model_folder, weights_digest
from .kinds import DIRECT


class ModelFinder:
    """A Hugging Face token classifier or a GLiNER model, which reads every text whole.

    Args:
        model: its folder, with config.json, safetensors and a fast tokenizer.

    Raises:
        RecollectError: MODEL_UNUSABLE, PACKAGE_MISSING, DEIDENTIFICATION_FAILED where it cannot
            read a plain sentence.
    """

    def __init__(self, model: Path) -> None:
        options = VerifierOptions(model=str(model), only_uncertain=False)
        folder = model_folder(options)
        self._verifier = Verifier.load(options, DIRECT)
        self._verifier.prove()
        self.name = f"model {folder.name} {weights_digest(folder)[:12]}"
        """What it is, with the digest of its weights."""

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """What the model finds in each of the texts.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED, whatever the model raised.
        """
        try:
            return self._verifier.find(texts)
        except Exception as error:
            # Its message may quote the text: only the kind of failure is passed on.
            raise RecollectError(
                Reason.DEIDENTIFICATION_FAILED,
                f"The model failed with {type(error).__name__}.",
            ) from None
