"""The tables of `bench/deid.py` for the docs, so that they cannot drift."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "privacy.md"
TITLES = {
    "presidio": "generated PII sentences (presidio-research)",
    "tweets": "tweets (Broad Twitter Corpus)",
    "comments": "comments and tweets (WNUT17)",
    "wikigold": "Wikipedia (WikiGold)",
    "sec": "loan agreements (SEC filings)",
    "judgments": "judgments, from held-back templates",
    "support": "support, from held-back templates",
    "social": "social media, from held-back templates",
    "records": "records, from held-back templates",
    "prose": "prose, from held-back templates",
    "authored_judgments": "judgments written by hand (*seen* while rules were written)",
    "authored_chats": "chats written by hand (*seen*)",
    "written_judgments": "judgments written by others",
    "written_chats": "chats written by others",
    "written_sentences": "PII sentences written by others",
    "banking intents": "banking questions: nobody in them",
}
STAGES = ("tagger", "pattern", "quasi", "document")


def _share(rate: dict[str, Any] | None) -> str:
    return f"{rate['value']:.3f}" if rate and rate["value"] is not None else ""


def _bounded(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return ""
    return f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})"


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def quality_table(quality: dict[str, Any]) -> str:
    """Recall by set."""
    rows = []
    for name, found in quality.items():
        if "recall" not in found:
            rows.append([TITLES[name], "", "", "", "", "", _share(found["over_masked"])])
            continue
        people = found["mentions"].get("PERSON", {"value": None})
        mentions = found["recall"]
        rows.append(
            [
                TITLES[name],
                f"{mentions['of']:,}",
                _bounded(mentions),
                _share(people),
                f"{_share(found['direct'])} / {_share(found['quasi'])}",
                _share(found["precision"]),
                _share(found["over_masked"]),
            ]
        )
    headings = [
        "",
        "mentions",
        "recall (95 % bounds)",
        "of persons",
        "entities, direct / quasi",
        "precision",
        "over-masked",
    ]
    return _table(headings, rows)


def stages_table(quality: dict[str, Any]) -> str:
    """What each stage brings: recall of mentions without it."""
    rows = [
        [
            TITLES[name],
            _share(found["recall"]),
            *(_share(found["without"][stage]["recall"]) for stage in STAGES),
        ]
        for name, found in quality.items()
        if "without" in found
    ]
    return _table(["recall of mentions", "whole", *(f"no {stage}" for stage in STAGES)], rows)


def perturbed_table(quality: dict[str, Any]) -> str:
    """Recall of mentions under perturbations."""
    kept = {name: found for name, found in quality.items() if "perturbed" in found}
    names = list(next(iter(kept.values()))["perturbed"])
    rows = [
        [
            TITLES[name],
            _share(found["recall"]),
            *(_share(found["perturbed"][kind]["recall"]) for kind in names),
        ]
        for name, found in kept.items()
    ]
    return _table(["recall of mentions", "as it is", *names], rows)


def speed_table(speed: dict[str, float]) -> str:
    """KB a second of one core."""
    return _table(["", "KB/s"], [[name, f"{value:,.0f}"] for name, value in speed.items()])


def write(result: dict[str, Any], page: Path = PAGE) -> None:
    """Puts the tables between their marks on the page."""
    text = page.read_text(encoding="utf-8")
    tables = {"speed": speed_table(result["speed_kb_per_s"])}
    quality = result["quality"]
    tables |= {
        "quality": quality_table(quality),
        "stages": stages_table(quality),
        "perturbed": perturbed_table(quality),
    }
    for name, table in tables.items():
        mark = rf"<!-- deid {name} -->.*?<!-- end -->"
        shown = f"<!-- deid {name} -->\n\n{table}\n\n<!-- end -->"
        text, count = re.subn(mark, lambda _, shown=shown: shown, text, flags=re.S)
        if count != 1:
            raise ValueError(f"{page} has no place for the table {name}.")
    page.write_text(text, encoding="utf-8")
