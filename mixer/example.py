"""Examples: one training record, before and after de-identification."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an example is for."""

    TASK = "task"
    GENERAL = "general"
    REFUSAL = "refusal"
    SAFE_COMPLETION = "safe_completion"
    COUNTEREXAMPLE = "counterexample"
    SYNTHETIC = "synthetic"


class Purpose(StrEnum):
    """Whether a source may be trained on or only measured with; a mix never crosses the two."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Speaker(StrEnum):
    """Who says a message; `TEXT` is a plain document, learnt whole and without turn markers."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of an example."""

    speaker: Speaker
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """Where a raw example came from; safe to store, since it holds no content."""

    file: str
    """Name of the input, without its folder."""
    row: int
    """1-based row (line) in the input."""

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RawExample:
    """An example as it arrived: held in memory only, never written anywhere."""

    messages: tuple[Message, ...]
    pointer: Pointer
    subject: str | None = None
    """Identifier of the person it is about, if the input names one; stored as a keyed pseudonym."""
    known_values: tuple[str, ...] = ()
    """Values of identifying columns of the row: masked wherever the text repeats them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """How a synthetic example came to be."""

    teacher_digest: str
    prompt_id: str
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A de-identified example, as segments hold it."""

    example_id: str
    """32 hex digits: a keyed digest of source and content; equal content has an equal id."""
    source: str
    messages: tuple[Message, ...]
    pointer: Pointer
    subject: str | None
    """Keyed pseudonym of the subject, or None."""
    policy: str
    """Version of the de-identification policy that made it."""
    findings: tuple[tuple[str, int], ...]
    """What was found and replaced: (entity type, count), sorted by type."""
    lineage: Lineage | None = None
    stand_ins: bytes | None = None
    """Sealed places of the stand-ins in the messages; None where an older release wrote it."""


def messages_to_json(messages: Sequence[Message]) -> str:
    """Canonical JSON of messages: the OpenAI layout, no spaces, keys in a fixed order."""
    return json.dumps(
        [{"role": m.speaker.value, "content": m.content} for m in messages],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def messages_from_json(text: str) -> tuple[Message, ...]:
    """The messages that `messages_to_json` wrote."""
    return tuple(
        Message(speaker=Speaker(item["role"]), content=item["content"]) for item in json.loads(text)
    )
