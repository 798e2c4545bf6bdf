"""Turns: the tokens that stand around what the teacher writes, question and answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

END, ASSISTANT, USER = "<|end|>", "<|assistant|>", "<|user|>"
RESERVED = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|text|>")


class Turns(Protocol):
    """How a dialogue is written in tokens."""

    @property
    def opening(self) -> Sequence[int]:
        """What stands before a question."""
        ...

    @property
    def asked(self) -> int:
        """What ends a question."""
        ...

    @property
    def between(self) -> Sequence[int]:
        """What stands after that and before the answer."""
        ...

    @property
    def answered(self) -> int:
        """What ends an answer."""
        ...

    @property
    def reserved(self) -> Collection[int]:
        """Tokens that only the template may place; a row in which the teacher does is given up."""
        ...

    def prompt(self, question: str, /) -> Sequence[int]:
        """A whole question to be answered; what looks like a control token in it stays text."""
        ...


class MarkedTurns:
    """Turns with our markers: a speaker's token, what is said, and the token of the end."""

    def __init__(
        self, token_id: Callable[[str], int], encode: Callable[[str], Sequence[int]]
    ) -> None:
        """Finds the markers.

        Args:
            token_id: the id of a special token; raises MODEL_UNUSABLE where there is none.
            encode: the tokens of a text.
        """
        self.asked = self.answered = token_id(END)
        self.opening = [token_id(USER)]
        self.between = [token_id(ASSISTANT)]
        self.reserved = frozenset(map(token_id, RESERVED))
        self._encode = encode

    def prompt(self, question: str) -> Sequence[int]:
        """A whole question to be answered."""
        return [*self.opening, *self._encode(question), self.asked, *self.between]
