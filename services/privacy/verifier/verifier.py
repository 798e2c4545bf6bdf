"""Verifier: what a model of the user's own finds, in whole texts or in their uncertain passages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from ....mixer.errors import Reason, RecollectError
from ..finding import Finding
from ..shadow import shadow_of
from ..tagger import Tagger
from .folder import GLINER_CONFIG, model_folder
from .options import VerifierOptions
from .uncertain import uncertain_passages

_PLAIN = "On 3 May 2019 Rosalind Achterberg of Leeds wrote to rosalind@example.com. "
_MANY = 50
_MOST_AHEAD = 1 << 20
"""Characters that are read together: memory stays flat, however long the texts."""


class Reader(Protocol):
    """A model that reads texts."""

    device: str

    def read(self, texts: Sequence[str]) -> list[list[Finding]]:
        """What it finds in each of them, of stage `verifier`."""
        ...


class Verifier:
    """A model that reads after the other stages, and adds what it finds.

    Args:
        reader: the model.
        only_uncertain: whether it reads only the sentences in which the others may have missed
            something.
    """

    def __init__(self, reader: Reader, *, only_uncertain: bool) -> None:
        self._reader = reader
        self.only_uncertain = only_uncertain
        self._ahead: dict[bytes, list[Finding]] = {}

    @classmethod
    def load(cls, options: VerifierOptions, wanted: Collection[str]) -> Verifier:
        """The verifier of a policy; one model is loaded once a process.

        Args:
            options: of the policy.
            wanted: entity types that it may find.

        Raises:
            RecollectError: MODEL_UNUSABLE, PACKAGE_MISSING, POLICY_INVALID.
        """
        reader = _reader(options.model_dump_json(), frozenset(wanted))
        chosen = options.only_uncertain
        return cls(reader, only_uncertain=reader.device == "cpu" if chosen == "auto" else chosen)

    def prove(self) -> None:
        """Refuse to work with a model that cannot read a plain sentence.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED.
        """
        try:
            # A sentence, and as much as the model can hold.
            self.find([_PLAIN, _PLAIN * _MANY])
        except Exception as error:
            raise RecollectError(
                Reason.DEIDENTIFICATION_FAILED,
                f"The verifier failed its self-test with {type(error).__name__}.",
                where="policy.verifier",
                fix="Choose a model that the installed torch and transformers run.",
            ) from None

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """What the model finds in each of the texts, read whole, whatever `only_uncertain` says.

        Whatever the model raises comes through: who calls it refuses the text.
        """
        shadows = [shadow_of(text) for text in texts]
        read = self._reader.read([shadow.text for shadow in shadows])
        found: list[list[Finding]] = []
        for shadow, findings in zip(shadows, read, strict=True):
            spans = (shadow.span(finding.start, finding.end) for finding in findings)
            found.append(
                [
                    replace(finding, start=start, end=end)
                    for finding, (start, end) in zip(findings, spans, strict=True)
                ]
            )
        return found

    def read_ahead(self, texts: Iterable[str]) -> None:
        """Read texts together that `find_beside` will be asked for one by one.

        Large batches fill a GPU. Where only what is uncertain is read nothing happens; nor where it
        fails: the text that is to blame fails again when it is asked for, and no other. What was
        read ahead before, and never asked for, is forgotten; of a text itself nothing is kept.
        """
        self._ahead = {}
        if self.only_uncertain:
            return
        room = _MOST_AHEAD
        chosen = []
        for text in texts:
            room -= len(text)
            if room < 0:
                break
            chosen.append(text)
        with suppress(Exception):
            found = self.find(chosen)
            self._ahead = {_digest(t): f for t, f in zip(chosen, found, strict=True)}

    def find_beside(
        self, tagger: Tagger | None, text: str, found: Iterable[Finding]
    ) -> list[Finding]:
        """What the model finds in a text in which the other stages found something already.

        Args:
            tagger: that tells what is uncertain; without one, the whole text is.
            text: to read.
            found: by the other stages.
        """
        if tagger is None or not self.only_uncertain:
            ahead = self._ahead.pop(_digest(text), None)
            return self.find([text])[0] if ahead is None else ahead
        passages = uncertain_passages(tagger, text, found)
        read = self.find([text[start:end] for start, end in passages])
        return [
            f.moved(start) for (start, _), more in zip(passages, read, strict=True) for f in more
        ]


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()


@lru_cache(maxsize=2)
def _reader(options: str, wanted: frozenset[str]) -> Reader:
    chosen = VerifierOptions.model_validate_json(options)
    folder = model_folder(chosen)
    if (folder / GLINER_CONFIG).is_file():
        from .gliner import GlinerModel

        return GlinerModel(folder, chosen, wanted)
    from .classifier import TokenClassifier

    return TokenClassifier(folder, chosen, wanted)
