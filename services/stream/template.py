"""The chat template: renders messages to token ids and the mask of what is learnt.

Every message becomes `<|speaker|>` + content + `<|end|>`, with nothing added. Content is encoded as
plain text: what somebody typed can look like a turn marker, but never be one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message, Speaker

TEMPLATE_VERSION = "recollect-chat-1"
"""Changes whenever the same messages would render to other tokens."""

TOKENIZER_FILE = "tokenizer.json"
END = "<|end|>"
MARKERS = {speaker: f"<|{speaker.value}|>" for speaker in Speaker}
LEARNT = frozenset({Speaker.ASSISTANT, Speaker.TEXT})
"""Speakers whose words are supervised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """One example as tokens."""

    input_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]
    num_tokens: int
    """Tokens before the row was cut."""


def tokenizer_digest(path: Path) -> str:
    """SHA-256 over `tokenizer.json` (or that of a folder) and the template version."""
    digest = hashlib.sha256(_read(path))
    digest.update(TEMPLATE_VERSION.encode())
    return digest.hexdigest()


class ChatTemplate:
    """A tokenizer together with the fixed way of rendering messages with it."""

    def __init__(self, tokenizer: Tokenizer, *, digest: str) -> None:
        self.digest = digest
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Markers inside content stay ordinary text.
        self._tokenizer.encode_special_tokens = True
        self.num_ids = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        """Ids that a token can have: 0 … num_ids - 1."""
        self._end = self._special(END)
        self._markers = {speaker: self._special(text) for speaker, text in MARKERS.items()}

    @classmethod
    def load(cls, path: Path) -> ChatTemplate:
        """The template of a model folder (or of its `tokenizer.json`); raises MODEL_UNUSABLE."""
        raw = _read(path)
        try:
            tokenizer = Tokenizer.from_str(raw.decode("utf-8"))
        # The library raises bare Exception for anything it cannot parse.
        except Exception as error:
            raise _unusable(
                f"{TOKENIZER_FILE} cannot be parsed ({type(error).__name__})."
            ) from error
        return cls(tokenizer, digest=tokenizer_digest(path))

    def render(self, messages: Sequence[Message], *, max_length: int) -> Rendered:
        """Renders one example."""
        return self.render_batch([messages], max_length=max_length)[0]

    def render_batch(
        self, examples: Sequence[Sequence[Message]], *, max_length: int
    ) -> list[Rendered]:
        """Renders examples, each cut at `max_length` tokens, encoding all contents at once."""
        contents = [message.content for messages in examples for message in messages]
        encoded = iter(self._tokenizer.encode_batch_fast(contents, add_special_tokens=False))
        return [
            self._assemble(messages, [next(encoded).ids for _ in messages], max_length)
            for messages in examples
        ]

    def _assemble(
        self, messages: Sequence[Message], contents: Sequence[list[int]], max_length: int
    ) -> Rendered:
        ids: list[int] = []
        mask: list[bool] = []
        for message, content in zip(messages, contents, strict=True):
            ids.append(self._markers[message.speaker])
            ids.extend(content)
            ids.append(self._end)
            mask.append(False)
            mask.extend([message.speaker in LEARNT] * (len(content) + 1))
        return Rendered(
            input_ids=np.array(ids[:max_length], dtype=np.int32),
            loss_mask=np.array(mask[:max_length], dtype=np.bool_),
            num_tokens=len(ids),
        )

    def _special(self, text: str) -> int:
        token: int | None = self._tokenizer.token_to_id(text)
        added = self._tokenizer.get_added_tokens_decoder()
        if token is None or token not in added or not added[token].special:
            raise _unusable(f"The tokenizer has no special token {text}.")
        return token


def _read(path: Path) -> bytes:
    file = path / TOKENIZER_FILE if path.is_dir() else path
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unusable(f"{file.name} cannot be read ({error.strerror}).") from error


def _unusable(message: str) -> RecollectError:
    return RecollectError(
        Reason.MODEL_UNUSABLE,
        message,
        where=TOKENIZER_FILE,
        fix="Point the configuration at a model folder whose tokenizer has the turn markers.",
    )
