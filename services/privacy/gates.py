"""Gates: stock recognizers that only run where their findings are possible at all.

A gate never loses a finding: it asks for something that every finding of its recognizer contains,
or for a context word without which none can reach the threshold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from presidio_analyzer import EntityRecognizer, PatternRecognizer, RecognizerResult

# What the text must hold for a finding: cheaper to look for than the finding itself.
_GATES = {
    "EMAIL_ADDRESS": re.compile(r"@"),
    "IP_ADDRESS": re.compile(r"\d\.\d{1,3}\.\d|::|:[0-9A-Fa-f]{1,4}:"),
    "MAC_ADDRESS": re.compile(
        r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}\1[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\."
    ),
    "MEDICAL_LICENSE": re.compile(r"[A-Za-z9]\d{7}"),
    "UUID": re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-"),
}

PATTERN_GATES: Mapping[str, re.Pattern[str]] = {
    "at and dot": re.compile(r" dot ", re.I),
    "at in brackets": re.compile(r"[\[({<] ?at ?[\])}>]", re.I),
    "handle": re.compile("@"),
    "numbered handle": re.compile(r"[_.][A-Za-z]{3}"),
    "payment handle": re.compile("@"),
}
"""Pattern of ours → what each of its matches holds."""


class GatedRecognizer(EntityRecognizer):
    """Runs a recognizer only on texts that hold what each of its findings must hold."""

    def __init__(self, inner: EntityRecognizer, gate: re.Pattern[str]) -> None:
        self.inner = inner
        self._gate = gate
        super().__init__(
            supported_entities=inner.supported_entities,
            name=_name_of(inner),
            supported_language=inner.supported_language,
            context=inner.context,
        )

    @property
    def id(self) -> str:
        """The inner recognizer's: Presidio drops findings of an id that it did not register."""
        return str(self.inner.id)

    def load(self) -> None:
        """Load the recognizer behind the gate."""
        self.inner.load()

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        """What the recognizer finds, or nothing where the gate is shut."""
        if self._gate.search(text) is None:
            return []
        return list(self.inner.analyze(text, entities, nlp_artifacts))


def gated(recognizer: EntityRecognizer, threshold: float) -> EntityRecognizer:
    """A stock recognizer behind its gate.

    Where no pattern reaches the threshold by itself and no checksum lifts it, one of the context
    words must stand in the text, or nothing can come of it.
    """
    gate = _GATES.get(recognizer.supported_entities[0])
    if gate is not None:
        return GatedRecognizer(recognizer, gate)
    if (
        isinstance(recognizer, PatternRecognizer)
        and recognizer.context
        and _is_weak(recognizer, threshold)
    ):
        words = "|".join(re.escape(word.strip().lower()) for word in recognizer.context)
        return GatedRecognizer(recognizer, re.compile(rf"(?i)(?<![a-z])(?:{words})"))
    return recognizer


def _name_of(recognizer: Any) -> str:
    return str(recognizer.name)


def _is_weak(recognizer: Any, threshold: float) -> bool:
    checks = type(recognizer).validate_result is not PatternRecognizer.validate_result
    return not checks and all(pattern.score < threshold for pattern in recognizer.patterns)
