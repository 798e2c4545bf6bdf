"""Layouts: from the columns of a row to the turns of its examples.

`resolve` chooses a layout from column names alone; the layout then reads the turns of any row that
has these columns. What is wrong with a row is raised with the place inside the row, never its text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Speaker
from .columns import ABSENT, describe, look_up
from .jsonl import parse_json
from .mapping import ColumnMapping, Layout

_DIALOGUES = {
    Layout.MESSAGES: ("messages",),
    Layout.CONVERSATIONS: ("conversations", "conversation"),
    Layout.TURNS: ("turns", "dialogue", "dialog"),
    Layout.PAIRS: ("original",),
}
_SPEAKER_KEYS = ("role", "from", "speaker")
_CONTENT_KEYS = ("content", "value", "text", "utterance")
_INSTRUCTIONS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("inputs", "targets"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
)
_CONTEXTS = ("input", "context")
_SYSTEMS = ("system", "system_prompt")
_TEXTS = ("text",)


class Turn(NamedTuple):
    """One turn as the row spells it."""

    label: str
    """Who speaks; a `Speaker` where the layout itself says it."""
    parts: tuple[str | None, ...]
    """Its text in parts; None for a part that is not text."""


class RowLayout(Protocol):
    """How rows with certain columns are read."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""

    def examples(self, row: Mapping[str, object]) -> Iterator[list[Turn]]:
        """The turns of each example of a row.

        Raises:
            RecollectError: INPUT_MALFORMED if a column does not hold what it should.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class DialogueLayout:
    """A column with a list of turns, each an object or a pair of speaker and text."""

    dialogue: str
    speaker_keys: tuple[str, ...]
    content_keys: tuple[str, ...]
    system: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return _present(self.dialogue, self.system)

    def examples(self, row: Mapping[str, object]) -> Iterator[list[Turn]]:
        """The one example of the row."""
        turns = list(_system_turn(row, self.system))
        yield turns + self._turns(_look_up_list(row, self.dialogue), self.dialogue)

    def _turns(self, items: list[object], column: str) -> list[Turn]:
        return [self._turn(item, f"{column}[{index}]") for index, item in enumerate(items)]

    def _turn(self, item: object, where: str) -> Turn:
        if isinstance(item, Mapping):
            label = next((item[key] for key in self.speaker_keys if key in item), None)
            content = next((item[key] for key in self.content_keys if key in item), None)
        elif isinstance(item, list | tuple) and len(item) == 2:
            label, content = item
        else:
            raise _malformed(where, "a turn must be an object or a pair of speaker and text")
        if not isinstance(label, str):
            raise _malformed(where, "the turn names no speaker")
        return Turn(label, _parts(content, where))


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionLayout:
    """A prompt column and an answer column, perhaps with a context and a system message."""

    prompt: str
    context: str | None
    answer: str
    system: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return _present(self.prompt, self.context, self.answer, self.system)

    def examples(self, row: Mapping[str, object]) -> Iterator[list[Turn]]:
        """The one example of the row; prompt and answer may themselves be lists of messages."""
        turns = list(_system_turn(row, self.system))
        turns += self._side(row, self.prompt, Speaker.USER, self.context)
        yield turns + self._side(row, self.answer, Speaker.ASSISTANT, None)

    def _side(
        self, row: Mapping[str, object], column: str, speaker: Speaker, context: str | None
    ) -> list[Turn]:
        value = look_up(row, column)
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            messages = DialogueLayout(
                dialogue=column,
                speaker_keys=_SPEAKER_KEYS,
                content_keys=_CONTENT_KEYS,
                system=None,
            )
            return next(messages.examples(row))
        parts = [_text(value, column)]
        if context is not None:
            parts.append(_text(look_up(row, context), context))
        return [Turn(speaker, ("\n\n".join(part for part in parts if part.strip()),))]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstancesLayout:
    """An instruction with a list of instances, each of which makes an example."""

    prompt: str
    instances: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.prompt, self.instances)

    def examples(self, row: Mapping[str, object]) -> Iterator[list[Turn]]:
        """One example for each instance."""
        one = InstructionLayout(prompt="prompt", context="input", answer="output", system=None)
        for index, instance in enumerate(_look_up_list(row, self.instances)):
            if not isinstance(instance, Mapping):
                raise _malformed(f"{self.instances}[{index}]", "an instance must be an object")
            yield from one.examples({**instance, "prompt": look_up(row, self.prompt)})


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLayout:
    """A column with a plain document."""

    text: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.text,)

    def examples(self, row: Mapping[str, object]) -> Iterator[list[Turn]]:
        """The one example of the row."""
        yield [Turn(Speaker.TEXT, (_text(look_up(row, self.text), self.text),))]


def resolve(names: Collection[str], mapping: ColumnMapping) -> RowLayout:
    """The layout of rows with these columns.

    Raises:
        RecollectError: INPUT_UNKNOWN_FORMAT, listing the columns.
    """
    found = _named(mapping) or _detected(names, mapping)
    if found is None:
        raise RecollectError(
            Reason.INPUT_UNKNOWN_FORMAT,
            f"the columns match no known layout; found: {describe(names)}.",
            fix="Name them in a mapping: dialogue, prompt and answer, or text.",
        )
    missing = [name for name in found.columns if name.partition(".")[0] not in names]
    missing = [name for name in missing if name not in names]
    if missing:
        raise RecollectError(
            Reason.INPUT_UNKNOWN_FORMAT,
            f"the row has no column {describe(missing)}; found: {describe(names)}.",
            fix="Correct the mapping.",
        )
    return found


def _named(mapping: ColumnMapping) -> RowLayout | None:
    """The layout that the mapping names by its columns."""
    if mapping.dialogue:
        return _dialogue(mapping.dialogue, mapping, mapping.system)
    if mapping.prompt and mapping.answer:
        return InstructionLayout(
            prompt=mapping.prompt,
            context=mapping.context,
            answer=mapping.answer,
            system=mapping.system,
        )
    return TextLayout(text=mapping.text) if mapping.text else None


def _detected(names: Collection[str], mapping: ColumnMapping) -> RowLayout | None:
    """The layout that the names of the columns tell, of the kind that the mapping allows."""
    allowed = {mapping.layout} if mapping.layout != Layout.AUTO else set(Layout)
    system = mapping.system or _first(_SYSTEMS, names)
    for layout, candidates in _DIALOGUES.items():
        if layout in allowed and (column := _first(candidates, names)):
            return _dialogue(column, mapping, system)
    if Layout.INSTANCES in allowed and {"instruction", "instances"} <= set(names):
        return InstancesLayout(prompt="instruction", instances="instances")
    if Layout.INSTRUCTION in allowed:
        for prompt, answer in _INSTRUCTIONS:
            if prompt in names and answer in names:
                contexts = [name for name in _CONTEXTS if name != prompt]
                context = mapping.context or _first(contexts, names)
                return InstructionLayout(
                    prompt=prompt, context=context, answer=answer, system=system
                )
    text = _first(_TEXTS, names)
    return TextLayout(text=text) if Layout.TEXT in allowed and text else None


def _dialogue(column: str, mapping: ColumnMapping, system: str | None) -> DialogueLayout:
    return DialogueLayout(
        dialogue=column,
        speaker_keys=(mapping.speaker,) if mapping.speaker else _SPEAKER_KEYS,
        content_keys=(mapping.content,) if mapping.content else _CONTENT_KEYS,
        system=system,
    )


def _first(candidates: Collection[str], names: Collection[str]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _present(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def _system_turn(row: Mapping[str, object], column: str | None) -> Iterator[Turn]:
    if column is not None:
        text = _text(look_up(row, column), column)
        if text.strip():
            yield Turn(Speaker.SYSTEM, (text,))


def _look_up_list(row: Mapping[str, object], column: str) -> list[object]:
    """A list in a column; in a table without lists it may be written as JSON."""
    value = look_up(row, column)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parse_json(value, column, line=1)
        if isinstance(value, RecollectError):
            raise _malformed(column, "the column does not hold valid JSON")
    if not isinstance(value, list | tuple):
        raise _malformed(column, "the column does not hold a list of objects")
    return list(value)


def _parts(content: object, where: str) -> tuple[str | None, ...]:
    """The text of a turn; some APIs write it as a list of typed parts."""
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return tuple(text if isinstance(text, str) else None for text in texts)
    return (_text(content, where),)


def _text(value: object, where: str) -> str:
    if value is None or value is ABSENT:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise _malformed(where, "the value is not text")


def _malformed(where: str, message: str) -> RecollectError:
    return RecollectError(Reason.INPUT_MALFORMED, f"{message}.", where=where)
