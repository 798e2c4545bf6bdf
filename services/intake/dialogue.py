"""Dialogues: turns as a row spells them become messages, with every repair counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message, Speaker
from .layouts import Turn
from .mapping import fold
from .report import Repair, Unusable

_TELLING_LABELS = frozenset(
    {"tool", "function", "observation", "narrator", "moderator", "supervisor", "operator", "caller"}
    | {"client", "representative", "advisor", "teacher", "student", "doctor", "patient", "expert"}
)
"""Labels that may be quoted in an error; any other may be a person's name."""


def to_messages(
    turns: Iterable[Turn],
    speakers: Mapping[str, Speaker | None],
    repairs: Counter[Repair],
) -> tuple[Message, ...] | Unusable:
    """The messages of a dialogue, or why it cannot be trained on.

    Turns of dropped speakers and empty turns go, neighbours of one speaker are joined by a newline,
    turns of the assistant before the first of the user stay.

    Raises:
        RecollectError: INPUT_UNKNOWN_SPEAKER, naming the turn.
    """
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        message = _to_message(index, turn, speakers, repairs)
        if message is None:
            continue
        if messages and messages[-1].speaker == message.speaker:
            repairs[Repair.TURNS_MERGED] += 1
            content = f"{messages.pop().content}\n{message.content}"
            message = Message(speaker=message.speaker, content=content)
        messages.append(message)
    if not messages:
        return Unusable.EMPTY
    if not {message.speaker for message in messages} & {Speaker.ASSISTANT, Speaker.TEXT}:
        return Unusable.NO_ASSISTANT
    return tuple(messages)


def _to_message(
    index: int, turn: Turn, speakers: Mapping[str, Speaker | None], repairs: Counter[Repair]
) -> Message | None:
    speaker = _speaker(index, turn.label, speakers)
    if speaker is None:
        repairs[Repair.SPEAKER_DROPPED] += 1
        return None
    texts = [part for part in turn.parts if part is not None]
    if num_dropped := len(turn.parts) - len(texts):
        repairs[Repair.PART_DROPPED] += num_dropped
    content = "\n".join(texts)
    if not content.strip():
        repairs[Repair.EMPTY_TURN_DROPPED] += 1
        return None
    return Message(speaker=speaker, content=content)


def _speaker(index: int, label: str, speakers: Mapping[str, Speaker | None]) -> Speaker | None:
    if isinstance(label, Speaker):
        return label
    folded = fold(label)
    if folded not in speakers:
        raise _unknown(index, folded)
    return speakers[folded]


def _unknown(index: int, label: str) -> RecollectError:
    shown = f"'{label}'" if label in _TELLING_LABELS else f"a label of {len(label)} characters"
    return RecollectError(
        Reason.INPUT_UNKNOWN_SPEAKER,
        f"turn {index + 1} is by {shown}, which no rule maps to system, user or assistant.",
        fix="Map it under speakers, or list it under drop_speakers.",
    )
