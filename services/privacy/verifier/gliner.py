"""GLiNER models: asked in words for what is wanted (Zaratiana et al. 2024), if `gliner` is there.

GLiNER cuts off what is too long and says so in a warning alone; texts are handed to it in windows
that it can hold, and a warning of that kind refuses the text.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from ....mixer.errors import Reason, RecollectError
from ..finding import Finding
from .folder import GLINER_CONFIG, fetched, imported, require_no_code, unusable
from .options import VerifierOptions

_INSTALL = "pip install --no-deps gliner; pip install sentencepiece tqdm"
_QUESTIONS: Mapping[str, str | None] = {
    "person": "PERSON",
    "organization": "ORGANIZATION",
    "location": "LOCATION",
    "address": "ADDRESS",
    "email": "EMAIL_ADDRESS",
    "phone number": "PHONE_NUMBER",
    "username": "USERNAME",
    "date": "DATE_TIME",
    "date of birth": "DATE_OF_BIRTH",
    "age": "AGE",
    "account number": "ACCOUNT_ID",
    "credit card number": "CREDIT_CARD",
    "passport number": "US_PASSPORT",
    "social security number": "US_SSN",
    "identification number": "CODE",
    "nationality, religion or profession": "DEMOGRAPHIC",
}
_LONGEST = 512
"""Most tokens at a time, the questions included, also of models that could read more."""
_LEAST_OVERLAP = 24
"""Words that neighbouring windows share, at least; more where findings may be longer."""


class GlinerModel:
    """A GLiNER model that reads texts of any length.

    Args:
        folder: of the model.
        options: of the policy; its labels are the questions.
        wanted: entity types that the policy replaces.

    Raises:
        RecollectError: PACKAGE_MISSING without `gliner`; MODEL_UNUSABLE; POLICY_INVALID where no
            question asks for what is wanted.
    """

    def __init__(self, folder: Path, options: VerifierOptions, wanted: Collection[str]) -> None:
        self._types = _questions(options, wanted)
        package = imported("gliner", _INSTALL)
        torch = imported("torch", _INSTALL)
        self._options = options
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        """Where the model runs: `cuda` or `cpu`."""
        if not (folder / "model.safetensors").is_file():
            # gliner would fall back on a pickle.
            raise unusable(folder, "there is no model.safetensors")
        _require_encoder(folder, options)
        try:
            self._model = package.GLiNER.from_pretrained(
                str(folder), local_files_only=True, map_location=self.device
            )
            self._split = self._model.data_processor.words_splitter
            self._tokenizer = self._model.data_processor.transformer_tokenizer
            self._model.inference  # noqa: B018  # older versions have none
        except Exception as error:
            raise unusable(
                folder, f"gliner cannot load the model ({type(error).__name__})", _INSTALL
            ) from None
        _require_trained(folder, self._model.model)
        self._model.model.register_forward_hook(_require_numbers)
        self._max_words = int(self._model.config.max_len)
        self._overlap = max(_LEAST_OVERLAP, 2 * int(self._model.config.max_width))
        self._room = min(_LONGEST, int(self._tokenizer.model_max_length)) - self._asking()
        # Its tokenizer may not be borrowed twice at a time.
        self._lock = Lock()

    def read(self, texts: Sequence[str]) -> list[list[Finding]]:
        """What the model finds in each of the texts, whole.

        Raises:
            ValueError: a word alone is longer than the model can read.
            UserWarning: gliner cut something off after all.
            FloatingPointError: the model answered something that is no number.
        """
        found: list[list[Finding]] = [[] for _ in texts]
        with self._lock, warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*truncated.*")
            places = [
                (number, start, text[start:end])
                for number, text in enumerate(texts)
                for start, end in self._windows(text)
            ]
            # Windows of a length side by side waste no padding.
            places.sort(key=lambda one: -len(one[2]))
            answers = self._model.inference(
                [part for _, _, part in places],
                list(self._types),
                flat_ner=False,
                threshold=self._options.threshold,
                batch_size=self._options.max_batch,
            )
        for (number, start, _), answer in zip(places, answers, strict=True):
            found[number].extend(self._finding(one, start) for one in answer)
        return found

    def _finding(self, answer: Mapping[str, Any], start: int) -> Finding:
        return Finding(
            entity_type=self._types[answer["label"]],
            start=start + int(answer["start"]),
            end=start + int(answer["end"]),
            score=round(float(answer["score"]), 4),
            stage="verifier",
        )

    def _asking(self) -> int:
        """Tokens that the questions take, with the special ones."""
        config = self._model.config
        asked = [part for question in self._types for part in (config.ent_token, question)]
        return len(self._tokenizer([*asked, config.sep_token], is_split_into_words=True).input_ids)

    def _windows(self, text: str) -> Iterator[tuple[int, int]]:
        """Characters of the parts to read: whole words, as many as the model holds."""
        words = [(word, start, end) for word, start, end in self._split(text)]
        sizes = self._sizes([word for word, _, _ in words])
        first = 0
        while first < len(words):
            last, taken = first, 0
            while (
                last < len(words)
                and last - first < self._max_words
                and taken + sizes[last] <= self._room
            ):
                taken += sizes[last]
                last += 1
            if last == first:
                raise ValueError
            yield words[first][1], words[last - 1][2]
            if last == len(words):
                return
            first = max(first + 1, last - min(self._overlap, (last - first) // 2))

    def _sizes(self, words: Sequence[str]) -> list[int]:
        """Tokens of each word."""
        sizes = [0] * len(words)
        if not words:
            return sizes
        encoded = self._tokenizer(
            list(words),
            is_split_into_words=True,
            add_special_tokens=False,
            truncation=False,
            verbose=False,
        )
        for word in encoded.word_ids():
            sizes[word] += 1
        return sizes


def _questions(options: VerifierOptions, wanted: Collection[str]) -> dict[str, str]:
    """What to ask for, and the entity type of the answers."""
    asked = options.labels or _QUESTIONS
    questions = {q: kind for q, kind in asked.items() if kind is not None and kind in wanted}
    if not questions:
        raise RecollectError(
            Reason.POLICY_INVALID,
            "no question to the model asks for what the policy replaces",
            where="policy.verifier.labels",
            fix="Write what to ask for, with an entity type that is among `entities`.",
        )
    return questions


def _require_encoder(folder: Path, options: VerifierOptions) -> None:
    """Where the encoder is only named, what is known of it must be here, and bring no code."""
    try:
        config = json.loads((folder / GLINER_CONFIG).read_text(encoding="utf-8"))
        named = config["model_name"] if not config.get("encoder_config") else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise unusable(
            folder / GLINER_CONFIG, f"it cannot be read ({type(error).__name__})"
        ) from None
    if named is not None:
        where = Path(named)
        require_no_code(
            where
            if where.is_dir()
            else fetched(
                named,
                None,
                allow_downloads=options.allow_downloads,
                patterns=("*.json", "*.txt", "*.model"),
            )
        )


def _require_trained(folder: Path, model: Any) -> None:
    """Refuses weights that lack something: gliner would draw it at random, and say nothing."""
    safetensors = imported("safetensors", _INSTALL)
    with safetensors.safe_open(folder / "model.safetensors", framework="pt") as file:
        # Of tied weights, one is stored and the other's name is in the metadata.
        there = {*file.keys(), *(file.metadata() or {})}
    lacking = sorted({name for name, _ in model.named_parameters()} - there)
    if lacking:
        raise unusable(folder, f"the weights lack {lacking[0]}")


def _require_numbers(module: Any, given: Any, answer: Any) -> None:
    """What is no number would compare as "nothing found"."""
    logits = getattr(answer, "logits", None)
    if logits is not None and not bool(logits.isfinite().all()):
        raise FloatingPointError
