"""A process of Recollect with broken recognizers: words in a text set faults off, and are counted.

Run as a program it is the command line, or, with `dataset IN OUT QUARANTINE`, what
`datasets.Dataset.map` does with a batch. Processes that it starts are broken as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before Presidio, as in the processes that are not broken: what it imports depends on it.
import recollect.services.privacy  # noqa: F401  # isort: skip

import numpy as np
from presidio_analyzer import LocalRecognizer, Pattern, PatternRecognizer, RecognizerResult

from recollect.services.privacy import detector, recognizers, sealed, tagging
from recollect.services.privacy.names import PersonRecognizer
from recollect.services.privacy.quasi_patterns import QuasiPatternRecognizer
from recollect.services.privacy.surrogates import Surrogates
from recollect.services.privacy.tagger import Tagger

COUNTS = "FAULT_COUNTS"
"""Environment variable: file that a line is appended to whenever a fault is set off."""
BACKTRACKING = "a" * 30 + "b c"
"""What the pathological pattern backtracks on for ages."""


class Fault(Exception):
    """A failure of somebody else's code; its message quotes the text."""


def hit(name: str) -> int:
    """Counts a fault; how often it was set off before."""
    path = Path(os.environ[COUNTS])
    before = path.read_text().split().count(name) if path.exists() else 0
    with path.open("a") as file:
        file.write(f"{name}\n")
    return before


def _failing(name: str, original: Callable[..., Any], error: type[BaseException]) -> Any:
    """The function, which fails where one of its arguments holds the name of the fault."""

    def analyze(self: Any, text: str, *rest: Any, **named: Any) -> Any:
        if name in text:
            hit(name)
            raise error(f"cannot read {text}")
        return original(self, text, *rest, **named)

    return analyze


class _Astray(LocalRecognizer):
    """Points to where the text is not."""

    def __init__(self) -> None:
        super().__init__(supported_entities=["PERSON"], name="Astray")

    def load(self) -> None:
        pass

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> Any:
        spans = {
            "zqbeyond": (0, len(text) + 40),
            "zqoutside": (len(text) + 5, len(text) + 9),
            "zqbefore": (-7, 3),
        }
        for name, (start, end) in spans.items():
            if name in text:
                hit(name)
                return [RecognizerResult("PERSON", start, end, 0.9)]
        return []


def _slow() -> PatternRecognizer:
    pattern = Pattern("pathological", r"(a|a)*c", 0.9)
    return PatternRecognizer(supported_entity="ORDER_ID", patterns=[pattern], name="Slow")


def _counting(original: Callable[..., Iterator[Any]]) -> Any:
    """`SealedRegex._matches`, whose time-outs are counted."""

    def matches(self: Any, text: str, stretches: Any) -> Iterator[Any]:
        try:
            yield from original(self, text, stretches)
        except sealed.PatternTimeout:
            hit("zqtimeout")
            raise

    return matches


def _tagging(original: Callable[..., Any]) -> Any:
    """`Tagger._of_words`, which fails, or whose numbers are none."""

    def embedded(self: Any, words: Any) -> Any:
        answer = original(self, words)
        if "zqtagger" in words.texts:
            hit("zqtagger")
            raise FloatingPointError("overflow in " + " ".join(words.texts))
        if "zqnan" in words.texts:
            hit("zqnan")
            return np.full_like(answer, np.nan)
        return answer

    return embedded


def _standing_in(original: Callable[..., str]) -> Any:
    """`Surrogates.stand_in`, which fails, or gives back what it was given."""

    def stand_in(self: Any, kind: str, value: str, *rest: Any, **named: Any) -> str:
        for name in ("zqstandin", "zqsame"):
            if name in value:
                hit(name)
                if name == "zqstandin":
                    raise Fault(value)
                return value
        return original(self, kind, value, *rest, **named)

    return stand_in


def _deadly(original: Callable[..., Any]) -> Any:
    """`PersonRecognizer.analyze` of a process that dies of a text, or is killed over it."""

    def analyze(self: Any, text: str, *rest: Any, **named: Any) -> Any:
        if "zqdies" in text:
            hit("zqdies")
            os.kill(os.getpid(), signal.SIGKILL)
        if "zqwaits" in text and hit("zqwaits") == 0:
            Path(os.environ[COUNTS] + ".pid").write_text(str(os.getpid()))
            time.sleep(120)
        return original(self, text, *rest, **named)

    return analyze


def install() -> None:
    """Breaks the recognizers of this process."""
    own = recognizers.own_recognizers
    patches: list[tuple[Any, str, Any]] = [
        (detector, "own_recognizers", lambda: [*own(), _slow(), _Astray()]),
        (sealed.SealedRegex, "_matches", _counting(sealed.SealedRegex._matches)),
        (Tagger, "_of_words", _tagging(Tagger._of_words)),
        (Surrogates, "stand_in", _standing_in(Surrogates.stand_in)),
    ]
    for owner, attribute, patched in patches:
        setattr(owner, attribute, patched)
    for name, owner, error in (
        ("zqexception", PersonRecognizer, Fault),
        ("zqmemory", PersonRecognizer, MemoryError),
        ("zqrecursion", tagging.TaggerRecognizer, RecursionError),
        ("zqquasi", QuasiPatternRecognizer, Fault),
    ):
        owner.analyze = _failing(name, owner.analyze, error)  # type: ignore[method-assign]
    PersonRecognizer.analyze = _deadly(PersonRecognizer.analyze)  # type: ignore[method-assign]


def dataset(source: Path, target: Path, quarantine: Path) -> None:
    """De-identifies the rows of a file through the face for data sets."""
    from datasets import Dataset

    from recollect.services.deid_dataset import DatasetDeidentifier
    from recollect.services.deid_rows import RowOptions
    from recollect.services.privacy.policy import load_policy

    rows = json.loads(source.read_text())
    policy = load_policy(os.environ["FAULT_POLICY"])
    options = RowOptions(policy=policy, key=bytes(range(32)))
    replacing = DatasetDeidentifier(options, quarantine=quarantine)
    texts = [bytes.fromhex(r["hex"]) if "hex" in r else r["text"] for r in rows]
    batch = {"id": [r["id"] for r in rows], "text": texts}
    Dataset.from_dict(replacing(batch, list(range(len(rows))))).to_json(target)


# Processes that are started for more work run this file again, under the second name.
if __name__ in ("__main__", "__mp_main__"):
    install()
if __name__ == "__main__":
    if sys.argv[1] == "dataset":
        dataset(*map(Path, sys.argv[2:]))
    else:
        from recollect.services.cli import main

        main()
