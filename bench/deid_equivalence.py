"""Whether anchors, gates and the phone prefilter lose anything: our reading beside Presidio's.

    python bench/deid_equivalence.py --data FOLDER [--megabytes 10] [RESULT.json]

Reads novels, dialogues, sums and sentences about people, piece by piece, once as we read and once
with Presidio's engine, which tries the same recognizers everywhere, under the same context rule and
threshold, and compares what is found. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, RecognizerResult
from presidio_analyzer.predefined_recognizers import PhoneRecognizer
from rich.console import Console

from recollect.services.intake.columns import leaves
from recollect.services.privacy.detector import Detector
from recollect.services.privacy.engine import BlankEngine, ContextRule
from recollect.services.privacy.phone import DensePhoneRecognizer
from recollect.services.privacy.policy import ENTITY_TYPES, Policy

RESULT = Path(__file__).parent / "results" / "deid_equivalence.json"
PIECE = 4_000


def stock(policy: Policy) -> Callable[[str], list[RecognizerResult]]:
    """Presidio's engine with the same patterns, as it tries them, and its own phone recognizer."""
    recognizers: list[Any] = []
    for recognizer in Detector(policy, without=frozenset({"tagger", "quasi"}))._recognizers:
        if isinstance(recognizer, DensePhoneRecognizer):
            recognizer = PhoneRecognizer(supported_regions=policy.phone_regions)
        for pattern in getattr(recognizer, "patterns", ()):
            pattern.compiled_regex = None
        recognizers.append(recognizer)
    engine = AnalyzerEngine(
        registry=RecognizerRegistry(recognizers=recognizers, supported_languages=["en"]),
        nlp_engine=BlankEngine(),
        supported_languages=["en"],
        context_aware_enhancer=ContextRule(),
    )
    return lambda text: list(engine.analyze(text, language="en", score_threshold=0.0))


def pieces(data: Path, megabytes: float) -> Iterator[str]:
    """Texts of every folder in turn, until there are so many bytes."""
    left = megabytes * 1e6
    readers = [strings(path) for path in sorted(data.rglob("*.jsonl.gz"))]
    while readers:
        for reader in list(readers):
            text = next(reader, None)
            if text is None:
                readers.remove(reader)
                continue
            yield text
            left -= len(text.encode())
            if left <= 0:
                return


def strings(path: Path) -> Iterator[str]:
    """The strings of a JSONL file, in pieces of a message's length."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = "\n".join(leaves(json.loads(line)))
            for start in range(0, len(text), PIECE):
                yield text[start : start + PIECE]


def main() -> int:
    """Compares, prints, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RECOLLECT_DATA"))
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("result", type=Path, nargs="?", default=RESULT)
    options = parser.parse_args()
    policy = Policy(entities=ENTITY_TYPES)
    ours = Detector(policy, without=frozenset({"tagger", "quasi"}))
    ways = {"ours": ours._reader.read, "stock": stock(policy)}
    size, differing = 0, 0
    found: Counter[str] = Counter()
    seconds = {"ours": 0.0, "stock": 0.0}
    for text in pieces(options.data, options.megabytes):
        size += len(text.encode())
        results = {}
        for name, read in ways.items():
            start = time.process_time()
            found_here = read(text)
            seconds[name] += time.process_time() - start
            results[name] = {
                (r.entity_type, r.start, r.end, round(r.score, 6))
                for r in found_here
                if r.score >= policy.score_threshold
            }
        found.update(kind for kind, *_ in results["stock"])
        differing += results["ours"] != results["stock"]
    told = {
        "bytes": size,
        "texts_that_differ": differing,
        "findings": dict(sorted(found.items())),
        "ratio_of_time": round(seconds["stock"] / seconds["ours"], 2),
    }
    Console().print(told)
    options.result.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
