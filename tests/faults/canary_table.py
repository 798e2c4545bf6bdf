"""The table of the canary campaign for the docs, so that it cannot drift.

python -m tests.faults.canary_table    writes it into docs/explanation/privacy.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .canaries import RESULT
from .verdict import Status

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "privacy.md"
LEFT = (Status.PARTLY, Status.OVERLOOKED)
MARKED = re.compile(r"<!-- canaries -->.*?<!-- end -->", flags=re.DOTALL)


def table(result: Mapping[str, Any]) -> str:
    """Canaries that were not found, of those that reached the detector, by class and form."""
    by_class: Mapping[str, Mapping[str, Mapping[str, int]]] = result["by_class_and_form"]
    forms = [form for form in next(iter(by_class.values())) if _reached(by_class, form)]
    lines = [["not found / planted", *forms, "in all"], ["---", *["---:"] * (len(forms) + 1)]]
    for kind, counts in by_class.items():
        lines.append([kind, *_cells([counts[form] for form in forms])])
    every = [_sum([counts[form] for counts in by_class.values()]) for form in forms]
    lines.append(["**in all**", *_cells(every)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _reached(by_class: Mapping[str, Mapping[str, Mapping[str, int]]], form: str) -> bool:
    return any(set(counts[form]) - {Status.REFUSED.value} for counts in by_class.values())


def _sum(several: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {s.value: sum(counts.get(s.value, 0) for counts in several) for s in Status}


def _cells(several: Sequence[Mapping[str, int]]) -> list[str]:
    counted = [*several, _sum(several)]
    return [f"{_left(counts):,} / {sum(counts.values()):,}" for counts in counted]


def _left(counts: Mapping[str, int]) -> int:
    return sum(counts.get(status.value, 0) for status in LEFT)


def shown(result: Mapping[str, Any]) -> str:
    """The table between its marks."""
    return f"<!-- canaries -->\n\n{table(result)}\n\n<!-- end -->"


def main() -> None:
    """Puts the table of the last campaign on its page."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    text, count = MARKED.subn(lambda _: shown(result), PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{PAGE} has no one place for the table of canaries")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
