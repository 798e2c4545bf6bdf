"""De-identification on text that the tagger was not trained on, stage by stage; and its speed.

    python bench/deid.py --data FOLDER [--split dev|test] [--policy gdpr-pseudonymous] [RESULT.json]

Sets: what `services/privacy/training` holds back of each gold set (by article, contract or
template), its own templates held back, filled anew, and rows without anybody. Labels differ: where
only people, places and bodies are labelled, dates and ages that we cover are no mistake, so that
precision is told only of sets that label everything.

Speed: the whole cascade and patterns alone, beside stock Presidio with the same patterns and no
model, on the same support dialogues, one core, processor time.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import deid_tables
from rich.console import Console

from recollect.services.privacy import Deidentifier, Finding
from recollect.services.privacy.evaluation import (
    PERTURBATIONS,
    LabelledSpan,
    LabelledText,
    Measured,
    measure,
    perturbed,
    read_labelled,
)
from recollect.services.privacy.policy import Policy, load_policy
from recollect.services.privacy.training.__main__ import nltk_names
from recollect.services.privacy.training.fill import Filler
from recollect.services.privacy.training.fill_numbers import Segment
from recollect.services.privacy.training.gold import merged, read_gold
from recollect.services.privacy.training.template import expand, templates

RESULT = Path(__file__).parent / "results" / "deid.json"
STAGES = ("tagger", "pattern", "quasi", "document")
DOMAINS = ("judgments", "support", "social", "records", "prose")
NER = {"PERSON", "ORG", "LOC"}
PII = NER | {"ADDRESS", "DATE", "CODE"}
EVERY = PII | {"TIME", "AGE", "DEM", "QTY"}
NUM_SYNTHETIC = 400
PERTURBED = {"presidio", "tweets", "judgments", "authored_judgments", "written_judgments"}
DIRECT = {"PERSON", "CODE", "ADDRESS"}
# What a template writes before a slot and what is hidden with it: a form of address, a link's host.
LED_BY = re.compile(r"\b(?:(?:Mrs?|Ms|Miss)\.? |https?://\S*)$")
SPEED_BYTES = 600_000


def labelled(text_id: str, segments: Iterable[Segment], kinds: set[str]) -> LabelledText:
    """Segments as labelled text; one value of one text is one entity.

    A form of address belongs to its name and a link is one thing, as the policies have it.
    """
    text = ""
    spans = []
    for part, label in merged(segments):
        if label in kinds and part.strip():
            led = LED_BY.search(text)
            spans.append(
                LabelledSpan(
                    entity_type=label or "",
                    start=led.start() if led else len(text),
                    end=len(text) + len(part),
                    entity_id=f"{label} {part.lower()}",
                    identifier="direct" if label in DIRECT else "quasi",
                )
            )
        text += part
    return LabelledText(text_id=text_id, text=text, spans=tuple(spans))


def sets(data: Path, split: str) -> dict[str, tuple[list[LabelledText], bool]]:
    """Texts by set, and whether its labels are all that there is to label."""
    rows: dict[str, list[LabelledText]] = {}
    for number, row in enumerate(read_gold(data / "pii")):
        if row.split == split:
            name = row.source.partition("_")[0]
            name = {"btc": "tweets", "wnut17": "comments"}.get(name, name)
            kinds = NER if row.scheme == "ner" else PII
            # A handle stands for somebody in any set; only people's own names are asked for here.
            rows.setdefault(name, []).append(labelled(str(number), row.segments, kinds))
    found = {name: (texts, name == "presidio") for name, texts in rows.items()}
    seed = {"dev": 11, "test": 12}[split]
    for domain in DOMAINS:
        draw = random.Random(seed)
        fill = Filler(draw, nltk_names(data))
        lines = templates(domain, split)
        texts = []
        for number in range(NUM_SYNTHETIC):
            fill.new_document()
            segments: list[Segment] = []
            for _ in range(draw.choice((1, 3, 8))):
                segments += [*expand(draw.choice(lines), fill), ("\n", None)]
            texts.append(labelled(str(number), segments, EVERY))
        found[domain] = (texts, True)
    written = Path(__file__).parent / "data"
    for name in ("authored_judgments", "authored_chats"):
        found[name] = (read_labelled(written / f"{name}.jsonl"), True)
    for name in ("written_judgments", "written_chats", "written_sentences"):
        found[name] = (read_labelled(written / f"{name}_{split}.jsonl"), True)
    return found


def clean_rows(data: Path, split: str) -> dict[str, list[LabelledText]]:
    """Rows without anybody in them."""
    with gzip.open(data / "task" / "banking77_train.csv.gz", "rt", encoding="utf-8") as lines:
        intents = [record["text"] for record in csv.DictReader(lines)]
    step = 7 if split == "dev" else 11
    return {
        "banking intents": [
            LabelledText(text_id=str(n), text=text, spans=())
            for n, text in enumerate(intents[::step])
        ]
    }


def finder(policy: Policy, without: frozenset[str] = frozenset()) -> Callable[[str], list[Finding]]:
    """What finds, with a stage left out."""
    return Deidentifier(policy, bytes(32), without).find


def body(measured: Measured, *, complete: bool) -> dict[str, Any]:
    """Measured figures as plain data, without those that ask for all labels where some lack."""
    figures = measured.to_json()
    if not complete:
        figures["precision"] = figures["over_masked"] = None
    return figures


def quality(data: Path, split: str, policy: Policy, console: Console) -> dict[str, Any]:
    """Every set, with every stage, without each one, and perturbed."""
    whole = finder(policy)
    lesser = {stage: finder(policy, frozenset({stage})) for stage in STAGES}
    result: dict[str, Any] = {}
    for name, (texts, complete) in sets(data, split).items():
        found = body(measure(texts, whole), complete=complete)
        found["num_texts"] = len(texts)
        found["without"] = {
            stage: body(measure(texts, find), complete=complete) for stage, find in lesser.items()
        }
        if name in PERTURBED:
            found["perturbed"] = {
                kind: body(measure(perturbed(texts, kind), whole), complete=complete)
                for kind in PERTURBATIONS
            }
        result[name] = found
        shares = {kind: r["value"] for kind, r in found["mentions"].items()}
        console.print(name, found["recall"], shares, highlight=False)
    for name, texts in clean_rows(data, split).items():
        result[name] = {"over_masked": measure(texts, whole).over_masked.to_json()}
        console.print(name, result[name]["over_masked"], highlight=False)
    return result


def _dialogues(data: Path) -> Iterator[str]:
    path = data / "task" / "support_dialogues.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield "\n\n".join(turn["content"] for turn in json.loads(line)["turns"])


def speed(data: Path, policy: Policy) -> dict[str, Any]:
    """KB of text a second of processor time, on one core."""
    texts: list[str] = []
    size = 0
    for text in _dialogues(data):
        texts.append(text)
        size += len(text.encode())
        if size > SPEED_BYTES:
            break
    stock = _stock_presidio()
    ways: dict[str, Callable[[str], object]] = {
        "cascade": finder(policy),
        "without tagger": finder(policy, frozenset({"tagger"})),
        "tagger and document": finder(policy, frozenset({"pattern"})),
        "stock Presidio, patterns alone": stock,
    }
    return {name: _kilobytes_a_second(find, texts) for name, find in ways.items()}


def _kilobytes_a_second(find: Callable[[str], object], texts: list[str]) -> float:
    for text in texts[:20]:
        find(text)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            find(text)
        best = min(best, time.process_time() - start)
    return round(sum(len(text.encode()) for text in texts) / best / 1000, 1)


def _stock_presidio() -> Callable[[str], object]:
    """Presidio's own analyzer with its default recognizers and no model."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    configuration = {"nlp_engine_name": "no_op", "models": [{"lang_code": "en", "model_name": "x"}]}
    engine = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    return lambda text: analyzer.analyze(text, language="en")


def main() -> int:
    """Measures, prints, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RECOLLECT_DATA"))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--policy", default="gdpr-pseudonymous")
    parser.add_argument("--threshold", type=float, help="another tagger_threshold")
    parser.add_argument("--only", choices=("quality", "speed"))
    parser.add_argument("result", type=lambda text: Path(text).resolve(), nargs="?")
    options = parser.parse_args()
    policy = load_policy(options.policy)
    if options.threshold:
        policy = policy.model_copy(update={"tagger_threshold": options.threshold})
    console = Console(width=200)
    result: dict[str, Any] = {"policy": f"{policy.name} {policy.version}", "split": options.split}
    if options.only != "speed":
        result["quality"] = quality(Path(options.data), options.split, policy, console)
    if options.only != "quality":
        result["speed_kb_per_s"] = speed(Path(options.data), policy)
        result["machine"] = {
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "load_at_end": round(os.getloadavg()[0], 2),
        }
        console.print(result["speed_kb_per_s"])
    if options.result:
        options.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if options.result == RESULT.resolve() and not options.only:
            deid_tables.write(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
