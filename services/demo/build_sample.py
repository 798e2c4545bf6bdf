"""The sample's builder: from public data sets and authored rows to `data/train`, `data/evaluate`.

    python -m recollect.services.demo.build_sample --data FOLDER

Which rows are taken, and on which side of the split they fall, depends on a hash of the row alone,
so that two builds from the same input give the same bytes. `data/README.md` says where each file
comes from and what was changed.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from ...mixer.errors import Reason, RecollectError

Row = dict[str, Any]
Key = Callable[[Row], str]

SAMPLE = Path(__file__).resolve().parent / "data"
"""Where the sample lies inside the package, and where `authored/` is read from."""

NUM_GENERAL_EXTRA = (65, 20)
NUM_ARITHMETIC = (240, 60)
EVALUATE_SHARE = 0.2
AUTHORED = ("refusals", "safe_completions", "counterexamples")

SEEDS_LEFT_OUT = frozenset({"seed_task_67", "seed_task_79", "seed_task_151", "seed_task_172"})
"""Two quote crude abuse, one the lyrics of a song, one forum posts of real people."""
APPS_LEFT_OUT = re.compile(
    "CNN News|Facebook|IMDB|Instagram|Messenger|Netflix|Quora|Reddit|Scribd|Spotify|"
    "Telegram|Twitter|ludwig.guru|tripadvisor.com|[Yy]elp"
)
"""Instructions made after these may quote posts, reviews or articles of third parties."""
MAX_GENERAL_CHARACTERS = 900

_EMAIL = re.compile(r"([\w.+%-]+)@[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*)*")
_PHONE = re.compile(
    r"(?<![\w-])(?<!\d\.)(?:"
    r"\+\d{1,3}[ -]?\d{10}"  # international
    r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}([-. ])\d{3}\1\d{4}"  # grouped 3-3-4
    r"|1800[- ]\d{2,4}[- ]\d{4}"  # free of charge
    r"|0\d{2,4}-\d{6,8}|\d{5}[- ]\d{5}|\d{10}"  # land line, mobile
    r")(?![\w-]*\d)"
)
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_AREAS = ("202", "303", "404", "512", "617", "702", "808", "919")


def fingerprint(text: str) -> str:
    """The hash that orders rows: stable over machines and Python versions."""
    return sha256(text.encode()).hexdigest()


def _reserved_number(match: re.Match[str]) -> str:
    """A number of 555-0100 … 555-0199, which is never assigned, written as the match was."""
    digits = re.sub(r"\D", "", match.group())
    choice = int(fingerprint(digits[-10:]), 16)
    fresh = f"{_AREAS[choice % 8]}55501{choice // 8 % 100:02d}"
    shape = re.sub(r"\d", "0", match.group())
    if shape in ("000-000-0000", "000.000.0000", "000 000 0000", "(000) 000-0000", "(000)000-0000"):
        return re.sub(r"0{3,4}", "{}", shape).format(fresh[:3], fresh[3:6], fresh[6:])
    return f"+1-{fresh[:3]}-{fresh[3:6]}-{fresh[6:]}" if shape[0] == "+" else fresh


def without_contacts(value: Any) -> Any:
    """The value with every e-mail address moved to example.com and every phone number reserved."""
    if isinstance(value, str):
        return _PHONE.sub(_reserved_number, _EMAIL.sub(r"\1@example.com", value))
    if isinstance(value, list):
        return [without_contacts(item) for item in value]
    if isinstance(value, dict):
        return {name: without_contacts(item) for name, item in value.items()}
    return value


def _open(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "An input of the sample is missing.",
            where=str(path),
            fix="Name the folder that holds the public data sets with --data or RECOLLECT_DATA.",
        ) from error
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in _open(path).split("\n") if line]


def _by_hash(rows: Iterable[Row], key: Key) -> list[Row]:
    return sorted(rows, key=lambda row: fingerprint(key(row)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One source's rows on the two sides; the sides share no row."""

    train: Sequence[Row]
    evaluate: Sequence[Row]


def _first(rows: Sequence[Row], num_train: int, num_evaluate: int) -> Split:
    chosen = rows[: num_train + num_evaluate]
    return Split(train=chosen[:num_train], evaluate=chosen[num_train:])


def breaks_alternation(dialogue: Mapping[str, Any]) -> bool:
    """Whether two turns in a row have one speaker, or the agent opens."""
    speakers = [turn["role"].lower() for turn in dialogue["turns"]]
    return speakers[0] != "user" or any(a == b for a, b in pairwise(speakers))


def _spells_capitalised(dialogue: Mapping[str, Any]) -> bool:
    return any(turn["role"] in ("User", "Agent") for turn in dialogue["turns"])


def _dialogue_kind(dialogue: Mapping[str, Any]) -> str:
    if breaks_alternation(dialogue):
        return "broken"
    return "capitalised" if _spells_capitalised(dialogue) else "plain"


def support(data: Path) -> Split:
    """250 dialogues; the messy ones are drawn apart, so that a small sample still has them."""
    kinds: dict[str, list[Row]] = {"broken": [], "capitalised": [], "plain": []}
    rows = _rows(data / "task" / "support_dialogues.jsonl.gz")
    for row in _by_hash(rows, lambda row: row["id"]):
        kinds[_dialogue_kind(row)].append(without_contacts(row))
    parts = [
        _first(kinds["broken"], 10, 2),
        _first(kinds["capitalised"], 15, 4),
        _first(kinds["plain"], 180, 39),
    ]
    return Split(
        train=_by_hash((row for part in parts for row in part.train), lambda row: row["id"]),
        evaluate=_by_hash((row for part in parts for row in part.evaluate), lambda row: row["id"]),
    )


def actions(data: Path) -> Split:
    """The ABCD sample: the utterances and their speakers, without the scenario behind them."""
    dialogues = json.loads(_open(data / "task" / "abcd_sample.json"))
    rows = [
        {"convo_id": row["convo_id"], "original": without_contacts(row["original"])}
        for row in dialogues
    ]
    return Split(train=rows, evaluate=[])


def _alpaca(task: Row) -> Row:
    instance = task["instances"][0]
    row: Row = without_contacts({"instruction": task["instruction"], **instance})
    return row


def _num_characters(row: Row) -> int:
    return sum(map(len, row.values()))


def general(data: Path) -> Split:
    """The self-instruct seeds and some of its user-oriented instructions, in the Alpaca layout."""
    folder = data / "general"
    tasks = _rows(folder / "self_instruct_seed_tasks.jsonl.gz")
    kept = [_alpaca(task) for task in tasks if task["id"] not in SEEDS_LEFT_OUT]
    seeds = _by_hash(kept, lambda row: json.dumps(row))
    num_evaluate = round(len(seeds) * EVALUATE_SHARE)
    core = _first(seeds, len(seeds) - num_evaluate, num_evaluate)
    more = [
        row
        for task in _rows(folder / "self_instruct_user_oriented.jsonl.gz")
        if not APPS_LEFT_OUT.fullmatch(task["motivation_app"])
        if "offensive" not in task["instruction"]
        if _num_characters(row := _alpaca(task)) <= MAX_GENERAL_CHARACTERS
    ]
    extra = _first(_by_hash(more, lambda row: json.dumps(row)), *NUM_GENERAL_EXTRA)
    return Split(
        train=[*core.train, *extra.train],
        evaluate=[*core.evaluate, *extra.evaluate],
    )


def arithmetic(data: Path) -> Split:
    """300 problems of GSM8K, without the calculator marks `<<48/2=24>>` inside the answers."""
    rows = [
        {"question": row["question"], "answer": _CALCULATOR.sub("", row["answer"])}
        for row in _rows(data / "general" / "gsm8k_train.jsonl.gz")
    ]
    return _first(_by_hash(rows, lambda row: row["question"]), *NUM_ARITHMETIC)


def authored(name: str) -> Split:
    """The rows of `authored/NAME.jsonl`, four fifths of them for training."""
    rows = _rows(SAMPLE / "authored" / f"{name}.jsonl")
    num_evaluate = round(len(rows) * EVALUATE_SHARE)
    ordered = _by_hash(rows, lambda row: row["messages"][0]["content"])
    return _first(ordered, len(rows) - num_evaluate, num_evaluate)


def splits(data: Path) -> dict[str, Split]:
    """Every source of the sample, by the name of its file."""
    real = {
        "support": support(data),
        "abcd": actions(data),
        "self_instruct": general(data),
        "gsm8k": arithmetic(data),
    }
    return real | {name: authored(name) for name in AUTHORED}


def _write(rows: Sequence[Row], path: Path) -> None:
    """Replaces the file at once: a reader sees the old sample or the new one."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    part.replace(path)


def build(data: Path, into: Path) -> dict[str, Split]:
    """Writes the sample below `into` and returns what it wrote."""
    sources = splits(data)
    for side in ("train", "evaluate"):
        (into / side).mkdir(parents=True, exist_ok=True)
        for name, split in sources.items():
            rows: Sequence[Row] = getattr(split, side)
            if rows:
                _write(rows, into / side / f"{name}.jsonl")
    return sources


def texts(value: Any) -> Iterator[str]:
    """Every text inside a row, without identifiers and speakers."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in ("id", "role"):
                yield from texts(item)


def eight_grams(row: Row) -> set[tuple[str, ...]]:
    """The runs of eight words inside the row's texts, in lower case."""
    grams: set[tuple[str, ...]] = set()
    for text in texts(row):
        words = re.findall(r"\w+", text.lower())
        grams.update(tuple(words[at : at + 8]) for at in range(len(words) - 7))
    return grams


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """How much of a source's evaluation rows stands in the training rows of any source."""

    num_shared_rows: int
    share_of_rows: float
    """Evaluation rows with at least one eight-gram that is in training."""
    share_of_grams: float


def overlaps(sources: Mapping[str, Split]) -> dict[str, Overlap]:
    """The overlap of every source that has evaluation rows."""
    trained = [row for split in sources.values() for row in split.train]
    known_rows = {"\n".join(texts(row)) for row in trained}
    known = set().union(*map(eight_grams, trained))
    figures = {}
    for name, split in sources.items():
        if not split.evaluate:
            continue
        grams = [eight_grams(row) for row in split.evaluate]
        num_grams = sum(map(len, grams))
        figures[name] = Overlap(
            num_shared_rows=sum("\n".join(texts(row)) in known_rows for row in split.evaluate),
            share_of_rows=sum(not known.isdisjoint(found) for found in grams) / len(grams),
            share_of_grams=sum(len(found & known) for found in grams) / max(num_grams, 1),
        )
    return figures


def main(
    data: Annotated[Path, typer.Option(envvar="RECOLLECT_DATA", help="Folder of public data.")],
    into: Annotated[Path, typer.Option(help="Folder that gets train/ and evaluate/.")] = SAMPLE,
) -> None:
    """Builds the sample and reports what evaluation shares with training."""
    try:
        sources = build(data, into)
    except RecollectError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    figures = overlaps(sources)
    for name, split in sources.items():
        line = f"{name}: {len(split.train)} train, {len(split.evaluate)} evaluate"
        if found := figures.get(name):
            line += (
                f"; shared rows {found.num_shared_rows}, evaluation rows with a shared eight-gram "
                f"{found.share_of_rows:.1%}, eight-grams shared {found.share_of_grams:.2%}"
            )
        typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
