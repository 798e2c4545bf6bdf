"""The chat template: renders messages to token ids and the mask of what is learnt.

A tokenizer with our turn markers has one fixed way: every message becomes `<|speaker|>` + content +
`<|end|>`, with nothing added. Any other is rendered through the chat template of its own. Either
way content is encoded as plain text: what somebody typed can look like a turn marker, but never be
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ...mixer.errors import RecollectError
from ...mixer.example import Message, Speaker
from ...v1.tokenizer import (
    TOKENIZER_FILE,
    digest_of,
    has_our_markers,
    read_own_template,
    read_tokenizer,
)
from .unusable import reading, unusable

if TYPE_CHECKING:
    from .own_turns import Speech

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


class Rendering(Protocol):
    """A way of rendering messages."""

    @property
    def num_ids(self) -> int:
        """Ids that a token can have: 0 … num_ids - 1."""
        ...

    def render_batch(
        self, examples: Sequence[Sequence[Message]], /, *, max_length: int
    ) -> list[Rendered]:
        """Renders examples, each cut at `max_length` tokens."""
        ...

    def speech(self) -> Speech | None:
        """The tokens around what a model says, where they are not our turn markers."""
        ...


class ChatTemplate:
    """A tokenizer together with its way of rendering messages."""

    def __init__(self, rendering: Rendering, *, digest: str) -> None:
        self.digest = digest
        self.num_ids = rendering.num_ids
        """Ids that a token can have: 0 … num_ids - 1."""
        self._rendering = rendering

    @classmethod
    def load(cls, path: Path) -> ChatTemplate:
        """The template of a model folder (or of its `tokenizer.json`); raises MODEL_UNUSABLE."""
        with reading():
            raw = read_tokenizer(path)
            tokenizer = _parsed(raw)
            own = None if has_our_markers(raw) else read_own_template(path)
        digest = digest_of(raw, own)
        if own is None:
            return cls(FixedTurns(tokenizer), digest=digest)
        # A sandbox for templates is not needed where there are none to run.
        from .own_turns import OwnTurns

        return cls(OwnTurns(raw, tokenizer, own), digest=digest)

    def speech(self) -> Speech | None:
        """The tokens around what a model says by a template of its own whose turns end with one."""
        return self._rendering.speech()

    def render(self, messages: Sequence[Message], *, max_length: int) -> Rendered:
        """Renders one example."""
        return self.render_batch([messages], max_length=max_length)[0]

    def render_batch(
        self, examples: Sequence[Sequence[Message]], *, max_length: int
    ) -> list[Rendered]:
        """Renders examples, each cut at `max_length` tokens, encoding all contents at once.

        Raises:
            RecollectError: TEMPLATE_REFUSED, if the tokenizer's chat template does not take one.
        """
        return self._rendering.render_batch(examples, max_length=max_length)


class FixedTurns:
    """Rendering with our turn markers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Markers inside content stay ordinary text.
        self._tokenizer.encode_special_tokens = True
        self.num_ids = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        self._end = self._special(END)
        self._markers = {speaker: self._special(text) for speaker, text in MARKERS.items()}

    def render_batch(
        self, examples: Sequence[Sequence[Message]], *, max_length: int
    ) -> list[Rendered]:
        """Renders examples, each cut at `max_length` tokens."""
        contents = [message.content for messages in examples for message in messages]
        encoded = iter(self._tokenizer.encode_batch_fast(contents, add_special_tokens=False))
        return [
            self._assemble(messages, [next(encoded).ids for _ in messages], max_length)
            for messages in examples
        ]

    def speech(self) -> None:
        """Whoever lets a model speak knows our turn markers."""

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
        if token is None or not _is_special(self._tokenizer, token):
            raise unusable(f"The tokenizer has no chat template and no special token {text}.")
        return token


def _is_special(tokenizer: Tokenizer, token: int) -> bool:
    added: dict[int, Any] = tokenizer.get_added_tokens_decoder()
    return token in added and bool(added[token].special)


def _parsed(raw: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_str(raw.decode("utf-8"))
    # The library raises bare Exception for anything it cannot parse.
    except Exception as error:
        raise _unparsed(error) from error


def _unparsed(error: Exception) -> RecollectError:
    return unusable(f"{TOKENIZER_FILE} cannot be parsed ({type(error).__name__}).")
