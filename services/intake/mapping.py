"""The column mapping: what the columns of an input mean, where their names do not say it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Speaker

DEFAULT_SPEAKERS: Mapping[str, Speaker] = {
    "user": Speaker.USER,
    "human": Speaker.USER,
    "customer": Speaker.USER,
    "assistant": Speaker.ASSISTANT,
    "agent": Speaker.ASSISTANT,
    "gpt": Speaker.ASSISTANT,
    "bot": Speaker.ASSISTANT,
    "model": Speaker.ASSISTANT,
    "system": Speaker.SYSTEM,
    "developer": Speaker.SYSTEM,
}
"""Who the usual spellings stand for, in lower case."""


class Layout(StrEnum):
    """How a row holds its example."""

    AUTO = "auto"
    """Told from the names of the columns, row by row."""
    MESSAGES = "messages"
    """`messages`: a list of {role, content}."""
    CONVERSATIONS = "conversations"
    """`conversations`: a list of {from, value}."""
    TURNS = "turns"
    """`turns`: a list of {role, content} or {speaker, utterance}."""
    PAIRS = "pairs"
    """`original`: a list of [speaker, text]."""
    INSTRUCTION = "instruction"
    """A prompt column, perhaps with a context column, and an answer column."""
    INSTANCES = "instances"
    """`instruction` and a list `instances` of {input, output}: one example for each instance."""
    TEXT = "text"
    """`text`: a plain document."""


class ColumnMapping(BaseModel):
    """What the columns of an input mean; every name left out is told from the row itself.

    A name may be a path with dots into nested objects, such as `scenario.personal`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    layout: Layout = Layout.AUTO
    dialogue: str | None = None
    """Column with the list of turns."""
    speaker: str | None = None
    """Key of a turn that names its speaker."""
    content: str | None = None
    """Key of a turn that holds its text."""
    prompt: str | None = None
    """Column with the user's side of an instruction."""
    context: str | None = None
    """Column with further input, put under the prompt."""
    answer: str | None = None
    """Column with the assistant's side of an instruction."""
    system: str | None = None
    """Column with a system message."""
    text: str | None = None
    """Column with a plain document."""
    speakers: Mapping[str, Literal["system", "user", "assistant"]] = Field(default_factory=dict)
    """Spellings of speakers, in any case, beside the usual ones; a spelling given here wins."""
    drop_speakers: tuple[str, ...] = ("action",)
    """Spellings whose turns are left out."""
    subject: str | None = None
    """Column that identifies the person the row is about."""
    identifiers: tuple[str, ...] = ()
    """Columns whose values, nested ones included, are masked wherever the text repeats them."""

    @model_validator(mode="after")
    def _check_names(self) -> ColumnMapping:
        if (self.prompt is None) != (self.answer is None):
            raise ValueError("prompt and answer are named together or not at all")
        kinds = [name for name in ("dialogue", "prompt", "text") if getattr(self, name)]
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} exclude one another")
        return self

    @classmethod
    def from_dict(cls, value: object) -> ColumnMapping:
        """The mapping that a parsed file describes.

        Raises:
            RecollectError: CONFIG_INVALID, naming the field.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as failure:
            first = failure.errors()[0]
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{first['msg']}.",
            where=".".join(["mapping", *map(str, first["loc"])]),
        )

    @classmethod
    def from_yaml(cls, text: str) -> ColumnMapping:
        """The mapping that a YAML text describes.

        Raises:
            RecollectError: CONFIG_INVALID if it is no YAML or breaks the schema.
        """
        where = "mapping"
        try:
            return cls.from_dict(yaml.safe_load(text) or {})
        except yaml.YAMLError as failure:
            mark = getattr(failure, "problem_mark", None)
            if mark is not None:
                where = f"mapping:{mark.line + 1}:{mark.column + 1}"
        raise RecollectError(Reason.CONFIG_INVALID, "not valid YAML.", where=where)

    @property
    def digest(self) -> str:
        """SHA-256 over its values; empty for one that says nothing."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        values.pop("version", None)
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest() if values else ""

    @cached_property
    def speakers_by_label(self) -> Mapping[str, Speaker | None]:
        """Who each spelling, case folded, stands for; None for those that are left out."""
        dropped = {fold(label): None for label in self.drop_speakers}
        named = {fold(label): Speaker(speaker) for label, speaker in self.speakers.items()}
        return {**DEFAULT_SPEAKERS, **dropped, **named}


def fold(label: str) -> str:
    """The spelling of a speaker as it is looked up."""
    return label.strip().casefold()
