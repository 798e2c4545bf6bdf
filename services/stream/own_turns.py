"""Rendering through the chat template of a tokenizer's own, as transformers would.

The token ids are those of `apply_chat_template`, unless words of the conversation read like a
control token: there they stay words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from ...mixer.example import Message, Speaker
from ...v1.tokenizer import OwnTemplate
from .dialogue import Dialogues, Unfit, refused
from .spelling import Documents, Spelling, Spelt, Written
from .template import Rendered
from .template_controls import Controls
from .template_jinja import ChatScript
from .unusable import unusable


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """The tokens that stand around a question and its answer."""

    opening: list[int]
    """Before a question."""
    asked: int
    """Ends it."""
    between: list[int]
    """After that and before the answer."""
    answered: int
    """Ends the answer."""
    reserved: frozenset[int]
    """Tokens that only a template may place."""
    prompt: Callable[[str], list[int]]
    """A whole question to be answered."""


class OwnTurns:
    """A tokenizer and its chat template."""

    def __init__(self, raw: bytes, tokenizer: Tokenizer, own: OwnTemplate) -> None:
        """Prepares them.

        Args:
            raw: `tokenizer.json`.
            tokenizer: the same, read.
            own: its chat template.

        Raises:
            RecollectError: MODEL_UNUSABLE.
        """
        self.num_ids = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        content = json.loads(raw)
        script = ChatScript(own)
        ids = _ids_of_added(content, tokenizer, own)
        tokens, turn_markers = _control_tokens(content, ids, own, script)
        self._controls = Controls(tokens, turn_markers=turn_markers)
        self._dialogues = Dialogues(script, self._controls)
        try:
            self._spelling = Spelling(content, ids, self._controls)
        # The library raises bare Exception for anything that it does not take.
        except Exception as error:
            raise unusable(f"The tokenizer cannot be set up ({type(error).__name__}).") from error
        self._documents = Documents(tokenizer)
        self._reserved = frozenset(ids[text] for text in turn_markers)
        self._ids = ids

    def render_batch(
        self, examples: Sequence[Sequence[Message]], *, max_length: int
    ) -> list[Rendered]:
        """Renders examples, each cut at `max_length` tokens.

        Raises:
            RecollectError: TEMPLATE_REFUSED.
        """
        written = [self._written(messages) for messages in examples]
        spelt = self._spelling.spelt(written)
        return [
            _cut(self._documents.completed(row) if _is_text(messages) else row, max_length)
            for messages, row in zip(examples, spelt, strict=True)
        ]

    def speech(self) -> Speech | None:
        """The tokens around what a model says; None where turns do not end with one."""
        try:
            whole, between, asked, answered = self._dialogues.around()
        except Unfit:
            return None
        whole_row, between_row = self._spelling.spelt([whole, between])
        opening = whole_row.ids[: int(whole_row.mask.argmax())].tolist()
        return (
            Speech(
                opening=opening,
                asked=self._ids[asked],
                between=between_row.ids[between_row.mask].tolist(),
                answered=self._ids[answered],
                reserved=self._reserved,
                prompt=self._prompt,
            )
            if opening
            else None
        )

    def _prompt(self, question: str) -> list[int]:
        try:
            prompt = self._dialogues.prompt([Message(speaker=Speaker.USER, content=question)])
        except Unfit as unfit:
            raise refused(unfit) from None
        ids: list[int] = self._spelling.spelt([prompt])[0].ids.tolist()
        return ids

    def _written(self, messages: Sequence[Message]) -> Written:
        if _is_text(messages):
            return Written(self._controls.guarded(messages[0].content, Speaker.TEXT), [])
        try:
            return self._dialogues.written(messages)
        except Unfit as unfit:
            raise refused(unfit) from None


def _is_text(messages: Sequence[Message]) -> bool:
    return len(messages) == 1 and messages[0].speaker is Speaker.TEXT


def _cut(row: Spelt, max_length: int) -> Rendered:
    return Rendered(
        # Copied, so that a short row does not keep a long one in memory.
        input_ids=row.ids[:max_length].copy(),
        loss_mask=row.mask[:max_length].copy(),
        num_tokens=len(row.ids),
    )


def _ids_of_added(
    content: Mapping[str, Any], tokenizer: Tokenizer, own: OwnTemplate
) -> dict[str, int]:
    """The tokens that are not found by splitting words: those added, and those named special."""
    texts = [item["content"] for item in content.get("added_tokens") or ()]
    ids = {text: tokenizer.token_to_id(text) for text in (*texts, *_named(own))}
    return {text: number for text, number in ids.items() if number is not None}


def _control_tokens(
    content: Mapping[str, Any], ids: Mapping[str, int], own: OwnTemplate, script: ChatScript
) -> tuple[set[str], set[str]]:
    """The control tokens, and those of them that are not for the assistant to write either.

    Special tokens are. So are other added tokens that the template has for its own use, as some
    tokenizers do not say of their turn markers that they are special; what is around the words of a
    user is a turn marker, what is not, such as the tags of reasoning, the assistant may write.
    """
    special = {item["content"] for item in content.get("added_tokens") or () if item["special"]}
    special |= _named(own) & ids.keys()
    used = "\n".join(script.words)
    others = {text for text in ids.keys() - special if not text.isspace()}
    around = script.tried()
    turn_markers = special | {text for text in others if text in around}
    return turn_markers | {text for text in others if text in used}, turn_markers


def _named(own: OwnTemplate) -> set[str]:
    return {*own.special_tokens.values(), *own.more_special}
