"""Whether gates and the phone prefilter lose anything: our recognizers beside Presidio's own.

    python bench/deid_equivalence.py --data FOLDER [--megabytes 10] [RESULT.json]

Reads novels, dialogues, sums and sentences about people, piece by piece, once with every stock
recognizer behind its gate and once with the same recognizers as Presidio makes them, under the same
context rule and threshold, and compares what is found. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from presidio_analyzer.predefined_recognizers import PhoneRecognizer
from rich.console import Console

from recollect.services.intake.columns import leaves
from recollect.services.privacy.detector import Detector
from recollect.services.privacy.gates import GatedRecognizer
from recollect.services.privacy.phone import DensePhoneRecognizer
from recollect.services.privacy.policy import ENTITY_TYPES, Policy

RESULT = Path(__file__).parent / "results" / "deid_equivalence.json"
PIECE = 4_000


def stock(policy: Policy) -> Detector:
    """The same detector with Presidio's recognizers as they are."""
    detector = Detector(policy, without=frozenset({"tagger", "quasi"}))
    opened: list[Any] = []
    for recognizer in detector._recognizers:
        if isinstance(recognizer, GatedRecognizer):
            opened.append(recognizer.inner)
        elif isinstance(recognizer, DensePhoneRecognizer):
            opened.append(PhoneRecognizer(supported_regions=policy.phone_regions))
        else:
            opened.append(recognizer)
    detector._recognizers = detector._analyzer.registry.recognizers = opened
    return detector


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
    theirs = stock(policy)
    size, differing = 0, 0
    found: Counter[str] = Counter()
    seconds = {"ours": 0.0, "stock": 0.0}
    for text in pieces(options.data, options.megabytes):
        size += len(text.encode())
        results = {}
        for name, detector in (("ours", ours), ("stock", theirs)):
            start = time.process_time()
            results[name] = {
                (r.entity_type, r.start, r.end, r.score) for r, _ in detector._read(text)
            }
            seconds[name] += time.process_time() - start
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
