"""What the shipped teacher is trained on: permissively licensed text, never an evaluation row."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One row of the corpus."""

    source: str
    messages: Messages
    """(speaker, content) pairs; a plain text has the speaker `text`."""

    @property
    def key(self) -> int:
        """A number that depends on the content alone."""
        text = "\x1f".join(content for _, content in self.messages)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


HOLD_OUT = {
    "novels": 100,
    "induction": 200,
    "maths": 100,
    "general": 12,
    "refusals": 10,
    "safe_completions": 10,
    "counterexamples": 10,
}
"""One row in this many is kept from training, for the model card and to choose recipes with."""
REPEATS = {
    "novels": 1,
    "maths": 2,
    "general": 12,
    "induction": 1,
    "refusals": 28,
    "safe_completions": 28,
    "counterexamples": 28,
}
"""How often a row of a source occurs in the second stage: small sources are shown more often."""
SOURCES = {
    "novels": "ELTeC-eng, passages of English novels 1840-1920 (texts public domain, CC BY 4.0)",
    "maths": "GSM8K, training part (MIT)",
    "general": "Self-Instruct, seed and user-oriented tasks (Apache-2.0)",
    "induction": "Instruction Induction (Apache-2.0)",
    "refusals": "written for this project (Apache-2.0)",
    "safe_completions": "written for this project (Apache-2.0)",
    "counterexamples": "written for this project (Apache-2.0)",
}


SKIPPED = ("translation", "negation")
"""Tasks left out: other languages, and sentences taken from share-alike text."""


def read_language(data: Path) -> list[Document]:
    """The first stage: passages of novels and short tasks. The tokenizer is made from it alone."""
    return [
        *_documents("novels", _novels(data, 9_000, "first")),
        *_documents("induction", _induction(data, 6_000)),
    ]


def read_behaviour(data: Path, sample: Path) -> list[Document]:
    """The second stage: maths, instructions and refusals, with some of the first stage.

    Rows whose question occurs in the sample's evaluate/ folder are left out; small sources repeat.
    """
    asked = {"maths": _maths(data), "general": _general(data)}
    for name in ("refusals", "safe_completions", "counterexamples"):
        asked[name] = _authored(sample, name)
    forbidden = evaluation_text(sample)
    documents = [
        *_documents("novels", _novels(data, 2_500, "second")),
        *_documents("induction", _induction(data, 6_000)),
    ]
    for source, rows in asked.items():
        kept = [m for m in rows if not _asked(m, forbidden)]
        documents += _documents(source, kept) * REPEATS[source]
    return documents


def _documents(source: str, rows: Iterable[Messages]) -> list[Document]:
    return [Document(source=source, messages=messages) for messages in rows]


def held_out(document: Document) -> bool:
    """Whether a row is kept from training although it is no evaluation row."""
    every = HOLD_OUT.get(document.source)
    return every is not None and document.key % every == 0


def evaluation_text(sample: Path) -> str:
    """All strings of the evaluation files, squeezed, as one text to look questions up in."""
    strings: list[str] = []
    for path in sorted((sample / "evaluate").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            _collect(json.loads(line), strings)
    return "\n".join(_squeeze(text) for text in strings)


def _collect(value: Any, into: list[str]) -> None:
    if isinstance(value, str):
        into.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, into)
    elif isinstance(value, list):
        for item in value:
            _collect(item, into)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _asked(messages: Messages, forbidden: str) -> bool:
    """Whether the evaluation text holds the question, or its first paragraph (the instruction)."""
    question = next(content for speaker, content in messages if speaker == "user")
    return any(_squeeze(q) in forbidden for q in (question, question.split("\n\n")[0]))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _chat(question: str, answer: str) -> Messages:
    return (("user", question.strip()), ("assistant", answer.strip()))


def _novels(data: Path, num_passages: int, stage: str) -> Iterator[Messages]:
    """Passages of about 700 characters, spread evenly over all novels."""
    novels = list(_rows(data / "text" / "novels.jsonl.gz"))
    for novel in novels:
        text = novel["text"][5_000:]
        passages = [p for p in _passages(text) if len(p) > 200]
        keep = min(num_passages // len(novels), len(passages))
        yield from (
            (("text", p),) for p in random.Random(stage + novel["id"]).sample(passages, keep)
        )


def _passages(text: str, size: int = 700) -> Iterator[str]:
    passage = ""
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        if passage and len(passage) + len(sentence) > size:
            yield passage
            passage = ""
        passage = f"{passage} {sentence}".strip()


def _maths(data: Path) -> Iterator[Messages]:
    for row in _rows(data / "general" / "gsm8k_train.jsonl.gz"):
        yield _chat(row["question"], re.sub(r"<<[^>]*>>", "", row["answer"]))


def _general(data: Path) -> Iterator[Messages]:
    for name in ("self_instruct_seed_tasks", "self_instruct_user_oriented"):
        for row in _rows(data / "general" / f"{name}.jsonl.gz"):
            for instance in row["instances"][:2]:
                prompt = "\n\n".join(filter(None, (row["instruction"], instance["input"])))
                yield _chat(prompt, instance["output"])


def _induction(data: Path, num_rows: int) -> Iterator[Messages]:
    folder = data / "general"
    prompts = json.loads((folder / "instruction_induction_prompts.json").read_text("utf-8"))
    chosen = random.Random("induction")
    rows = list(_rows(folder / "instruction_induction.jsonl.gz"))
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "input" not in row or row["task"].startswith(SKIPPED):
            continue
        by_task.setdefault(row["task"], []).append(row)
    for task, members in sorted(by_task.items()):
        wordings = prompts.get(task, {}).get("annotations") or [task.replace("_", " ")]
        for row in chosen.sample(members, min(len(members), num_rows // len(by_task))):
            yield _chat(f"{chosen.choice(wordings)}\n\n{row['input']}", str(row["output"]))


def _authored(sample: Path, name: str) -> Iterator[Messages]:
    for row in _rows(sample / "authored" / f"{name}.jsonl"):
        yield tuple((m["role"], m["content"]) for m in row["messages"])
