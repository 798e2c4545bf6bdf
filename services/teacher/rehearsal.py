"""Pseudo-rehearsal: the frozen teacher writes examples of what it already knows.

The teacher is given only what stands before a user's turn and writes the question, then the answer
(Xu et al., "Magpie", arXiv 2406.08464). No private text goes in; still, what comes out is treated
like what a person wrote: de-identified, filtered with counted reasons, and bearing its lineage.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example, Lineage, Message, Pointer, Speaker
from ..privacy import StandIn
from .frozen import FrozenTeacher
from .sampling import Dice, Writing, write

PRE_QUERY = "pre-query-1"
"""Prompt id of what the template puts before a question, and nothing else."""


class Rehearsing(BaseModel):
    """How the teacher writes and what is kept of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: Annotated[float, Field(gt=0, le=2)] = 0.9
    """Sampling temperature; 1 samples the teacher as it is."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Nucleus: only the likeliest tokens that together reach this probability."""
    max_tokens: Annotated[int, Field(ge=8)] = 128
    """Longest example in tokens, question and answer together."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Rows that are written together; it does not change what they say."""
    min_question_words: Annotated[int, Field(ge=1)] = 3
    min_answer_words: Annotated[int, Field(ge=1)] = 2
    min_distinct: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least share of distinct among all runs of three tokens; loops fall below it."""
    max_written_per_kept: Annotated[int, Field(ge=1)] = 8
    """The teacher gives up after writing this many times as many examples as were asked for."""

    @property
    def dice(self) -> Dice:
        """How tokens are drawn."""
        return Dice(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A de-identified question that the teacher answers."""

    prompt_id: str
    """Such as `general:<example id>`."""
    text: str


class Deidentified(Protocol):
    """What de-identification gives back."""

    @property
    def messages(self) -> Sequence[Message]:
        """The messages without identifiers."""
        ...

    @property
    def findings(self) -> Sequence[tuple[str, int]]:
        """What was replaced: (entity type, count)."""
        ...

    @property
    def stand_ins(self) -> Sequence[StandIn]:
        """Where in the messages the stand-ins are."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where examples go, and what they must pass on their way."""

    source: str
    policy: str
    """Version of the de-identification policy."""
    deidentify: Callable[[Sequence[Message]], Deidentified]
    """Raises DEIDENTIFICATION_FAILED where it cannot be sure."""
    example_id: Callable[[str, tuple[Message, ...]], str]
    seal: Callable[[str, Sequence[StandIn]], bytes]
    """Seals, for the example of an id, where its stand-ins are."""
    keep: Callable[[Example], bool]
    """Takes an example; False if the source holds it already."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a rehearsal has done so far; written = kept + dropped, always."""

    num_written: int = 0
    num_kept: int = 0
    drops: Counter[str] = field(default_factory=Counter)


class Dropped(Exception):
    """What the teacher wrote is not worth keeping."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def row_seed(seed: int, attempt: int) -> int:
    """Seed of one row, independent of every other row's (63 bits)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{attempt}".encode()).digest()[:8]) >> 1


def read_back(
    teacher: FrozenTeacher, row: Writing, rehearsing: Rehearsing, prompt: Prompt | None
) -> tuple[Message, Message]:
    """Question and answer of a row.

    Raises:
        Dropped: control_token, unfinished, not_text, too_short or repetitive.
    """
    if not row.finished:
        raise Dropped("control_token" if row.stopped else "unfinished")
    turns = teacher.turns
    begin = len(turns.opening)
    end = row.tokens.index(turns.asked, begin)
    question, answer = row.tokens[begin:end], row.tokens[end + 1 + len(turns.between) : -1]
    texts = [teacher.tokenizer.decode(part).strip() for part in (question, answer)]
    if prompt is not None:
        texts[0] = prompt.text
    if any("\N{REPLACEMENT CHARACTER}" in text for text in texts):
        raise Dropped("not_text")
    least = (rehearsing.min_question_words, rehearsing.min_answer_words)
    if any(len(text.split()) < words for text, words in zip(texts, least, strict=True)):
        raise Dropped("too_short")
    if min(distinct(question), distinct(answer)) < rehearsing.min_distinct:
        raise Dropped("repetitive")
    return (
        Message(speaker=Speaker.USER, content=texts[0]),
        Message(speaker=Speaker.ASSISTANT, content=texts[1]),
    )


def distinct(tokens: Sequence[int]) -> float:
    """Distinct runs of three tokens over all of them; 1 for fewer than three tokens."""
    runs = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(runs)) / len(runs) if runs else 1.0


@dataclass(kw_only=True, slots=True)
class Rehearsal:
    """One job of the teacher: some number of examples into one source.

    Equal teacher, seed, settings and thread count give equal examples, whatever the batch size.
    With `prompts` the teacher answers those in turn instead of asking its own questions.
    """

    teacher: FrozenTeacher
    destination: Destination
    rehearsing: Rehearsing
    seed: int
    prompts: Sequence[Prompt] = ()
    tally: Tally = field(default_factory=Tally)
    _seen: set[str] = field(default_factory=set)

    def run(self, num_examples: int) -> Iterator[Tally]:
        """Writes until so many are kept; the tally after every batch.

        It ends early, with fewer, where too little of what the teacher writes can be kept.
        """
        tally = self.tally
        limit = num_examples * self.rehearsing.max_written_per_kept
        while tally.num_kept < num_examples and tally.num_written < limit:
            missing = num_examples - tally.num_kept
            size = min(self.rehearsing.batch_size, 2 * missing + 6, limit - tally.num_written)
            attempts = range(tally.num_written, tally.num_written + size)
            for attempt, row in zip(attempts, self._write(attempts), strict=True):
                if tally.num_kept == num_examples:
                    break
                tally.num_written += 1
                try:
                    self._take(attempt, row)
                    tally.num_kept += 1
                except Dropped as drop:
                    tally.drops[drop.reason] += 1
            self.teacher.ensure_unchanged()
            yield tally

    def _prompt(self, attempt: int) -> Prompt | None:
        return self.prompts[attempt % len(self.prompts)] if self.prompts else None

    def _write(self, attempts: range) -> list[Writing]:
        return write(
            self.teacher,
            [prompt_tokens(self.teacher, self._prompt(attempt)) for attempt in attempts],
            seeds=[row_seed(self.seed, attempt) for attempt in attempts],
            turns=1 if self.prompts else 2,
            dice=self.rehearsing.dice,
        )

    def _take(self, attempt: int, row: Writing) -> None:
        prompt = self._prompt(attempt)
        clean = self._deidentify(read_back(self.teacher, row, self.rehearsing, prompt))
        messages = tuple(clean.messages)
        key = "\n".join(" ".join(m.content.casefold().split()) for m in messages)
        if key in self._seen:
            raise Dropped("duplicate")
        self._seen.add(key)
        example_id = self.destination.example_id(self.destination.source, messages)
        example = Example(
            example_id=example_id,
            source=self.destination.source,
            messages=messages,
            pointer=Pointer(
                file=f"teacher-{self.teacher.digest[:12]}-seed-{self.seed}", row=attempt + 1
            ),
            subject=None,
            policy=self.destination.policy,
            findings=tuple(clean.findings),
            lineage=Lineage(
                teacher_digest=self.teacher.digest,
                prompt_id=prompt.prompt_id if prompt else PRE_QUERY,
                seed=row.seed,
            ),
            stand_ins=self.destination.seal(example_id, clean.stand_ins),
        )
        if not self.destination.keep(example):
            raise Dropped("duplicate")

    def _deidentify(self, messages: Sequence[Message]) -> Deidentified:
        try:
            return self.destination.deidentify(messages)
        except RecollectError as error:
            if error.reason is not Reason.DEIDENTIFICATION_FAILED:
                raise
            raise Dropped("not_deidentified") from error


def prompt_tokens(teacher: FrozenTeacher, prompt: Prompt | None) -> list[int]:
    """What the teacher is given: what stands before a question, or a whole one to be answered."""
    turns = teacher.turns
    return list(turns.opening if prompt is None else turns.prompt(prompt.text))
