"""What `recollect mix preview` prints: tables that fit 80 columns, or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from rich.console import RenderableType

from ...mixer.mix import Mix, Unit
from ...mixer.shares import format_percent
from ...v1 import mix_pb2 as wire
from ..roles import role_word
from .terminal import table

_MOST_COLUMNS = 4
_MOST_ROWS = 30
_THOUSANDS = ("", " k", " M", " G", " T", " P")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def preview_tables(answer: wire.PreviewMixResponse, mix: Mix) -> Iterator[RenderableType]:
    """What is served, what it is made of, and how it keeps to what was agreed."""
    yield _rows(answer, mix.unit)
    yield _contents(answer)
    if len(answer.stages) > 1:
        yield _stages(answer)
    if answer.limits:
        yield _limits(answer)
    if answer.ranks:
        yield _ranks(answer)
    notes = [f"Working out batches takes at most {_size(answer.peak_bytes)} of memory."]
    if any(row.estimated for row in answer.sources):
        notes.append("~ estimated: the last pass is too long to look at every row.")
    for index in mix.unreached(answer.num_steps):
        first_step = mix.changes[index].first_step
        notes.append(
            f"The change at step {first_step:,} never takes effect: step {answer.num_steps - 1:,} "
            "is the last."
        )
    yield "\n".join(notes)


def _rows(answer: wire.PreviewMixResponse, unit: Unit) -> RenderableType:
    counted = unit.value.replace("_", " ")
    return table(
        f"{answer.num_steps:,} steps, {answer.num_rows:,} rows; shares count {counted}",
        ("source", "share", "rows", "passes", "most served", "all used at step"),
        [
            (
                row.source,
                row.share,
                f"{row.num_rows:,}",
                f"{row.epochs:.2f}",
                f"{row.max_repeats} ×",
                "never" if row.exhaustion_step < 0 else f"{row.exhaustion_step:,}",
            )
            for row in answer.sources
        ],
        numbers=5,
    )


def _contents(answer: wire.PreviewMixResponse) -> RenderableType:
    is_packed = any(row.padding for row in answer.sources)
    what = "padding" if is_packed else "cut"
    return table(
        "What they hold",
        ("source", "role", "examples", what, "tokens", "learnt"),
        [
            (
                row.source,
                role_word(row.role),
                f"{row.num_examples:,}",
                f"{row.padding:.2%}" if is_packed else f"{row.num_truncated:,}",
                f"{_tokens(row.num_tokens, row)} {row.token_share:6.1%}",
                f"{_tokens(row.num_supervised_tokens, row)} {row.supervised_token_share:6.1%}",
            )
            for row in answer.sources
        ],
        numbers=4,
    )


def _stages(answer: wire.PreviewMixResponse) -> RenderableType:
    """The shares by step: a column for each source, or a row for each share that changes."""
    names = [row.source for row in answer.sources]
    if len(names) <= _MOST_COLUMNS:
        columns = ("from step", *names)
        rows = [(f"{stage.first_step:,}", *map(_percent, stage.shares)) for stage in answer.stages]
        numbers = len(columns)
    else:
        columns = ("from step", "source", "before", "share")
        rows = [
            (f"{after.first_step:,}", name, _percent(old), _percent(new))
            for before, after in pairwise(answer.stages)
            for name, old, new in zip(names, before.shares, after.shares, strict=True)
            if old != new
        ]
        numbers = 2
    left_out = len(rows) - _MOST_ROWS
    title = "Shares by step" + (f", but for the last {left_out:,} rows" if left_out > 0 else "")
    return table(title, columns, rows[:_MOST_ROWS], numbers=numbers)


def _limits(answer: wire.PreviewMixResponse) -> RenderableType:
    return table(
        "Limits of the ratio policy",
        ("limit", "share", "floor", "kept in any", "ceiling", "kept in any"),
        [
            (
                limit.path,
                _between(limit.least_share, limit.greatest_share),
                _points(limit.floor) if limit.floor else "",
                _window(limit.floor_window) if limit.floor else "",
                _points(limit.ceiling) if limit.ceiling < 10_000 else "",
                _window(limit.ceiling_window) if limit.ceiling < 10_000 else "",
            )
            for limit in answer.limits
        ],
        numbers=5,
    )


def _ranks(answer: wire.PreviewMixResponse) -> RenderableType:
    return table(
        "Ranks",
        ("ranks", "rows off, at most", "worst seen", "in steps"),
        [
            (
                f"{rank.world_size:,}",
                f"< {float(Fraction(rank.bound)):.4g}",
                f"{rank.worst_deviation:.3f}",
                f"{rank.num_steps:,}",
            )
            for rank in answer.ranks
        ],
        numbers=4,
    )


def _tokens(amount: int, row: wire.SourcePreview) -> str:
    """A number of tokens in three digits or so; `--json` has all of them."""
    exponent = 0
    short = float(amount)
    while short >= 1000 and exponent + 1 < len(_THOUSANDS):
        short, exponent = short / 1000, exponent + 1
    shown = f"{short:.3g}" if exponent and short < 100 else f"{short:.0f}"
    return ("~" if row.estimated else "") + shown + _THOUSANDS[exponent]


def _percent(share: str) -> str:
    return format_percent(Fraction(share))


def _points(basis_points: int) -> str:
    return format_percent(Fraction(basis_points, 10_000))


def _between(least: str, greatest: str) -> str:
    if least == greatest:
        return _percent(least)
    return f"{_percent(least)} … {_percent(greatest)}"


def _window(num_batches: int) -> str:
    if not num_batches:
        return "none known"
    return "1 batch" if num_batches == 1 else f"{num_batches:,} batches"


def _size(num_bytes: int) -> str:
    amount, unit = float(num_bytes), 0
    while amount >= 1024 and unit + 1 < len(_UNITS):
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}"


def preview_json(answer: wire.PreviewMixResponse, mix: Mix) -> dict[str, object]:
    """The whole preview for programs."""
    return {
        "num_steps": answer.num_steps,
        "num_rows": answer.num_rows,
        "peak_bytes": answer.peak_bytes,
        "sources": [_source_json(row) for row in answer.sources],
        "stages": [
            {"first_step": stage.first_step, "shares": list(stage.shares)}
            for stage in answer.stages
        ],
        "unreached_changes": [
            mix.changes[index].first_step for index in mix.unreached(answer.num_steps)
        ],
        "limits": [
            {
                "path": limit.path,
                "least_share": limit.least_share,
                "greatest_share": limit.greatest_share,
                "floor": limit.floor,
                "ceiling": limit.ceiling,
                "floor_window": limit.floor_window or None,
                "ceiling_window": limit.ceiling_window or None,
                "examined": limit.examined,
            }
            for limit in answer.limits
        ],
        "ranks": [
            {
                "world_size": rank.world_size,
                "bound": rank.bound,
                "worst_deviation": rank.worst_deviation,
                "num_steps": rank.num_steps,
            }
            for rank in answer.ranks
        ],
    }


def _source_json(row: wire.SourcePreview) -> dict[str, object]:
    return {
        "source": row.source,
        "role": role_word(row.role),
        "share": row.share,
        "num_examples": row.num_examples,
        "rows_per_pass": row.rows_per_pass,
        "num_rows": row.num_rows,
        "epochs": row.epochs,
        "max_repeats": row.max_repeats,
        "exhaustion_step": None if row.exhaustion_step < 0 else row.exhaustion_step,
        "num_tokens": row.num_tokens,
        "num_supervised_tokens": row.num_supervised_tokens,
        "num_truncated": row.num_truncated,
        "padding": row.padding,
        "token_share": row.token_share,
        "supervised_token_share": row.supervised_token_share,
        "estimated": row.estimated,
    }
