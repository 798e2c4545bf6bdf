"""The tables of docs/explanation/peers.md, written from the results so that they cannot drift."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEADINGS = (
    "rule",
    "worst batch",
    "99 of 100 batches",
    "worst 1,000 rows",
    "long run",
    "batches without refusals",
    "worst prefix",
    "refusals per rank",
    "worst rank",
)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]], num_texts: int = 1) -> str:
    headings = list(headings)
    aligned = ["---"] * num_texts + ["---:"] * (len(headings) - num_texts)
    lines = [headings, aligned, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _points(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.1f}"


def _rows(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _cells(figures: dict[str, Any]) -> list[str]:
    ranks = " / ".join(f"{100 * share:.1f}".removesuffix(".0") for share in figures["rank_shares"])
    without = 100 * figures["batches_without_rarest"]
    return [
        _points(figures["worst_batch"]),
        _points(figures["p99_batch"]),
        _points(figures["worst_window"]),
        _points(figures["long_run"]),
        f"{without:.1f} %" if without else "0",
        _rows(figures["worst_prefix_rows"]),
        f"{ranks} %",
        _rows(figures["worst_rank_rows"]),
    ]


def rules(result: dict[str, Any]) -> str:
    """The comparison by rule."""
    rows = []
    for row in result["rules"]:
        bold = "**" if row["rule"] == "Recollect" else ""
        cells = _cells(row["figures"]) if row["figures"] else [row["refusal"], *[""] * 7]
        rows.append([bold + cell + bold if cell else "" for cell in (row["rule"], *cells)])
    return _table(HEADINGS, rows)


def packages(result: dict[str, Any]) -> str:
    """What the packages really did."""
    rows = []
    for row in result["packages"]:
        if "failed" in row:
            rows.append([row["package"], row["case"], row["failed"], *[""] * 5])
            continue
        cells = _cells(row["figures"])
        agrees = "the same rows" if row["same_rows_as_rule"] else "other draws"
        name = f"{row['package']} {row['version']}"
        rows.append([name, row["rule"], agrees, *cells[:2], *cells[3:5], cells[6]])
    headings = ("package", "rule", "against the rule", *HEADINGS[1:3], *HEADINGS[4:6], HEADINGS[7])
    return _table(headings, rows, num_texts=3)


def followers(result: dict[str, Any]) -> str:
    """Who follows which rule, where it is published, and what was run."""
    run: dict[str, list[str]] = {}
    for row in result["packages"]:
        if "failed" not in row:
            run.setdefault(row["rule"], []).append(f"{row['package']} {row['version']}")
    rows = []
    for row in result["rules"]:
        checked = ", ".join(run.get(row["rule"], ["published rule"]))
        if row["rule"] == "Recollect":
            checked = "this package"
        packages = ", ".join(row["packages"])
        rows.append([row["rule"], row["summary"], packages, row["published"], checked])
    return _table(("rule", "in a sentence", "who follows it", "published in", "run here"), rows, 5)


def speed(result: dict[str, Any]) -> str:
    """Speeds, and their ratios to Grain."""
    measured = result.get("speed")
    if measured is None:
        return "Not measured yet."
    rows = []
    compiled = measured["megatron_package"] or {}
    for num, figures in measured["sources"].items():
        helper = compiled.get(f"M_positions_per_s_{num}_sources")
        rows.append(
            [
                f"positions in a row, {num} sources (million/s)",
                f"{figures['recollect_M_positions_per_s']:g}",
                f"{figures['grain_M_positions_per_s']:g}",
                f"{helper:g}" if helper else f"{figures['megatron_rule_M_positions_per_s']:g}",
                f"{figures['ratio_to_grain']:g} ×",
            ]
        )
        rows.append(
            [
                f"one position anywhere, {num} sources (µs)",
                f"{figures['recollect_single_lookup_us']:g}",
                f"{figures['grain_single_lookup_us']:g}",
                "",
                f"{figures['ratio_to_grain_single']:g} ×",
            ]
        )
    ids = measured["permutation"]
    rows.append(
        [
            f"keyed permutation of {ids['size']:.0e} ids (million/s)".replace("e+0", "e"),
            f"{ids['recollect_M_ids_per_s']:g}",
            f"{ids['grain_M_ids_per_s']:g}",
            "",
            f"{ids['ratio_to_grain']:g} ×",
        ]
    )
    memory = measured["memory_of_1000_sources_MiB"]
    for name in ("held", "peak"):
        each = (f"{memory[whose][name]:g}" for whose in ("recollect", "grain"))
        rows.append([f"memory of 1,000 sources, {name} (MiB)", *each, "", ""])
    headings = ("", "Recollect", "Grain 0.2.18", "Megatron's helper", "speed to Grain's")
    table = _table(headings, rows)
    return f"{table}\n\nMeasured on {measured['machine']}."


TABLES = {"rules": rules, "packages": packages, "followers": followers, "speed": speed}


def write(page: Path, result: dict[str, Any]) -> None:
    """Fills in the places between `<!-- table:NAME -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- table:{name} -->\n).*?(<!-- end -->)", re.DOTALL)
        filled = table(result)
        text = place.sub(lambda found, filled=filled: f"{found[1]}\n{filled}\n\n{found[2]}", text)
    page.write_text(text, encoding="utf-8")
