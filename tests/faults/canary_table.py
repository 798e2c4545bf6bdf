"""What the docs say of the canary campaign, so that it cannot drift.

python -m tests.faults.canary_table    writes it into the pages of docs/explanation
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .canaries import RESULT
from .verdict import Status

PAGES = Path(__file__).parents[2] / "docs" / "explanation"
LEFT = (Status.PARTLY, Status.OVERLOOKED)
PLACES = {
    "privacy.md": re.compile(r"<!-- canaries -->.*?<!-- end -->", flags=re.DOTALL),
    "measured.md": re.compile(r"^\| [\d,]+ canaries .*$", flags=re.MULTILINE),
}
"""Where on which page it stands."""


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


def shown(result: Mapping[str, Any]) -> dict[str, str]:
    """What stands on which page."""
    events, left = result["events"], [result["statuses"].get(s.value, 0) for s in LEFT]
    nowhere = [result["statuses"].get(s.value, 0) for s in (Status.REFUSED, Status.QUARANTINED)]
    reached = result["canaries"] - nowhere[0]
    told = f"""<!-- canaries -->

| what happened | times |
| --- | ---: |
| SIGKILL to the service while it ingests | {events["kill"]} |
| of these, before the client had its answer | {result["in_the_midst"]["kill"]} |
| SIGKILL to the service while it starts | {events["start"]} |
| SIGSEGV to the service, for which the kernel writes a core file where it may | {events["crash"]} |
| SIGKILL to the client while it sends | {events["client"]} |
| strings that the detector took out and that were looked for | {result["strings_looked_for"]:,} |
| files they were looked for in ({result["bytes"] / 1e6:.0f} MB) | {result["files"]:,} |
| **places where one of them was found** | **{len(result["leaks"])}** |
| strings left out, as another row's stand-in says the same | {result["strings_like_a_stand_in"]} |

What the detector of `recollect ingest` does *not* find is stored as it came:

{table(result)}

Of {left[0]:,} of these a part is left, a surname or half of the digits; {left[1]:,} are left whole.
{nowhere[0]:,} canaries in files of UTF-16 went nowhere, as the client refuses such files;
{nowhere[1]:,} rows were quarantined.

<!-- end -->"""
    return {
        "privacy.md": told,
        "measured.md": f"| {result['canaries']:,} canaries ingested under "
        f"{events['kill'] + events['start']} × SIGKILL and {events['crash']} × SIGSEGV of the "
        f"service, {events['client']} × SIGKILL of the client | {len(result['leaks'])} of "
        f"{result['strings_looked_for']:,} strings that the detector found lie in a byte that was "
        f"written; {sum(left):,} of {reached:,} canaries were not found, most of them encoded "
        "([by class](privacy.md#ten-thousand-canaries-under-kill--9)) | `canaries.json` |",
    }


def main() -> None:
    """Puts what the last campaign came to on its pages."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    for name, told in shown(result).items():
        page = PAGES / name
        text = page.read_text(encoding="utf-8")
        (place,) = PLACES[name].finditer(text)
        page.write_text(text[: place.start()] + told + text[place.end() :], encoding="utf-8")


if __name__ == "__main__":
    main()
