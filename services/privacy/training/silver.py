"""Silver data: real text without labels, where what cannot be a name is labelled as nobody's.

A word in small letters that ordinary text is full of is no name; a capitalised one is unknown, but
behind an honorific it is a person. Numbers are unknown too, but in sums, where they are nobody's.
"""

from __future__ import annotations

import calendar
import csv
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import regex

from .fill import Filler
from .fill_numbers import Segment
from .names import locales, places

_TOKEN = regex.compile(r"[\p{L}\p{M}]+|\p{N}+|\s+|[^\s\p{L}\p{M}\p{N}]")
_HONORIFIC = frozenset(
    {"Mr", "Mrs", "Miss", "Sir", "Lady", "Lord", "Dr", "Captain", "Aunt", "Uncle"}
)
_ENDS = frozenset(".!?:;\"“”‘’'-—*#>")
_SMALL = regex.compile(r"(?<![\p{L}\p{M}@#.])\p{Ll}{2,}(?![\p{L}\p{M}])")
_LEAST_COMMON = 30
_LEAST_CHATTED = 25
_MOST_CAPITALISED = 0.15
_PASSAGE = 600


class Silver:
    """Passages of the novels, sums, instructions, intents and support chats of a data folder."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._novels = [text for number, text in enumerate(self._read_novels())
                        if (number % 10 == 9) == (split != "train")]  # fmt: skip
        counts: Counter[str] = Counter()
        capitals: Counter[str] = Counter()
        for novel in self._novels:
            for word in regex.findall(r"(?<=[a-z,;] )[\p{L}]+", novel):
                counts[word.lower()] += 1
                capitals[word.lower()] += word[0].isupper()
        self.ordinary = frozenset(
            word
            for word, count in counts.items()
            if count >= _LEAST_COMMON and capitals[word] <= _MOST_CAPITALISED * count
        )
        """Words that are seldom capitalised inside a sentence."""
        texts = list(self._short_texts())
        chatted = Counter(
            word for kind, text in texts if kind == "chat" for word in _SMALL.findall(text)
        )
        named = _name_words()
        self._chat_words = frozenset(
            word for word, count in chatted.items() if count >= _LEAST_CHATTED and word not in named
        )
        """Small words that customers use often, "kya" and "plz", and nobody is called."""
        self._sums = [text for kind, text in texts if kind == "sum"]
        self._plain = [text for kind, text in texts if kind == "plain"]
        self._chats = [text for kind, text in texts if kind == "chat"]

    def passage(self, draw: random.Random, fill: Filler) -> list[Segment]:
        """One passage with its labels; `UNKNOWN` is for the loss to leave open."""
        form = draw.random()
        if form < 0.4:
            novel = draw.choice(self._novels)
            start = draw.randrange(len(novel) - 2 * _PASSAGE)
            start = novel.find(" ", start) + 1
            return self._labelled(novel[start : start + _PASSAGE], fill, rename=draw.random() < 0.7)
        if form < 0.6:
            return self._labelled(draw.choice(self._sums), fill, numbers=None)
        if form < 0.8:
            return self._labelled(draw.choice(self._plain), fill)
        return self._labelled(draw.choice(self._chats), fill)

    def _labelled(
        self, text: str, fill: Filler, *, rename: bool = False, numbers: str | None = "UNKNOWN"
    ) -> list[Segment]:
        segments: list[Segment] = []
        tokens = _TOKEN.findall(text)
        for i, token in enumerate(tokens):
            label: str | None = None
            if token[0].isalpha():
                label = self._label(tokens, i)
                if label == "PERSON" and rename:
                    token = fill("last")[0][0]
            elif token[0].isdigit():
                label = numbers
            segments.append((token, label))
        return segments

    def _label(self, tokens: list[str], i: int) -> str | None:
        token = tokens[i]
        if token.lower() in self.ordinary and (token[0].islower() or _begins(tokens, i)):
            return None
        if token in self._chat_words:
            return None
        if token[0].islower():
            # Rare words in small letters: typing errors, slang, and now and then a name.
            return "UNKNOWN"
        title = (
            tokens[i - 2] if i >= 2 and tokens[i - 2] != "." else tokens[i - 3] if i >= 3 else ""
        )
        if title in _HONORIFIC and token[0].isupper() and len(token) > 2:
            return "PERSON"
        return "UNKNOWN"

    def _read_novels(self) -> Iterator[str]:
        with gzip.open(self._folder / "text" / "novels.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                yield " ".join(json.loads(line)["text"].split())

    def _short_texts(self) -> Iterator[tuple[str, str]]:
        folder = self._folder
        with gzip.open(
            folder / "general" / "gsm8k_train.jsonl.gz", "rt", encoding="utf-8"
        ) as lines:
            for line in lines:
                row = json.loads(line)
                yield "sum", row["question"] + "\n" + row["answer"]
        with gzip.open(folder / "general" / "self_instruct_seed_tasks.jsonl.gz", "rt") as lines:
            for line in lines:
                row = json.loads(line)
                for one in row["instances"]:
                    yield "plain", f"{row['instruction']}\n{one['input']}\n{one['output']}"[:1500]
        with gzip.open(folder / "task" / "banking77_train.csv.gz", "rt", encoding="utf-8") as lines:
            for record in csv.DictReader(lines):
                yield "chat", record["text"]
        with gzip.open(folder / "task" / "support_dialogues.jsonl.gz", "rt") as lines:
            for line in lines:
                turns = json.loads(line)["turns"]
                yield "chat", "\n\n".join(turn["content"] for turn in turns)[:2500]


def _name_words() -> frozenset[str]:
    """Every word of the known names of people, towns, days and months, in small letters."""
    days = (name.lower() for name in (*calendar.day_name, *calendar.month_name) if name)
    people = (name for locale in locales(())[0] for name in (*locale.first, *locale.last))
    names = (word for name in (*people, *places().cities) for word in name.lower().split())
    return frozenset((*names, *days))


def _begins(tokens: list[str], i: int) -> bool:
    """Whether a sentence begins with the token; "New" within one may begin a name."""
    before = next((t for t in reversed(tokens[:i]) if not t.isspace()), ".")
    return before in _ENDS or tokens[i] == "I"
