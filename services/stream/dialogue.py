"""Dialogues: what the chat template of a model folder makes of messages, and what of it is learnt.

Where the template says what the assistant writes (`{% generation %}`), that is learnt. Where it
does not, a turn of the assistant goes from the end of its generation prompt to the end of the
control token that ends it: what a model has to write by itself. The prompt is what the template
makes of the messages before the turn; where the text does not begin so, the turn begins with what
the assistant says. That is found by marks around it, which the template must not trip over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message, Speaker
from .spelling import Written
from .template_controls import Controls
from .template_jinja import FAILURES, START, STOP, ChatScript
from .unusable import unusable

_MARKS = re.compile(f"[{START}{STOP}]")
Words = tuple[int | None, int]
"""Where words of the assistant begin, if that can be told, and end."""
_ASKED = Message(speaker=Speaker.USER, content="Qzuestion")
_ANSWERED = Message(speaker=Speaker.ASSISTANT, content="Azswer")
_TOLD = Message(speaker=Speaker.SYSTEM, content="Izstruction")
LEFT_OUT = "Leave the example out, or serve a model whose chat template takes it."
PLAIN = "Use a chat template that takes messages with role and content, a text."
DATED = (
    "It asks for the date (strftime_now), but equal messages have to become equal tokens: write a "
    "fixed date into the template."
)
SPOKEN = "Mark what the assistant says with {% generation %} in the chat template."


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as the template gets it: its words are guarded."""

    speaker: Speaker
    content: str

    def said(self) -> dict[str, str]:
        """As a template gets it."""
        return {"role": self.speaker.value, "content": self.content}

    def marked(self, beginnings: Sequence[int]) -> dict[str, str]:
        """With marks at some places of its words and after them, inside of the space around."""
        words = self.content.strip()
        cuts = (0, *beginnings, len(words))
        marked = START.join(words[first:end] for first, end in pairwise(cuts)) + STOP
        return {"role": self.speaker.value, "content": self.content.replace(words, marked, 1)}

    @property
    def is_marked(self) -> bool:
        """Whether its end is told by a mark: it is the assistant's and has words."""
        return (
            self.speaker is Speaker.ASSISTANT and not self.content.isspace() and self.content != ""
        )


class Unfit(Exception):
    """A conversation that the template does not take; says why without its words."""

    def __init__(self, message: str, *, fix: str = LEFT_OUT) -> None:
        super().__init__(message)
        self.fix = fix


class Dialogues:
    """The chat template of a model folder, with what was found out about it."""

    def __init__(self, script: ChatScript, controls: Controls) -> None:
        """Tries the template with conversations of its own.

        Raises:
            RecollectError: MODEL_UNUSABLE, if it takes not even a question and its answer.
        """
        self._script, self._controls = script, controls
        self._merges_system = False
        try:
            asked = self._write(self._turns([_ASKED]))
            self._has_prompt = asked != self._prompted(self._turns([_ASKED]))
            text = self._write(self._turns([_ASKED, _ANSWERED]))
            for said in (_ASKED, _ANSWERED):
                if said.content not in text:
                    raise Unfit(f"are written without what the {said.speaker.value} says")
            self.written([_ASKED, _ANSWERED])
        except Unfit as error:
            raise self._strange(error) from error
        self._merges_system = not self._takes_system()

    def written(self, messages: Sequence[Message]) -> Written:
        """The text of messages, and the places in it that are learnt.

        Raises:
            Unfit: the template does not take them.
        """
        turns = self._turns(messages)
        if self._script.has_generation:
            return unmarked(self._write(turns))
        return self._by_prompts(turns)

    def prompt(self, messages: Sequence[Message]) -> Written:
        """What a model is given that is to answer messages; nothing of it is learnt.

        Raises:
            Unfit: the template does not take them.
        """
        return Written(unmarked(self._prompted(self._turns(messages))).text, [])

    def around(self) -> tuple[Written, Written, str, str]:
        """What stands around a question and its answer.

        Returns:
            The prompt of a question, covered from the question on; the same, covered after the
            token that ends the question; that token; the one that ends the answer.

        Raises:
            Unfit: they do not end with a token.
        """
        prompt = self.prompt([_ASKED]).text
        text = self.written([_ASKED, _ANSWERED]).text
        begin = prompt.find(_ASKED.content)
        if begin < 0:
            raise Unfit("are written otherwise before an answer than with it")
        asked = self._first_token(prompt, begin + len(_ASKED.content))
        # A space is mostly part of the first word, which is not this one's.
        begin = len(prompt[:begin].rstrip(" "))
        answered = self._first_token(text, text.index(_ANSWERED.content) + len(_ANSWERED.content))
        whole = Written(prompt, [(begin, len(prompt))])
        between = Written(prompt, [(asked[1], len(prompt))])
        return whole, between, prompt[slice(*asked)], text[slice(*answered)]

    def _first_token(self, text: str, place: int) -> tuple[int, int]:
        """Where the control token is that follows a place, with nothing but space before it."""
        for first, end in self._controls.occurring(text[place:]):
            if not text[place : place + first].strip():
                return place + first, place + end
            break
        raise Unfit("have turns that do not end with a token")

    def _strange(self, unfit: Unfit) -> RecollectError:
        fix = unfit.fix if unfit.fix != LEFT_OUT else PLAIN
        return unusable(
            f"A question and its answer {unfit}.",
            where="chat_template",
            fix=DATED if self._script.asks_for_date else fix,
        )

    def _takes_system(self) -> bool:
        try:
            text = self._write(self._turns([_TOLD, _ASKED, _ANSWERED]))
        except Unfit:
            return False
        return _TOLD.content in text

    def _turns(self, messages: Sequence[Message]) -> list[Turn]:
        """The turns of messages; where there is no system's, the user says it first."""
        if any(message.speaker is Speaker.TEXT for message in messages):
            raise Unfit("cannot be written: a plain text stands among its turns")
        if self._merges_system and messages and messages[0].speaker is Speaker.SYSTEM:
            told, *messages = messages
            if not messages or messages[0].speaker is not Speaker.USER:
                raise Unfit("cannot be written: its system message is not followed by a user's")
            asked = f"{told.content}\n\n{messages[0].content}"
            messages = [Message(speaker=Speaker.USER, content=asked), *messages[1:]]
        return [
            Turn(message.speaker, self._controls.guarded(message.content, message.speaker))
            for message in messages
        ]

    def _write(self, turns: Sequence[Turn]) -> str:
        return self._run(turns, [turn.said() for turn in turns])

    def _prompted(self, turns: Sequence[Turn]) -> str:
        return self._run(turns, [turn.said() for turn in turns], add_generation_prompt=True)

    def _run(
        self,
        turns: Sequence[Turn],
        said: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        try:
            return self._script.write(said, add_generation_prompt=add_generation_prompt)
        except FAILURES:
            # What the template complains of may be the words of the conversation.
            raise Unfit(f"cannot be written by the chat template ({_speakers(turns)})") from None

    def _by_prompts(self, turns: Sequence[Turn]) -> Written:
        text = self._write(turns)
        answers = [place for place, turn in enumerate(turns) if turn.speaker is Speaker.ASSISTANT]
        if not answers:
            return Written(text, [])
        words = self._words(turns, text)
        ending = self._ending(turns, answers[-1] + 1, text, words)
        left = iter(words)
        learnt: list[tuple[int, int]] = []
        end = 0
        for place in answers:
            said = next(left) if turns[place].is_marked else None
            start = self._start(turns[:place], text, said, after=end)
            end = start if said is None else said[1]
            end += self._shared(ending, text[end:])
            learnt.append((start, end))
        return Written(text, learnt)

    def _words(self, turns: Sequence[Turn], text: str) -> list[Words]:
        """Where the words of the assistant are in a text.

        They are marked where they begin and after the last tag in them, such as the end of its
        reasoning, before which a template may leave everything out.
        """
        num_marked = sum(turn.is_marked for turn in turns)
        for marks in (_begin_and_tag, _begin, _nowhere):
            said = [
                turn.marked(marks(turn.content.strip(), self._controls))
                if turn.is_marked
                else turn.said()
                for turn in turns
            ]
            try:
                marked = self._run(turns, said)
            except Unfit:
                continue
            found = _marked_words(marked)
            if len(found) == num_marked and _MARKS.sub("", marked) == text:
                return found
        raise Unfit(
            "cannot be learnt from: the chat template rewrites what the assistant says",
            fix=SPOKEN,
        )

    def _start(self, before: Sequence[Turn], text: str, said: Words | None, *, after: int) -> int:
        """Where a turn of the assistant begins: after its prompt, or with its words."""
        first = None if said is None else said[0]
        limit = len(text) if said is None else said[1] if first is None else first
        try:
            length = len(prompt) if text.startswith(prompt := self._prompted(before)) else -1
        except Unfit:
            length = -1
        if after <= length <= limit and (self._has_prompt or text[length:limit].isspace()):
            return length
        if first is None:
            raise Unfit(
                "cannot be learnt from: where a turn of the assistant begins cannot be told",
                fix=SPOKEN,
            )
        return first

    def _ending(self, turns: Sequence[Turn], end: int, text: str, words: Sequence[Words]) -> str:
        """What the template writes after the assistant's last turn: to its first control token."""
        if end < len(turns):
            turns = turns[:end]
            text = self._write(turns)
            words = self._words(turns, text)
        last = words[-1][1] if turns[-1].is_marked else self._start(turns[:-1], text, None, after=0)
        tail = text[last:].strip()
        tokens = self._controls.occurring(tail)
        return tail[: tokens[0][1]] if tokens else tail

    def _shared(self, ending: str, text: str) -> int:
        """How much of the ending stands at the beginning of a text: whole tokens, or nothing."""
        space = len(text) - len(text.lstrip())
        pairs = enumerate(zip(ending, text[space:], strict=False))
        ends = min(len(ending), len(text) - space)
        shared = next((number for number, (one, other) in pairs if one != other), ends)
        if shared < len(ending):
            for first, end in self._controls.occurring(ending):
                if first < shared < end:
                    shared = first
            shared = len(ending[:shared].rstrip())
        return space + shared if shared else 0


def _begin_and_tag(words: str, controls: Controls) -> Sequence[int]:
    tags = controls.occurring(words)
    if not tags:
        return (0,)
    end = tags[-1][1]
    return sorted({0, len(words) - len(words[end:].lstrip())})


def _begin(words: str, controls: Controls) -> Sequence[int]:
    return (0,)


def _nowhere(words: str, controls: Controls) -> Sequence[int]:
    return ()


def unmarked(text: str) -> Written:
    """A text without marks, and the places that were between them."""
    parts: list[str] = []
    learnt: list[tuple[int, int]] = []
    begun, length, end = [], 0, 0
    for match in _MARKS.finditer(text):
        parts.append(text[end : match.start()])
        length, end = length + match.start() - end, match.end()
        if match[0] == START:
            begun.append(length)
        elif begun and (first := begun.pop()) < length and not begun:
            learnt.append((first, length))
    parts.append(text[end:])
    return Written("".join(parts), learnt)


def _marked_words(text: str) -> list[Words]:
    """For each mark of an end, the mark of the beginning before it, in the text without marks."""
    found: list[Words] = []
    first: int | None = None
    for number, match in enumerate(_MARKS.finditer(text)):
        place = match.start() - number
        if match[0] == START:
            first = place if first is None else first
        else:
            found.append((first, place))
            first = None
    return found


def _speakers(turns: Sequence[Turn]) -> str:
    return ", ".join(turn.speaker.value for turn in turns[:8]) + (", …" if len(turns) > 8 else "")


def refused(unfit: Unfit) -> RecollectError:
    """The refusal of an example."""
    return RecollectError(Reason.TEMPLATE_REFUSED, f"The conversation {unfit}.", fix=unfit.fix)
