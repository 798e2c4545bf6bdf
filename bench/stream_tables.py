"""The tables of `bench/stream.py`, for the terminal and for the docs, so that they cannot drift."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "streaming.md"
OURS, CEILING, REFERENCE = "recollect", "ceiling", "own_gather"
TOKEN_BYTES = 4
WIRE_BYTES, ROW_BYTES = 2 + 1 / 8, 30
"""Of a token on the wire, where ids take two bytes and the mask a bit, and of a row beside them."""
IN_LINE = "0 workers"
"""How the variants begin that load when the trainer asks, in its own thread."""
TITLES = {
    "recollect": "**Recollect**, over gRPC",
    "grain": "Grain",
    "datasets_map": "datasets, map style",
    "datasets_iterable": "datasets, iterable",
    "mosaicml_streaming": "MosaicML Streaming",
    "webdataset": "WebDataset",
    "torchdata_loader": "torchdata, StatefulDataLoader",
    "torchdata_nodes": "torchdata, nodes",
    "litdata": "LitData",
    "megatron_energon": "Megatron Energon",
    "dm_reverb": "Reverb, over gRPC",
    "own_gather": "no package: a gather written by hand",
}
HEADINGS = (
    "",
    "version",
    "fastest variant",
    "M tokens/s (least to most)",
    "CPU s per M tokens",
    "first batch, s",
    "wait p50 / p99, ms",
    "p99 at half speed, ms",
    "peak MiB",
)
Cells = list[str]


def _figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cells(name: str, row: dict[str, Any]) -> Cells:
    figures = row["figures"]
    middle = {key: _figure(values[0]) for key, values in figures.items()}
    speed = [_figure(value / 1e6) for value in figures["tokens_per_s"]]
    return [
        TITLES[name],
        next(iter(row["versions"].values())) if name != REFERENCE else "",
        row["variant"],
        f"{speed[0]} ({speed[1]} to {speed[2]})",
        middle["cpu_s_per_M_tokens"],
        middle["first_batch_s"],
        f"{middle['wait_p50_ms']} / {middle['wait_p99_ms']}",
        middle["half_speed_wait_p99_ms"],
        middle["peak_MiB"],
    ]


def speed(result: dict[str, Any], length: str) -> tuple[tuple[str, ...], list[Cells]]:
    """One line for each entrant, the fastest first."""
    rows = result.get(length, {})
    order = sorted(rows, key=lambda name: -rows[name]["figures"]["tokens_per_s"][0])
    return HEADINGS, [_cells(name, rows[name]) for name in order]


def resumed(result: dict[str, Any]) -> tuple[tuple[str, ...], list[Cells]]:
    """How long the way back to row 50,000 takes, and whether it is the right place."""
    cells = []
    for name, row in result.get("512", {}).items():
        back = row.get("resume")
        if not back or back.get("resume") == "none":
            cells.append([TITLES[name], row["variant"], "has none" if back else "", "", ""])
            continue
        took = [_figure(back[key]) for key in ("resume_s", "resume_min_s", "resume_max_s")]
        exact = "the same rows" if back["resume_exact"] else "**other rows**"
        spread = f"{took[0]} ({took[1]} to {took[2]})"
        cells.append([TITLES[name], back["variant"], spread, exact, f"{back['state_bytes']:,}"])
    return ("", "variant", "resume at row 50,000, s", "what follows", "state, bytes as JSON"), cells


def ceiling(result: dict[str, Any]) -> tuple[tuple[str, ...], list[Cells]]:
    """What gRPC carries by itself."""
    cells = []
    for name, figures in result.get(CEILING, {}).items():
        middle, least, most = (_figure(value) for value in figures["MB_per_s"])
        client, server = (
            _figure(figures[f"{side}_cpu_s_per_GB"][0]) for side in ("client", "server")
        )
        cells.append([name, f"{middle} ({least} to {most})", client, server])
    return ("messages", "MB/s (least to most)", "client CPU s per GB", "server CPU s per GB"), cells


def ratios(result: dict[str, Any], length: str) -> str:
    """Ours against the fastest packages, and against the ceiling."""
    rows = dict(result.get(length, {}))
    mine = rows.pop(OURS, None)
    rows.pop(REFERENCE, None)
    if mine is None:
        return ""
    speed = mine["figures"]["tokens_per_s"][0]
    told = []
    if rows:
        fastest = max(rows, key=lambda name: rows[name]["figures"]["tokens_per_s"][0])
        ratio = speed / rows[fastest]["figures"]["tokens_per_s"][0]
        told.append(f"{ratio:.1f} × {TITLES[fastest]}, {rows[fastest]['variant']}")
        ahead = {
            (name, trial): rate
            for name, row in rows.items()
            for trial, rate in row["trials"].items()
            if not trial.startswith(IN_LINE)
        }
        name, trial = max(ahead, key=lambda key: ahead[key])
        told.append(
            f"{speed / ahead[name, trial]:.1f} × the fastest that reads ahead of the trainer as "
            f"ours does ({TITLES[name]}, {trial})"
        )
    if CEILING in result:
        wire_bytes = WIRE_BYTES + ROW_BYTES / int(length)
        carried = max(figures["MB_per_s"][0] for figures in result[CEILING].values()) * 1e6
        told.append(
            f"{100 * speed * wire_bytes / carried:.0f} % of the bytes that gRPC carries at most, "
            f"or {100 * speed * TOKEN_BYTES / carried:.0f} % counted as tensors of 32-bit ids"
        )
    return f"{int(length):,} tokens: {'; '.join(told)}."


def memory(result: dict[str, Any]) -> tuple[tuple[str, ...], list[Cells]]:
    """What both sides hold while a million steps are read."""
    found = result.get("memory", {}).get(OURS)
    if not found:
        return (), []
    tenth = found["num_steps"] // 10
    headings = ("after steps", "", *(f"{tenth * n:,}" for n in (1, 2, 4, 6, 8, 10)))
    sides = {"trainer_MiB": "trainer, MiB", "service_MiB": "service, MiB"}
    return headings, [
        [title, "", *(_figure(found[side][n - 1]) for n in (1, 2, 4, 6, 8, 10))]
        for side, title in sides.items()
    ]


def _markdown(headings: tuple[str, ...], rows: list[Cells]) -> str:
    aligned = ["---"] * 2 + ["---:"] * (len(headings) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in [headings, aligned, *rows])


def tables(result: dict[str, Any]) -> dict[str, tuple[tuple[str, ...], list[Cells]]]:
    """All tables by the name of their place on the page."""
    return {
        "stream_512": speed(result, "512"),
        "stream_2048": speed(result, "2048"),
        "stream_resume": resumed(result),
        "stream_ceiling": ceiling(result),
        "stream_memory": memory(result),
    }


def write(page: Path, result: dict[str, Any]) -> None:
    """Fills in a page's places between `<!-- table:NAME -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    for name, (headings, rows) in tables(result).items():
        place = re.compile(rf"(<!-- table:{name} -->\n).*?(<!-- end -->)", re.DOTALL)
        filled = _markdown(headings, rows) if rows else "Not measured yet."
        length = name.removeprefix("stream_")
        if length.isdigit():
            filled = f"{filled}\n\n{ratios(result, length)}".rstrip()
        # Not a pattern: a table may hold backslashes.
        found = place.search(text)
        if found:
            new = f"{found[1]}\n{filled}\n\n{found[2]}"
            text = text[: found.start()] + new + text[found.end() :]
    if text != page.read_text(encoding="utf-8"):
        page.write_text(text, encoding="utf-8")


def show(console: Console, result: dict[str, Any]) -> None:
    """Prints the tables."""
    for name, (headings, rows) in tables(result).items():
        table = Table(*headings, title=name)
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        if rows:
            console.print(table)
    for length in ("512", "2048"):
        console.print(ratios(result, length), highlight=False)
    for name, reason in result.get("failures", {}).items():
        console.print(f"{name}: {reason}", style="red", markup=False)
