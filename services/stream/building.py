"""Building: the rows of a source rendered in their order, and how far that has come.

The tokenizer encodes a group of examples in threads of its own. A second group rendered meanwhile
makes a build no faster on two cores, which are busy then, and hardly on more: what a chat template
does is done in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from time import monotonic
from typing import Protocol

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Example
from .template import ChatTemplate, Rendered

CHARACTERS_AT_ONCE = 1 << 18
"""How much text is encoded together: enough for the tokenizer's threads."""
SECONDS_BETWEEN = 5.0
"""How long a build goes on before it is told of, and then from one report to the next."""


class Progress(Protocol):
    """Is told how far a build has come."""

    def __call__(self, *, num_rows: int, num_rows_in_all: int, seconds: float) -> None:
        """Takes a report; the last one comes with all rows, once the cache is there."""
        ...


def rendered_chunks(
    template: ChatTemplate, examples: Iterable[Example], *, max_length: int, chunk_rows: int
) -> Iterator[list[Rendered]]:
    """The rows of examples in their order, so many at a time; the last ones may be fewer.

    Raises:
        RecollectError: TEMPLATE_REFUSED, naming the example that the chat template does not take.
    """
    iterator = iter(examples)
    while chunk := list(islice(iterator, chunk_rows)):
        yield [
            row
            for group in _groups(chunk)
            for row in _rendered(template, group, max_length=max_length)
        ]


class Reports:
    """Reports of a build, of which there are few."""

    def __init__(self, num_rows_in_all: int, progress: Progress) -> None:
        """Begins to count the time."""
        self._in_all = num_rows_in_all
        self._progress = progress
        self._begun = self._told = monotonic()

    def done(self, num_rows: int) -> None:
        """Reports, if it is time, that so many rows are done."""
        if monotonic() - self._told >= SECONDS_BETWEEN:
            self._told = monotonic()
            self._tell(num_rows)

    def finished(self) -> None:
        """Reports that the cache is there."""
        self._tell(self._in_all)

    def _tell(self, num_rows: int) -> None:
        seconds = round(monotonic() - self._begun, 3)
        self._progress(num_rows=num_rows, num_rows_in_all=self._in_all, seconds=seconds)


def _groups(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """The examples in groups that are small enough to be encoded at once.

    An encoding takes a hundred times the memory of the tokens that are kept of it.
    """
    group: list[Example] = []
    num_characters = 0
    for example in examples:
        group.append(example)
        num_characters += sum(len(message.content) for message in example.messages)
        if num_characters >= CHARACTERS_AT_ONCE:
            yield group
            group, num_characters = [], 0
    if group:
        yield group


def _rendered(
    template: ChatTemplate, group: Sequence[Example], *, max_length: int
) -> list[Rendered]:
    try:
        return template.render_batch([item.messages for item in group], max_length=max_length)
    except RecollectError as error:
        if error.reason is not Reason.TEMPLATE_REFUSED:
            raise
    # Which of them it was is found by trying each alone.
    return [_rendered_alone(template, item, max_length=max_length) for item in group]


def _rendered_alone(template: ChatTemplate, item: Example, *, max_length: int) -> Rendered:
    try:
        return template.render(item.messages, max_length=max_length)
    except RecollectError as error:
        error.where = f"source {item.source}, example {item.example_id}"
        raise
